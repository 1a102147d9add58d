"""Telemetry of a growing network: what each figure means, that reading changes nothing, that any thread may read."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.observation import (
    GLOBAL_FEATURES,
    SLOT_FEATURES,
    Operation,
    unspent,
)
from tamiyo_runtime.contracts.running import RunningState, running_features
from tamiyo_train import telemetry
from tamiyo_train.config import Episode, Limits, TrainConfig
from tamiyo_train.evaluation import score, without
from tamiyo_train.jobs import environment
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.pricing import GrowthBudget, Priced
from tamiyo_train.telemetry.safety import alert, drift_risk, rollback_need
from tests.unit.tamiyo_train.helpers import SHORT, germinate, same, slot_of, tensors_of


@pytest.fixture
def grown(make_env):
    """An episode with a seed that is fully on in slot 1, one half blended in slot 2 and one in training in slot 3."""
    env = make_env()
    for slot in (1, 2, 3):
        env.act(germinate(slot))
    for slot, alpha in ((1, 1.0), (2, 0.5)):
        env.network.lives[slot].fire(Event.ADVANCE, step=env.trainer.step_index, reason="test")
        env.network.seed_at(slot).alpha = alpha
    return env


class TestReading:
    def test_one_shared_pass_gives_what_a_pass_for_each_question_gives(self, grown):
        network, gate = grown.network, grown.trainer.data.gate
        reading = telemetry.read(network, grown.trainer)
        plain, alphas = score(network, gate), network.alphas()
        assert torch.equal(reading.scores.correct, plain.correct)
        assert reading.scores.loss == pytest.approx(plain.loss, rel=1e-5)
        for slot in (1, 2, 3):
            seen, effective = reading.slots[slot], alphas[slot] or 1.0
            raised = [effective if other == slot else alpha for other, alpha in enumerate(alphas)]
            for found, expected in (
                (seen.present, score(network, gate, raised)),
                (seen.absent, score(network, gate, without(alphas, slot))),
            ):
                assert found.loss == pytest.approx(expected.loss, rel=1e-5)
                assert torch.allclose(found.sureness, expected.sureness, atol=1e-5)
            assert seen.present.loss != seen.absent.loss

    def test_functional_drift_is_nought_for_the_identity_and_at_most_one_bit(self, grown):
        with torch.no_grad():
            for param in grown.network.seed_at(1).module.parameters():
                param.zero_()
        reading = telemetry.read(grown.network, grown.trainer)
        assert reading.slots[1].functional_drift == pytest.approx(0.0, abs=1e-6)
        assert 0 < reading.slots[2].functional_drift < 1

    def test_doubling_the_output_is_no_drift_but_shows_in_the_norm_ratio_and_the_risk(self, make_env):
        env = make_env()
        env.act(germinate(0))

        class Twice(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return 2 * x

        env.network.seed_at(0).module = Twice()
        features = slot_of(env, 0)
        assert features["drift"] == pytest.approx(0.0, abs=1e-9)
        assert features["log_norm_ratio"] == pytest.approx(1.0, abs=1e-6)
        assert features["drift_risk"] == pytest.approx(1 / SHORT.limits.norm_critical, abs=1e-6)

    def test_a_newborn_does_not_drift_and_raises_no_alert(self, make_env):
        env = make_env()
        env.act(WAIT)
        env.gardener.germinate(2, 4, 2)
        features = slot_of(env, 2)
        for name in ("drift", "log_norm_ratio", "functional_drift", "drift_risk", "rollback_need", "alert"):
            assert features[name] == pytest.approx(0.0, abs=1e-6), name

    def test_age_counts_training_steps_and_not_readings(self, make_env):
        env = make_env()
        env.act(germinate(2))
        ages = {slot_of(env, 2)["age"] for _ in range(4)}
        assert ages == {SHORT.window / SHORT.steps}
        env.act(WAIT)
        assert slot_of(env, 2)["age"] == 2 * SHORT.window / SHORT.steps

    def test_activation_variance_is_a_variance_and_not_a_mean_square(self, make_env):
        env = make_env()
        env.act(germinate(0))

        class Constant(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.full_like(x, 7.0)

        env.network.seed_at(0).module = Constant()
        assert slot_of(env, 0)["activation_variance"] == 0.0

    def test_a_slot_without_a_seed_measures_nothing(self, make_env):
        assert slot_of(make_env(), 1) == {"is_free": 1.0, "budget_left": 1.0, "depth": 1 / 3, "nesting": 0.0}

    def test_a_seed_planted_since_the_reading_has_its_costs_and_no_measured_figure(self, make_env):
        env = make_env()
        env.act(WAIT)
        reading = telemetry.read(env.network, env.trainer)
        env.gardener.germinate(2, 4, 2)
        features = telemetry.slot_features(env.trainer, reading, 2)
        assert features["relative_params"] > 0
        assert not features.keys() & {"drift", "contribution", "alert", "rollback_need"}


def test_a_seed_inside_a_seed_is_read_like_any_other_and_shares_its_account():
    env = environment(
        TrainConfig(task="spirals", host="mlp", width=8, profile=None), replace(SHORT, nested_slots=2), seed=0
    )
    nested = [blueprint.name for blueprint in env.gardener.blueprints].index("nested")
    env.act(germinate(1, blueprint=nested))
    env.network.seed_at(1).alpha = 1.0
    env.network.lives[1].rewind(State.FOSSILISED)
    inner, empty = env.network.expose(1)
    env.act(germinate(inner, blueprint=1))
    network, gate, alphas = env.network, env.trainer.data.gate, env.network.alphas()
    seen = telemetry.read(network, env.trainer).slots[inner]
    raised = [1.0 if other == inner else alpha for other, alpha in enumerate(alphas)]
    assert seen.present.loss == pytest.approx(score(network, gate, raised).loss, rel=1e-5)
    assert seen.absent.loss == pytest.approx(score(network, gate).loss, rel=1e-5)
    assert seen.drift > 0
    features, around = slot_of(env, inner), slot_of(env, 1)
    assert (features["nesting"], around["nesting"]) == (pytest.approx(1 / 3), 0.0)
    assert features["depth"] == around["depth"] == 0.5
    slots = env.observe().vector[len(GLOBAL_FEATURES) :].reshape(-1, len(SLOT_FEATURES))
    left = slots[:, SLOT_FEATURES.index("budget_left")]
    assert left[inner] == left[empty] == left[1] < 1.0


class TestSafety:
    def test_the_risk_reaches_one_at_what_the_governor_takes_back_and_stays_there(self):
        limits = Limits()
        assert drift_risk(limits, drift_p95=0.0, log_norm_ratio=0.0) == 0.0
        assert drift_risk(limits, drift_p95=limits.drift_critical / 2, log_norm_ratio=0.0) == 0.5
        assert drift_risk(limits, drift_p95=0.0, log_norm_ratio=-limits.norm_critical / 4) == 0.25
        for broken in (limits.drift_critical, 2.0, math.inf, math.nan):
            assert drift_risk(limits, drift_p95=broken, log_norm_ratio=0.0) == 1.0
        assert drift_risk(limits, drift_p95=0.1, log_norm_ratio=math.nan) == 1.0

    @given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
    def test_rollback_need_is_a_number_in_range_however_short_the_history(self, pairs):
        present, absent = (torch.tensor([pair[k] for pair in pairs]) for k in (0, 1))
        assert 0.0 <= rollback_need(present, absent) <= 1.0

    def test_rollback_need_grows_with_the_evidence_that_the_seed_does_harm(self):
        absent = torch.full((100,), 0.5)
        noise = torch.randn(100, generator=torch.Generator().manual_seed(0))
        noise = noise - noise.mean()
        needs = [rollback_need(absent - harm + 0.1 * noise, absent) for harm in (-0.02, 0.0, 0.005, 0.01, 0.05)]
        assert needs[:2] == pytest.approx([0.0, 0.0], abs=1e-4)
        assert needs[1] < needs[2] < needs[3] < needs[4]
        assert needs[4] > 0.99

    @pytest.mark.parametrize("length", [1, 2, 3])
    def test_without_spread_the_sign_decides(self, length):
        low, high = torch.full((length,), 0.25), torch.full((length,), 0.5)
        assert rollback_need(low, high) == 1.0
        assert rollback_need(high, low) == 0.0
        assert rollback_need(low, low) == 0.0

    def test_figures_that_are_not_finite_need_a_rollback_and_alert(self, grown):
        with torch.no_grad():
            next(grown.network.seed_at(1).module.parameters()).fill_(float("nan"))
        features = slot_of(grown, 1)
        assert (features["rollback_need"], features["drift_risk"], features["alert"]) == (1.0, 1.0, 1.0)
        assert all(math.isfinite(value) for value in features.values())
        grown._reading = telemetry.read(grown.network, grown.trainer)
        assert np.isfinite(grown.observe().vector).all()

    def test_drift_alone_is_no_alert(self):
        assert alert({"drift": 1.9, "utilisation": -50.0}) == 0.0
        assert alert({"drift": 2.1}) == alert({"drift": math.nan}) == 1.0


class TestBudget:
    BUDGET = GrowthBudget(params=1000, macs=1000, latency_ms=10.0)

    def priced(self, params: int, macs: int, latency: float | None = None) -> Priced:
        return Priced(params=params, macs=macs, memory_bytes=1, latency_ms=latency, energy_uj=None)

    def test_it_is_the_share_of_what_all_else_leaves_under_the_tightest_limit(self):
        left = telemetry.budget_left(self.BUDGET, cost=self.priced(400, 600), without=self.priced(200, 200))
        assert left == pytest.approx(min(600 / 800, 400 / 800))
        slow = telemetry.budget_left(
            self.BUDGET, cost=self.priced(400, 600, latency=9.0), without=self.priced(200, 200, latency=5.0)
        )
        assert slow == pytest.approx(1 / 5)

    def test_an_empty_slot_has_spent_nothing_unless_nothing_is_left_to_spend(self):
        cost = self.priced(200, 200)
        assert telemetry.budget_left(self.BUDGET, cost=cost, without=cost) == 1.0
        full = self.priced(1000, 200)
        assert telemetry.budget_left(self.BUDGET, cost=full, without=full) == 0.0

    @given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(1e-3, 1e3))
    def test_it_lies_between_nought_and_one(self, rest, own, limit):
        assert 0.0 <= unspent(limit, without=rest, with_seed=rest + own) <= 1.0

    def test_growing_and_running_mean_the_same_by_it(self):
        state = RunningState(
            present=(True, True, False),
            on=(True, False, False),
            contributions=(0.1, 0.1, 0.0),
            relative_params=(1.0, 1.0, 0.0),
            relative_macs=(1.0, 1.0, 0.0),
            seed_latency_ms=(2.0, 5.0, 0.0),
            host_latency_ms=1.0,
            full_latency_ms=8.0,
            current_latency_ms=3.0,
            deadline_ms=10.0,
        )
        _, slots = running_features(state)
        budget = GrowthBudget(params=1, macs=1, latency_ms=10.0)
        for features, rest, whole in zip(slots, (1.0, 3.0, 3.0), (3.0, 8.0, 3.0), strict=True):
            expected = telemetry.budget_left(
                budget, cost=self.priced(0, 0, latency=whole), without=self.priced(0, 0, latency=rest)
            )
            assert features["budget_left"] == pytest.approx(expected)

    def test_a_seed_spends_from_its_slot_s_account(self, make_env):
        env = make_env()
        before = env.observe().vector
        env.act(germinate(1, blueprint=4))
        after = env.observe().vector
        place = len(GLOBAL_FEATURES) + len(SLOT_FEATURES) + SLOT_FEATURES.index("budget_left")
        assert before[place] == 1.0
        cost, rest = env.pricer.price(env.network.graphs()), env.pricer.price(env.network.host.layers)
        assert after[place] == pytest.approx(telemetry.budget_left(env.budget, cost=cost, without=rest))
        assert 0 < after[place] < 1


def everything(env) -> dict[str, torch.Tensor]:
    """Weights, buffers, moments, generators, gradients, modes and torch's own generator."""
    found = tensors_of(env)
    for name, param in env.network.named_parameters():
        if param.grad is not None:
            found[f"gradient/{name}"] = param.grad.clone()
    found["modes"] = torch.tensor([module.training for module in env.network.modules()])
    found["torch"] = torch.random.get_rng_state()
    return found


