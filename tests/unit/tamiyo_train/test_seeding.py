"""Initialisation from a seed: the same weights whoever asks, and nothing left behind."""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_train.seeding import derive, initialising


def weights(seed: int) -> torch.Tensor:
    with initialising(seed):
        return nn.Linear(3, 4).weight.detach()


def test_weights_are_those_of_torchs_own_seeding_and_its_generator_is_as_before():
    before = torch.get_rng_state()
    for seed in (0, 7, derive(1, "host")):
        found = weights(seed)
        assert torch.equal(torch.get_rng_state(), before)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            assert torch.equal(found, nn.Linear(3, 4).weight)


def test_inside_another_it_does_not_disturb_what_the_other_draws():
    with initialising(1):
        plain = torch.rand(3)
    with initialising(1):
        weights(2)
        assert torch.equal(torch.rand(3), plain)


def test_generators_of_accelerators_are_left_alone(monkeypatch):
    told: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", told.append)
    torch.manual_seed(torch.initial_seed())  # what would tell them
    assert len(told) == 1
    weights(3)
    assert len(told) == 1
