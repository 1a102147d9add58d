"""The loss that teaches run-time gates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.observation import Heads
from tamiyo_train.policy.gate_lesson import NATS, GateLesson, expected_regret, shuffled
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import RunningSamples, simulate
from tamiyo_train.seeding import initialising

SLOTS = 3
PATTERNS = torch.tensor(list(product((0.0, 1.0), repeat=SLOTS)))


def test_expected_regret_is_that_of_drawing_gates_many_times() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, regret = torch.randn(4, SLOTS, generator=rng), torch.rand(4, 2**SLOTS, generator=rng)
    drawn = torch.rand(20_000, 4, SLOTS, generator=rng) < logits.sigmoid()
    number = (drawn * torch.tensor([4, 2, 1])).sum(2)
    seen = regret[torch.arange(4).expand_as(number), number].mean(0)
    torch.testing.assert_close(expected_regret(logits, PATTERNS, regret), seen, atol=0.01, rtol=0)


def test_of_two_seeds_of_which_one_pays_one_is_kept_and_not_none() -> None:
    """Both patterns are as good, none and both are bad: what cross-entropy with undecided labels cannot say."""
    regret = torch.tensor([[0.3, 0.0, 0.0, 0.3]])
    patterns = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    logits = torch.tensor([[0.1, -0.1]], requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=20.0)
    for _ in range(200):
        optimiser.zero_grad()
        expected_regret(logits, patterns, regret).sum().backward()
        optimiser.step()
    assert (logits > 0).sum() == 1
    assert expected_regret(logits, patterns, regret).item() < 0.01


class _Known(torch.nn.Module):
    """Answers each device's own gates, read off the seeds' parameters, surely right or surely wrong."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.heads, self.sign = Heads(slots=SLOTS, blueprints=2), sign

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES

        each = observation[:, len(GLOBAL_FEATURES) :].reshape(len(observation), SLOTS, len(SLOT_FEATURES))
        answer = torch.zeros(len(observation), self.heads.size)
        wanted = each[:, :, SLOT_FEATURES.index("relative_params")]
        answer[:, self.heads.slices()["gates"]] = self.sign * 40 * (wanted - 0.5)
        return answer


def marked() -> RunningSamples:
    """Devices whose seeds tell by their parameters whether the plan wants them, and whose regret counts the errors."""
    from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES

    samples = simulate(200, SLOTS, seed=0)
    observation = samples.observation.copy()
    each = observation[:, len(GLOBAL_FEATURES) :].reshape(200, SLOTS, len(SLOT_FEATURES))
    each[:, :, SLOT_FEATURES.index("relative_params")] = samples.gates
    errors = (PATTERNS.numpy()[None] != samples.gates[:, None]).sum(axis=2)
    everything = np.ones_like(samples.present)
    return RunningSamples(observation=observation, gates=samples.gates, present=everything, regret=errors / SLOTS)


def test_slots_in_another_order_keep_their_gates_and_their_regret() -> None:
    lesson, rng = GateLesson(marked()), torch.Generator().manual_seed(1)
    assert lesson.loss(_Known(1.0), 100, rng).item() == pytest.approx(0.0, abs=1e-5)  # type: ignore[arg-type]
    assert lesson.loss(_Known(-1.0), 100, rng).item() == pytest.approx(20.0 + NATS, rel=0.01)  # type: ignore[arg-type]


def test_shuffled_slots_keep_the_depth_of_their_place_and_order_undone_is_what_was() -> None:
    samples = simulate(50, SLOTS, seed=3)
    seen = torch.from_numpy(samples.observation)
    order = torch.rand(50, SLOTS, generator=torch.Generator().manual_seed(0)).argsort(1)
    back = shuffled(shuffled(seen, order, SLOTS), order.argsort(1), SLOTS)
    assert torch.equal(back, seen)


def test_a_gradient_reaches_the_network_from_both_terms() -> None:
    with initialising(0):
        network = PolicyNetwork(Heads(slots=SLOTS, blueprints=2))
    lesson = GateLesson(simulate(100, SLOTS, seed=5))
    network.freeze_statistics(lesson.observation)
    lesson.loss(network, 64, torch.Generator().manual_seed(2)).backward()
    assert network.slot_out.weight.grad is not None and float(network.slot_out.weight.grad[-1].abs().sum()) > 0
