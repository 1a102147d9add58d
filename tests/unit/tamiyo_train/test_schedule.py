"""Growth by a schedule: read strictly, checked against the network, carried out as far as the gates allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.config import Episode, TrainConfig, plain
from tamiyo_train.jobs import environment
from tamiyo_train.policy.actions import WAIT, Action, Masks, Observation
from tamiyo_train.policy.scheduled import Scheduled
from tamiyo_train.preflight import check
from tamiyo_train.schedule import ScheduledDecision, read_schedule

EXAMPLE = Path(__file__).parents[3] / "examples" / "schedule.toml"
FIRST = 'window = 1\noperation = "germinate"\nslot = 3\nblueprint = "wide-conv"\nintensity = 1.0\n'


def read(tmp_path, *decisions):
    path = tmp_path / "s.toml"
    path.write_text("".join(f"[[decision]]\n{decision}\n" for decision in decisions))
    return read_schedule(path)


def test_the_example_passes_every_check_and_grows_what_it_says():
    config = TrainConfig(growth="schedule", schedule=read_schedule(EXAMPLE), profile=None)
    check(config)
    env = environment(config, replace(config.final, steps=224, batch=16, consolidation_steps=0), seed=1)
    names = [blueprint.name for blueprint in env.gardener.blueprints]
    decider = Scheduled(config.schedule, blueprints=names, window_steps=env.config.window)
    while not env.done:
        env.act(decider.decide(env.observe()))
    actions = [w.action for w in env.windows]
    assert [w.index for w in env.windows if w.action.operation is Operation.GERMINATE] == [1, 8]
    assert actions[1] == Action(operation=Operation.GERMINATE, slot=3, blueprint=names.index("wide-conv"), intensity=2)
    assert any(a.operation is Operation.ADVANCE and a.slot == 3 for a in actions)
    assert plain(config)["schedule"][0]["blueprint"] == "wide-conv"


@pytest.mark.parametrize(
    ("decision", "near"),
    [
        (FIRST.replace("germinate", "germinat"), "germinate"),
        (FIRST.replace("slot =", "slott ="), "slot"),
        (FIRST.replace("window", "windw"), "window"),
    ],
)
def test_a_misspelt_name_gets_the_near_one(tmp_path, decision, near):
    with pytest.raises(UnknownNameError, match=r"decision\[0\]") as caught:
        read(tmp_path, decision)
    assert near in caught.value.near


@pytest.mark.parametrize(
    ("decision", "problem"),
    [
        (FIRST.replace("1.0", "0.7"), "must be one of"),
        (FIRST.replace('blueprint = "wide-conv"\n', ""), "is needed to germinate"),
        (FIRST + "step = 3\n", "either a window or a step"),
        (FIRST.replace("slot = 3", "slot = -1"), "must not be negative"),
        (FIRST.replace("slot = 3", 'slot = "three"'), "expected an integer"),
        ('window = 1\noperation = "advance"\nslot = 1\nintensity = 1.0\n', "is for germinate only"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path, decision, problem):
    with pytest.raises(SchemaError, match=problem) as caught:
        read(tmp_path, decision)
    assert "decision[0]" in caught.value.message


@pytest.mark.parametrize("text", ["", "decision = 3", "[[decisions]]\n", "not toml", "[[decision]]\nx"])
def test_what_is_no_schedule_is_refused(tmp_path, text):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(UsageError):
        read_schedule(path)
    with pytest.raises(InputError, match="not found"):
        read_schedule(tmp_path / "nowhere.toml")


def config_with(tmp_path, *decisions):
    final = Episode(steps=64, decisions=8, consolidation_steps=0, batch=32)
    return TrainConfig(growth="schedule", schedule=read(tmp_path, *decisions), profile=None, final=final)


@pytest.mark.parametrize(
    ("decisions", "problem"),
    [
        ([FIRST.replace("window = 1", "window = 8")], "windows 0 to 7"),
        ([FIRST.replace("window = 1", "step = 57")], "due before window 8"),
        ([FIRST.replace("slot = 3", "slot = 4")], "there is no slot 4; the host has 0 to 3"),
        (['window = 1\noperation = "advance"\nslot = 2\n'], "cannot advance in slot 2: by then it is empty"),
        ([FIRST, FIRST], "cannot germinate in slot 3: by then it holds a young seed"),
        ([FIRST.replace("window = 1", "window = 5"), FIRST.replace("slot = 3", "slot = 2")], "the one above"),
    ],
)
def test_a_schedule_the_network_has_no_room_for_is_refused_before_training(tmp_path, decisions, problem):
    with pytest.raises(SchemaError, match=problem):
        check(config_with(tmp_path, *decisions))


def test_a_blueprint_that_is_not_offered_or_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="wide-con") as caught:
        check(config_with(tmp_path, FIRST.replace("wide-conv", "wide-con")))
    assert caught.value.near == ("wide-conv",)
    with pytest.raises(SchemaError, match="would exceed its budget"):
        check(replace(config_with(tmp_path, FIRST), profile="raspberry-pi-4", width=64))


def observation(*legal):
    masks = Masks(slot=np.zeros((5, 4), bool), blueprint=np.ones((4, 5), bool), params=np.zeros((4, 5), np.int64))
    for operation, slot in legal:
        masks.slot[operation, slot] = True
    return Observation(vector=np.zeros(3, np.float32), masks=masks)


def test_a_decision_that_is_not_allowed_yet_waits_and_holds_back_only_its_own_slot():
    schedule = [
        ScheduledDecision(operation="advance", slot=0, window=0),
        ScheduledDecision(operation="prune", slot=0, window=0),
        ScheduledDecision(operation="prune", slot=1, window=0),
    ]
    decider = Scheduled(schedule, blueprints=[], window_steps=1)
    legal = [(Operation.PRUNE, 0), (Operation.PRUNE, 1)]
    assert decider.decide(observation(*legal)) == Action(operation=Operation.PRUNE, slot=1)
    assert decider.decide(observation(*legal)) == WAIT
    legal.append((Operation.ADVANCE, 0))
    assert decider.decide(observation(*legal)) == Action(operation=Operation.ADVANCE, slot=0)
    assert decider.decide(observation(*legal)) == Action(operation=Operation.PRUNE, slot=0)