class TestSideEffects:
    def test_reading_changes_not_one_bit_of_anything(self, grown):
        before, entries = everything(grown), len(grown.audit.entries)
        assert any(name.startswith("gradient/") for name in before)
        for _ in range(3):
            telemetry.read(grown.network, grown.trainer)
            grown.observe()
        assert same(before, everything(grown))
        assert len(grown.audit.entries) == entries

    def test_training_goes_on_as_if_nobody_had_read(self, make_env):
        quiet, read = make_env(), make_env()
        for env in (quiet, read):
            env.act(germinate(2, blueprint=4))
        for _ in range(4):
            telemetry.read(read.network, read.trainer)
            read.observe()
            assert quiet.trainer.step().loss == read.trainer.step().loss
        assert same(everything(quiet), everything(read))

    def test_reading_twice_gives_the_same_twice(self, grown):
        assert np.array_equal(grown.observe().vector, grown.observe().vector)
        once, again = (telemetry.read(grown.network, grown.trainer) for _ in range(2))
        assert once.scores.loss == again.scores.loss
        assert once.gradients == again.gradients


class TestThreads:
    CONFIG = Episode(steps=24, decisions=4, consolidation_steps=4, batch=32, blend_windows=0.5)
    ACTIONS = (germinate(2, blueprint=4), germinate(1), WAIT, Action(operation=Operation.PRUNE, slot=1))

    def play(self, env) -> None:
        for action in self.ACTIONS:
            env.act(action)
        env.finish()

    def test_a_thread_that_reads_all_the_time_changes_nothing_that_another_learns(self, make_env):
        alone, watched = make_env(self.CONFIG), make_env(self.CONFIG)
        self.play(alone)
        done, failures, readings = threading.Event(), [], []

        def watch() -> None:
            torch.set_num_threads(1)
            try:
                while not done.is_set():
                    with watched.network.lock:
                        reading = telemetry.read(watched.network, watched.trainer)
                        expected = score(watched.network, watched.trainer.data.gate).loss
                    vector = telemetry.vector(
                        watched.trainer,
                        reading,
                        telemetry.Curve(),
                        pricer=watched.pricer,
                        budget=watched.budget,
                        steps_left=1.0,
                    )
                    readings.append((reading.scores.loss, expected, bool(np.isfinite(vector).all())))
            except BaseException as exc:  # noqa: BLE001  shown by the assertion below, whatever it is
                failures.append(exc)

        readers = [threading.Thread(target=watch) for _ in range(2)]
        for reader in readers:
            reader.start()
        self.play(watched)
        done.set()
        for reader in readers:
            reader.join()
        assert not failures
        assert len(readings) > 10
        assert len({loss for loss, _, _ in readings}) > 3  # they saw the network on its way
        assert all(loss == pytest.approx(expected, rel=1e-5) and finite for loss, expected, finite in readings)
        assert same(tensors_of(alone), tensors_of(watched))
        assert [w.loss for w in alone.windows] == [w.loss for w in watched.windows]

    def test_a_reading_waits_for_a_step_and_a_step_for_a_reading(self, make_env):
        env = make_env()
        for work in (env.trainer.step, lambda: telemetry.read(env.network, env.trainer)):
            worker = threading.Thread(target=work)
            with env.network.lock:
                worker.start()
                worker.join(0.2)
                assert worker.is_alive()
            worker.join(10)
            assert not worker.is_alive()


def test_readings_are_plain_data_for_whoever_logs_them(grown):
    features = slot_of(grown, 1)
    assert json.loads(json.dumps(features)) == features
