"""Presets: one for every task, digits as it always was, and hosts that leave room to grow."""

from __future__ import annotations

import pytest

from tamiyo_runtime.contracts.errors import UnknownNameError
from tamiyo_train.config import TrainConfig
from tamiyo_train.experiment import check
from tamiyo_train.jobs import new_host, offered
from tamiyo_train.presets import preset
from tamiyo_train.tasks import stages


@pytest.mark.parametrize("task", [name for name in stages.names() if name != "mnist1d"])
def test_every_task_has_a_preset_that_can_be_trained(task):
    config = preset(task)
    check(config)
    host = new_host(config, 0)
    assert config.task == task
    assert any(blueprint.misfit(place) is None for place in host.places for blueprint in offered(host)[1:])


def test_digits_are_trained_as_they_always_were():
    assert preset("digits") == TrainConfig()


@pytest.mark.parametrize("task", ["mnist1d", "ecg", "imu"])
def test_sequences_are_grown_on_a_sequence_host(task):
    assert preset(task).host in {"conv1d", "attention1d"}


def test_a_task_of_others_gets_the_plain_host_of_its_domain(monkeypatch):
    monkeypatch.setitem(stages._items, "theirs", stages.get("moons"))
    assert preset("theirs") == TrainConfig(task="theirs", host="mlp")


def test_a_misspelt_task_is_refused_with_the_near_name():
    with pytest.raises(UnknownNameError) as caught:
        preset("spiral")
    assert caught.value.near == ("spirals",)
