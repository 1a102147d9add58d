"""The governor: when it panics, and that what it restores is what was, bit by bit."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.config import Episode, Limits
from tamiyo_train.env import CONSOLIDATION_WINDOW
from tamiyo_train.governor import Panic, Watch, judge
from tamiyo_train.guard import MAX_BARREN_PANICS
from tamiyo_train.lifecycle import Event, State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.snapshot import Snapshot
from tests.unit.tamiyo_train.helpers import same, tensors_of

LIMITS = Limits()
GERMINATE = Action(operation=Operation.GERMINATE, slot=2, blueprint=4, intensity=2)


def watched(losses) -> tuple[Watch, list[Panic | None]]:
    watch, panics = Watch(), []
    for loss in losses:
        watch, panic = judge(LIMITS, watch, loss=loss)
        panics.append(panic)
    return watch, panics


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_panics_at_once(loss):
    assert judge(LIMITS, Watch(), loss=loss)[1] is Panic.NOT_FINITE


def test_one_spike_is_forgiven_three_on_end_are_not():
    calm = [1.0] * LIMITS.window
    assert watched([*calm, 9.0, 9.0, 1.0, 9.0, 9.0])[1][-5:] == [None] * 5
    assert watched([*calm, 9.0, 9.0, 9.0])[1][-1] is Panic.LOSS_SPIKE


def test_a_slow_explosion_cannot_raise_its_own_limit():
    losses = [1.0] * LIMITS.window + [2.0 * 1.5**k for k in range(6)]
    assert Panic.LOSS_SPIKE in watched(losses)[1]


@given(st.lists(st.floats(0.0, 0.5), min_size=1, max_size=80))
def test_noise_within_the_floor_never_panics(losses):
    assert set(watched(losses)[1]) == {None}


def test_critical_drift_and_a_breached_budget_panic():
    assert judge(LIMITS, Watch(), loss=1.0, drift=LIMITS.drift_critical)[1] is Panic.DRIFT
    assert judge(LIMITS, Watch(), loss=1.0, drift=math.nan)[1] is Panic.NOT_FINITE
    assert judge(LIMITS, Watch(), loss=1.0, within_budget=False)[1] is Panic.BUDGET


def grown(env):
    """An environment with one seed blended in; the gate before blending is skipped, it is not what is tested here."""
    env.act(GERMINATE)
    env.network.lives[2].fire(Event.ADVANCE, step=env.trainer.step_index, reason="test")
    env.act(WAIT)
    assert env.network.alphas()[2] > 0
    return env


def test_restore_brings_back_weights_buffers_moments_and_generators_bit_by_bit(make_env):
    env = grown(make_env())
    snapshot, before = Snapshot(env.trainer), tensors_of(env)
    states = [life.state for life in env.network.lives]
    alphas, step = env.network.alphas(), env.trainer.step_index
    env.act(Action(operation=Operation.GERMINATE, slot=0, blueprint=1, intensity=4))
    with torch.no_grad():
        for param in env.network.parameters():
            param.fill_(float("nan"))
    assert not same(before, tensors_of(env))
    snapshot.restore(env.trainer)
    assert same(before, tensors_of(env))
    assert [life.state for life in env.network.lives] == states
    assert (env.network.alphas(), env.trainer.step_index) == (alphas, step)


def test_training_goes_on_from_a_restored_snapshot_as_it_did_the_first_time(make_env):
    env = grown(make_env())
    snapshot = Snapshot(env.trainer)
    first = [env.trainer.step().loss for _ in range(5)]
    once = tensors_of(env)
    for _ in range(2):  # a snapshot can be used again: restoring must copy, not hand out
        snapshot.restore(env.trainer)
        assert [env.trainer.step().loss for _ in range(5)] == first
        assert same(once, tensors_of(env))


def test_a_seed_culled_since_the_snapshot_is_back_with_its_weights(make_env):
    env = grown(make_env())
    snapshot, before = Snapshot(env.trainer), tensors_of(env)
    env.gardener.cull(2, "test")
    assert env.network.seeds[2] is None
    snapshot.restore(env.trainer)
    assert env.network.lives[2].state in {State.BLENDING, State.PROBATIONARY}
    assert same(before, tensors_of(env))


def poison(env, slot):
    with torch.no_grad():
        next(env.network.seed_at(slot).module.parameters()).fill_(float("nan"))


@pytest.mark.parametrize("blueprint", [1, 2, 3, 4])
def test_a_poisoned_seed_is_taken_back_and_culled_and_the_host_is_untouched(make_env, blueprint):
    env = make_env()
    env.act(WAIT)
    before = {name: tensor.clone() for name, tensor in env.network.trunk.state_dict().items()}
    act = env.gardener.germinate

    def germinate_poisoned(slot, index, intensity):
        act(slot, index, intensity)
        poison(env, slot)

    env.gardener.germinate = germinate_poisoned
    report = env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=blueprint, intensity=2))
    after = env.network.trunk.state_dict()
    assert report.panics == 1
    assert report.loss is None
    assert env.network.seeds[1] is None
    assert env.network.lives[1].state is State.EMBARGOED
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [entry.kind for entry in env.audit.entries if entry.kind in {"panic", "rollback"}] == ["panic", "rollback"]
    assert all(np.isfinite(env.observe().vector))


def test_a_host_that_diverges_by_itself_is_given_up_with_its_last_sound_state(make_env):
    env = make_env()
    step = env.trainer.step

    def broken(**keywords):
        result = step(**keywords)
        with torch.no_grad():
            next(env.network.trunk.parameters()).fill_(float("nan"))
        return result

    env.trainer.step = broken
    before = {name: tensor.clone() for name, tensor in env.network.trunk.state_dict().items()}
    with pytest.raises(TamiyoError, match="diverges"):
        for _ in range(8):
            env.act(WAIT)
    after = env.network.trunk.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_consolidation_that_costs_accuracy_is_taken_back(make_env):
    env = make_env(Episode(steps=60, decisions=4, consolidation_steps=3, batch=64))
    while not env.done:
        env.act(WAIT)
    before = {name: tensor.clone() for name, tensor in env.network.state_dict().items()}
    step = env.trainer.step

    def harmful(**keywords):
        result = step(**keywords)
        with torch.no_grad():
            env.network.trunk[4].linear.weight.zero_()
        return result

    env.trainer.step = harmful
    outcome = env.finish()
    after = env.network.state_dict()
    assert outcome.safety_events == 1
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert env.audit.entries[-1].data["panic"] == Panic.REGRESSION


@pytest.mark.parametrize("factor", [-1e3, 1e38])
def test_what_the_last_window_ruined_is_taken_back_before_consolidation(make_env, factor):
    env = make_env(Episode(steps=60, decisions=4, consolidation_steps=8, batch=64))
    for action in (WAIT, WAIT, GERMINATE, WAIT):
        env.act(action)
    assert env.network.lives[2].state is State.TRAINING
    sound, state = tensors_of(env), Snapshot(env.trainer).sha256
    with torch.no_grad():
        for param in env.network.trunk.parameters():
            param.mul_(factor)
    env.begin_consolidation()
    (rollback,) = [entry for entry in env.audit.entries if entry.kind == "rollback"]
    assert rollback.data["state"] == state
    assert env.network.lives[2].state is State.EMBARGOED
    trunk = env.network.trunk.state_dict()
    assert same({name: sound[f"trunk.{name}"] for name in trunk}, trunk)
    outcome = env.finish()
    assert outcome.safety_events == 1
    assert outcome.accuracy > 0.3


def test_no_seed_comes_back_to_life_in_consolidation(make_env):
    env = make_env(Episode(steps=60, decisions=4, consolidation_steps=40, batch=64))
    for action in (WAIT, WAIT, GERMINATE, WAIT):
        env.act(action)
    env.begin_consolidation()
    with torch.no_grad():
        env.network.trunk[0].conv.weight.fill_(math.nan)
    env.finish()
    assert env.safety_events == 1
    assert env.network.seeds == [None] * 4


def test_panics_with_sound_windows_between_them_do_not_end_consolidation(make_env):
    panics = MAX_BARREN_PANICS + 1
    steps = 2 * panics * CONSOLIDATION_WINDOW
    env = make_env(Episode(steps=8, decisions=2, consolidation_steps=steps, batch=16, held_share=0.0))
    while not env.done:
        env.act(WAIT)
    env.begin_consolidation()
    step = env.trainer.step

    def broken_in_every_second_window(**keywords):
        window = (env.trainer.step_index - env.config.steps) // CONSOLIDATION_WINDOW
        result = step(**keywords)
        return replace(result, loss=math.nan) if window % 2 == 0 else result

    env.trainer.step = broken_in_every_second_window
    while not env.settled:
        env.consolidate_window()
    assert env.safety_events == panics


def test_a_panic_in_consolidation_costs_one_window_and_half_the_learning_rate(make_env):
    env = make_env(Episode(steps=8, decisions=2, consolidation_steps=80, batch=32, held_share=0.5))
    while not env.done:
        env.act(WAIT)
    step, calls = env.trainer.step, []

    def once_broken(**keywords):
        result = step(**keywords)
        calls.append(env.trainer.step_index)
        return replace(result, loss=math.nan) if len(calls) == 5 else result

    env.trainer.step = once_broken
    outcome = env.finish()
    assert outcome.safety_events == 1
    assert env.trainer.caution == 0.5
    assert env.trainer.step_index == env.config.total_steps
    assert len(calls) == 5 + 80 - CONSOLIDATION_WINDOW  # the window's other steps are spent, the rest is trained
