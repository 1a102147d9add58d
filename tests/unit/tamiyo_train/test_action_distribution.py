"""The distribution over actions: masks, floor, likelihood, entropy and divergence, against one decision at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train.policy.actions import Masks, choose, probabilities
from tamiyo_train.policy.distribution import ActionDistribution
from tests.unit.tamiyo_train.drawn import HEADS, drawn_seen, network, one


def by_hand(output: torch.Tensor, masks: Masks, action: list[int]) -> list[np.ndarray]:
    """The factors that mean something to an action, as probabilities, one decision at a time."""
    where, shapes = HEADS.slices(), HEADS.shapes()
    heads = {name: output.numpy()[where[name]].reshape(shape) for name, shape in shapes.items()}
    operation, slot, blueprint, _ = action
    factors = [probabilities(heads["operation"], masks.operation)]
    if operation != Operation.WAIT:
        factors.append(probabilities(heads["slot"][operation], masks.slot[operation]))
    if operation == Operation.GERMINATE:
        factors.append(probabilities(heads["blueprint"][slot], masks.blueprint[slot]))
        factors.append(probabilities(heads["intensity"][blueprint], np.ones(len(INTENSITIES), dtype=np.bool_)))
    return factors


def test_the_distribution_is_that_of_single_decisions():
    seen, policy, other = drawn_seen(), network(), network(1)
    with torch.no_grad():
        output, others = policy(seen.vector), other(seen.vector)
    chosen = ActionDistribution.of(output, seen, HEADS)
    actions = chosen.choose()
    for row in range(64):
        expected = choose(output[row].numpy(), one(seen, row).masks, HEADS)
        assert actions[row, 0] == expected.operation
        if expected.operation is Operation.GERMINATE:
            assert actions[row, 1:].tolist() == [expected.slot, expected.blueprint, expected.intensity]
    drawn = chosen.choose(torch.Generator().manual_seed(1))
    log_p, kl = chosen.log_probability(drawn), chosen.divergence(ActionDistribution.of(others, seen, HEADS), drawn)
    table = chosen.entropies(drawn)
    for row in range(64):
        masks, action = one(seen, row).masks, drawn[row].tolist()
        own, theirs = by_hand(output[row], masks, action), by_hand(others[row], masks, action)
        assert float(log_p[row]) == pytest.approx(
            sum(np.log(p[k]) for p, k in zip(own, action, strict=False)), abs=1e-4
        )
        gaps = [(p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum() for p, q in zip(own, theirs, strict=True)]
        assert float(kl[row]) == pytest.approx(sum(gaps), abs=1e-4)
        for factor in range(4):
            p = own[factor][own[factor] > 0] if factor < len(own) else np.ones(1)
            entropy = float(table[row, factor])
            expected = -(p @ np.log(p)) / np.log(len(p)) if len(p) > 1 else np.nan
            assert entropy == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert float(chosen.mean_entropy(drawn)) == pytest.approx(float(table.nanmean()), abs=1e-6)
    assert torch.allclose(chosen.divergence(chosen, drawn), torch.zeros(64), atol=1e-6)


def test_where_nothing_is_allowed_waiting_is_certain_and_learning_from_it_stays_finite():
    seen = drawn_seen()
    closed = replace(seen, slot_mask=seen.slot_mask & False, blueprint_mask=seen.blueprint_mask & False)
    output = network()(seen.vector).detach().requires_grad_()
    chosen = ActionDistribution.of(output, closed, HEADS, floor=0.02)
    actions = chosen.choose(torch.Generator().manual_seed(0))
    assert bool((actions[:, 0] == Operation.WAIT).all())
    loss = chosen.log_probability(actions).sum() + chosen.mean_entropy(actions)
    loss = loss + chosen.divergence(ActionDistribution.of(output.detach() * 2, closed, HEADS), actions).sum()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-4) and bool(output.grad.isfinite().all())


def test_an_action_thought_next_to_impossible_can_still_be_taught():
    output = torch.zeros(1, HEADS.size)
    output[0, HEADS.slices()["operation"]] = torch.tensor([200.0, 0.0, 0.0, 0.0, 0.0])
    output.requires_grad_()
    seen = replace(drawn_seen(1), slot_mask=torch.ones(1, len(Operation), 3, dtype=torch.bool))
    chosen = ActionDistribution.of(output, seen, HEADS)
    ln_p = chosen.log_probability(torch.tensor([[int(Operation.PRUNE), 0, 0, 0]]))
    ln_p.sum().backward()
    assert float(ln_p.detach()) == pytest.approx(-200 - np.log(3), abs=1e-3)
    assert float(output.grad[0, int(Operation.PRUNE)]) == pytest.approx(1.0, abs=1e-3)


def test_a_floor_keeps_every_allowed_choice_possible_and_no_other():
    seen, policy = drawn_seen(), network()
    with torch.no_grad():
        sure = policy(seen.vector) * 1000
    chosen = ActionDistribution.of(sure, seen, HEADS, floor=0.1)
    least = 0.1 / len(Operation)
    for operation in (Operation.WAIT, Operation.ADVANCE, Operation.PRUNE, Operation.FOSSILISE):
        slots = seen.slot_mask[:, operation]
        allowed = seen.operation_mask[:, operation]
        rows = torch.zeros(64, 4, dtype=torch.int64)
        rows[:, 0], rows[:, 1] = int(operation), slots.int().argmax(1)
        p = chosen.log_probability(rows).exp()
        expected = least if operation is Operation.WAIT else least * 0.1 / 3
        assert bool((p[allowed] >= expected - 1e-6).all()) and bool((p[~allowed] == 0).all())
