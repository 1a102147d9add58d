"""An episode on paper: stopped after any window and brought back, it goes on bit by bit as if it had never stopped."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import SchemaError, TamiyoError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train import tensorfile
from tamiyo_train.blueprints import blueprints
from tamiyo_train.channel_gate import ChannelGate
from tamiyo_train.config import TrainConfig
from tamiyo_train.growing import Beside, grow
from tamiyo_train.jobs import environment
from tamiyo_train.lifecycle import State
from tamiyo_train.policy.actions import WAIT, Action
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings, RandomDecider
from tamiyo_train.policy.experience import Recorder
from tamiyo_train.resume import restore, state_of
from tamiyo_train.schedule import ScheduledDecision
from tamiyo_train.seeding import one_thread
from tamiyo_train.snapshot import digest
from tests.unit.tamiyo_train.helpers import SHORT

SPIRALS = TrainConfig(task="spirals", host="mlp", width=6, profile=None)
GATED = replace(SHORT, blending="gate", gate_windows=2.0, min_age=0)


def new_env(episode=SHORT, config=SPIRALS):
    return environment(config, episode, seed=7)


def eager(name, seed):
    return KasminaMicro(KasminaSettings(patience=0, mature=0.0)) if name == "kasmina" else RandomDecider(seed)


def through_paper(env, tmp_path):
    """The same episode rebuilt from a file."""
    path = tmp_path / "state.safetensors"
    tensorfile.write(path, *state_of(env))
    fresh = new_env(env.config)
    restore(fresh, *tensorfile.read(path))
    return fresh


def advance(env, recorder, windows):
    """Play so many windows of growth and then of consolidation."""
    for _ in range(windows):
        if not env.done:
            env.act(recorder.decide(env.observe()))
        elif not env.settled:
            env.begin_consolidation()
            env.consolidate_window()


@settings(max_examples=8)
@given(
    stop=st.integers(1, 8),
    name=st.sampled_from(["kasmina", "random"]),
    seed=st.integers(0, 5),
    episode=st.sampled_from([SHORT, GATED]),
)
def test_growth_goes_on_bit_by_bit_after_any_window(tmp_path_factory, stop, name, seed, episode):
    with one_thread():
        straight, recorder = new_env(episode), Recorder(eager(name, seed))
        advance(straight, recorder, stop)
        fresh = through_paper(straight, tmp_path_factory.mktemp("state"))
        replayed = Recorder(eager(name, seed))
        replayed.replay(recorder.seen)
        assert digest(fresh.trainer) == digest(straight.trainer)
        advance(straight, recorder, 8 - stop)
        advance(fresh, replayed, 8 - stop)
        assert fresh.finish() == straight.finish()
        assert digest(fresh.trainer) == digest(straight.trainer)
        assert fresh.audit.entries == straight.audit.entries
        assert fresh.windows == straight.windows


def test_a_nested_seed_comes_back_with_what_grows_inside_it(tmp_path):
    episode = replace(SHORT, nested_slots=2)
    env = new_env(episode)
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=names.index("nested"), intensity=2))
    env.network.seed_at(1).alpha = 1.0
    env.network.lives[1].rewind(State.FOSSILISED)
    inner = env.network.expose(1)[0]
    env.gardener.germinate(inner, names.index("bottleneck"), 2)
    env.train(4)
    fresh = through_paper(env, tmp_path)
    assert fresh.network.seed_at(inner).blueprint is blueprints.get("bottleneck")
    assert fresh.network.lives[inner].path == "1.0"
    for each in (env, fresh):
        each.train(4)
    assert digest(fresh.trainer) == digest(env.trainer)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("held", [False, True])
def test_a_seed_behind_a_learned_gate_comes_back_with_its_gate_and_opens_as_it_would_have(tmp_path, inside, held):
    env = new_env(replace(GATED, nested_slots=2, gate_windows=3.0))
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    slot = 1
    if inside:
        env.act(Action(operation=Operation.GERMINATE, slot=1, blueprint=names.index("nested"), intensity=2))
        env.network.seed_at(1).alpha = 1.0
        env.network.lives[1].rewind(State.FOSSILISED)
        slot = env.network.expose(1)[0]
    env.gardener.germinate(slot, names.index("bottleneck"), 2)
    env.act(WAIT)
    env.gardener.advance(env.reading, slot)
    env.train(5)
    env.measure()
    env.trainer.hold_gate(slot, held=held)
    assert isinstance(env.network.seed_at(slot).module, ChannelGate)
    fresh = through_paper(env, tmp_path)
    assert isinstance(fresh.network.seed_at(slot).module, ChannelGate)
    assert digest(fresh.trainer) == digest(env.trainer)
    for each in (env, fresh):
        for _ in range(4):
            each.act(WAIT)
    assert not isinstance(env.network.seed_at(slot).module, ChannelGate)
    assert digest(fresh.trainer) == digest(env.trainer)
    assert fresh.audit.entries == env.audit.entries
    assert fresh.windows == env.windows


def test_a_panic_in_the_window_after_goes_back_to_the_state_that_was_kept(tmp_path):
    env = new_env()
    for _ in range(3):
        env.act(WAIT)
    assert env.unsuspecting
    state, fresh = digest(env.trainer), through_paper(env, tmp_path)
    for each in (env, fresh):
        with torch.no_grad():
            for param in each.network.trunk.parameters():
                param.mul_(-100)
        each.act(WAIT)
        assert each.safety_events == 1
        assert [entry.data["state"] for entry in each.audit.entries if entry.kind == "rollback"] == [state]
    assert digest(fresh.trainer) == digest(env.trainer)
    assert fresh.finish() == env.finish()
    assert fresh.audit.entries == env.audit.entries


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("stop", [29, 32, 33, 37])
@pytest.mark.parametrize("decisions", [8, 4])
def test_a_growth_killed_around_the_start_of_consolidation_ends_as_if_it_had_not_been(tmp_path, stop, decisions):
    episode = replace(SHORT, decisions=decisions, consolidation_steps=40, gate_dropout=0.5)
    young = {"operation": "germinate", "slot": 1, "window": 1, "blueprint": "bottleneck", "intensity": 1.0}
    config = replace(SPIRALS, growth="schedule", schedule=(ScheduledDecision(**young),), final=episode)

    def kill(done):
        if done == stop:
            raise Killed

    straight = grow(config, "schedule", None)
    assert any("episode ended" in str(entry["data"]) for entry in straight.audit)
    with pytest.raises(Killed):
        grow(config, "schedule", None, Beside(counter=kill, work=tmp_path))
    again = grow(config, "schedule", None, Beside(work=tmp_path))
    assert again.audit == straight.audit
    assert again.history == straight.history
    assert all(torch.equal(again.network[name], tensor) for name, tensor in straight.network.items())
    assert again.result == straight.result


def test_taking_state_changes_nothing():
    env = new_env()
    advance(env, Recorder(eager("kasmina", 0)), 3)
    before = digest(env.trainer)
    first, second = state_of(env), state_of(env)
    assert digest(env.trainer) == before
    assert json.dumps(first[0]) == json.dumps(second[0])


@pytest.mark.parametrize("part", ["", "trainer", "gardener", "network"])
def test_a_field_that_nobody_listed_is_refused_by_name(part):
    env = new_env()
    thing = getattr(env, part) if part else env
    thing.momentum_of_mood = 0.5
    with pytest.raises(TamiyoError, match=r"momentum_of_mood is neither kept nor made anew"):
        state_of(env)


def test_a_state_of_another_host_or_version_is_refused():
    document, tensors = state_of(new_env())
    with pytest.raises(SchemaError):
        restore(new_env(config=replace(SPIRALS, width=5)), document, tensors)
    with pytest.raises(SchemaError, match="newer"):
        restore(new_env(), {**document, "schema": "tamiyo.growth/3"}, tensors)
    with pytest.raises(SchemaError, match="growth/1"):
        restore(new_env(), {**document, "schema": "tamiyo.growth/1"}, tensors)
    with pytest.raises(SchemaError):
        restore(new_env(), {**document, "env": {**document["env"], "mood": 1}}, tensors)


def test_a_decider_that_would_decide_otherwise_is_not_taken_up():
    recorder = Recorder(eager("random", 1))
    advance(new_env(), recorder, 4)
    with pytest.raises(TamiyoError, match="comes out differently"):
        Recorder(eager("kasmina", 0)).replay(recorder.seen)
