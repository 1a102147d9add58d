"""The network that faults are injected into: of middle age, and one that knows something that could be lost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_train.blueprints import blueprints
from tamiyo_train.faults import scene as scenes
from tamiyo_train.faults.explosions import label_noise, last_weights, wrong_labels
from tamiyo_train.faults.kinds import WINDOW
from tamiyo_train.faults.scene import LEARNED, Scene, scene
from tamiyo_train.hosts import hosts
from tamiyo_train.lifecycle import State
from tamiyo_train.presets import preset

BOUNCE = 0.1
"""Share of the loss of guessing that newborns may cost for a moment."""


def test_wrong_labels_are_taken_back_on_the_spirals_since_the_network_was_waited_for() -> None:
    made = scene("spirals", None, 2)
    made.rewind()
    assert made.trainer.step_index > 120
    assert made.guessing < LEARNED + BOUNCE
    assert [made.network.slots_in(state) for state in (State.FOSSILISED, State.BLENDING, State.TRAINING)] == [
        (2,),
        (1,),
        (0,),
    ]
    assert Scene("spirals", None, 2).guessing == pytest.approx(1.0, abs=0.1)
    outcomes = []
    for seed in range(4):
        made.rewind()
        outcomes.append(label_noise(made, np.random.default_rng(seed)))
    assert all(outcome.steps is not None and outcome.steps <= WINDOW and outcome.whole for outcome in outcomes)
    assert {outcome.metric for outcome in outcomes} == {0.0}


@pytest.mark.parametrize("shape", [(400,), (40, 10)])
def test_wrong_labels_are_wrong_everywhere_and_of_the_same_classes(shape: tuple[int, ...]) -> None:
    labels = torch.arange(400).remainder(7).reshape(shape)
    wrong = wrong_labels(labels, np.random.default_rng(0))
    assert wrong.shape == labels.shape
    assert bool((wrong != labels).all())
    assert set(wrong.flatten().tolist()) == set(range(7))


@pytest.mark.parametrize(("blueprint", "struck"), [("glu", ("value.weight", "value.bias")), ("bottleneck", None)])
def test_the_weights_that_are_struck_are_those_that_carry_what_passes(
    blueprint: str, struck: tuple[str, ...] | None
) -> None:
    place = hosts.get("mlp-skip")(shape=(2,), classes=2, width=6).places[0]
    seed = blueprints.get(blueprint).build(place)
    named = dict(seed.named_parameters())
    assert [id(param) for param in last_weights(seed)] == [id(named[name]) for name in struck or list(named)[-2:]]


def test_a_scene_trains_as_the_preset_of_its_task_does() -> None:
    trained, final = Scene("spirals", None, 0).config, preset("spirals").final
    for name in ("learning_rate", "apart", "gate_dropout", "limits", "weight_decay", "attack"):
        assert getattr(trained, name) == getattr(final, name)


def test_where_a_seed_goes_astray_another_scene_is_grown_from_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    grow, tried = scenes._grown, []

    def first_astray(made: Scene) -> bool:
        tried.append(made.seed)
        return grow(made) and len(tried) > 1

    monkeypatch.setattr(scenes, "_grown", first_astray)
    made = scene.__wrapped__("clusters", None, 0)
    assert len(tried) == 2
    assert made.seed == tried[1] != tried[0] == 0


def test_a_task_on_which_no_scene_comes_of_age_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "_grown", lambda made: False)
    with pytest.raises(TamiyoError, match="no network of 'clusters'") as caught:
        scene.__wrapped__("clusters", None, 0)
    assert "--seed" in str(caught.value.hint)
