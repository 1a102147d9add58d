"""The learned allocator: candidates that are splits, and a network that finds out which region is worth its share."""

from __future__ import annotations

import pytest
import torch

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.regions import shipped
from tamiyo_train.regions.learned import Learned, Lesson, SplitWorth, Teaching, grid, teach
from tamiyo_train.regions.shipped import allocator, card
from tamiyo_train.regions.telemetry import FEATURES

QUICK = Teaching(steps=300, every=50, learning_rate=5e-3)
_UTILISATION = FEATURES.index("utilisation")


@pytest.mark.parametrize("regions", [2, 3, 5, 9])
def test_candidates_are_splits_and_few(regions):
    found = grid(regions)
    assert found.shape[1] == regions
    assert len(found) <= 200
    assert bool((found >= 0).all())
    assert float(found.sum(1).max()) <= 1 + 1e-12
    assert len(found.unique(dim=0)) == len(found)
    assert float(found.max()) == 1.0


def test_the_network_is_small():
    assert sum(p.numel() for p in SplitWorth().parameters()) < 5000


def lesson(groups: int, *, signal: float, seed: int = 0) -> Lesson:
    """Groups of six episodes with two splits each, worth what the region of higher utilisation is given."""
    rng = torch.Generator().manual_seed(seed)
    telemetry = torch.randn(groups, 1, 2, 2, len(FEATURES), generator=rng).expand(-1, 6, -1, -1, -1)
    first = torch.rand(groups, 6, 2, generator=rng)
    shares = torch.stack([first, 1 - first], -1)
    better = (telemetry[..., 0, _UTILISATION] > telemetry[..., 1, _UTILISATION]).float()
    given = better * shares[..., 0] + (1 - better) * shares[..., 1]
    noise = torch.randn(groups, 6, generator=rng)
    host = torch.randn(groups, 1, generator=rng)  # what a host is worth has no part in it
    return Lesson(telemetry=telemetry, shares=shares, utility=host + signal * given.sum(2) + 0.1 * noise)


def test_it_learns_which_region_a_share_is_worth_more_in_whatever_the_host_is_worth():
    network, explained = teach([lesson(200, signal=1.0)], config=QUICK, seed=0)
    assert 0.25 < explained < 0.55  # the first of two splits: half of what both explain, at best
    telemetry = torch.randn(50, 2, len(FEATURES), generator=torch.Generator().manual_seed(7))
    shares = Learned(network).shares(telemetry)
    favoured = telemetry[..., _UTILISATION].argmax(1)
    assert float((shares.argmax(1) == favoured).float().mean()) > 0.85


def test_it_says_so_when_there_was_nothing_to_learn():
    _, explained = teach([lesson(60, signal=0.0)], config=QUICK, seed=0)
    assert explained < 0.05


def test_the_same_lesson_teaches_the_same_network_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (teach([lesson(20, signal=1.0)], config=Teaching(steps=60), seed=3)[0] for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_the_shipped_allocator_is_that_of_its_card_and_splits_any_number_of_regions():
    known = card()
    assert known["parameters"] == sum(p.numel() for p in SplitWorth().parameters())
    for regions in (2, 3):
        shares = allocator().shares(torch.zeros(4, regions, len(FEATURES)))
        assert shares.shape == (4, regions)
        assert bool((shares >= 0).all())
        assert float(shares.sum(1).max()) <= 1 + 1e-12


def test_a_shipped_allocator_that_is_not_that_of_its_card_is_refused(monkeypatch):
    monkeypatch.setattr(shipped, "card", lambda: {**card(), "features": ["mood"]})
    allocator.cache_clear()
    with pytest.raises(IntegrityError, match="reads other features"):
        allocator()
