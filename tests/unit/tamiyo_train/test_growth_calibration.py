"""How far auxiliary heads can be believed."""

from __future__ import annotations

import pytest
import torch

from benchmarks.growth_calibration import reliability

HAPPENED = (torch.arange(1000) % 10 < 3).float()


def told(p: float) -> torch.Tensor:
    return torch.full((1000,), float(torch.logit(torch.tensor(p, dtype=torch.float64))))


def test_the_error_is_nought_where_the_share_is_foretold_and_the_gap_otherwise():
    assert reliability(told(0.3), HAPPENED)["ece"] == pytest.approx(0.0, abs=1e-6)
    assert reliability(torch.full((1000,), 20.0), HAPPENED)["ece"] == pytest.approx(0.7, abs=1e-3)


def test_whoever_always_says_the_share_is_calibrated_and_has_no_skill():
    assert reliability(told(0.3), HAPPENED)["skill"] == pytest.approx(0.0, abs=1e-6)
    assert reliability((HAPPENED - 0.5) * 40, HAPPENED)["skill"] == pytest.approx(1.0, abs=1e-6)
    assert reliability(told(0.9), HAPPENED)["skill"] < 0
    assert reliability(told(0.3), torch.ones(1000))["skill"] is None


def test_bins_say_how_many_fell_into_each_what_was_foretold_and_what_was_seen():
    logits = torch.cat([told(0.25)[:500], told(0.95)[:500]])
    happened = torch.cat([torch.zeros(500), torch.ones(500)])
    found = reliability(logits, happened)
    assert [share for share, *_ in found["bins"]] == [0.5, 0.5]
    assert found["bins"][0][1:] == pytest.approx([0.25, 0.0]) and found["bins"][1][1:] == pytest.approx([0.95, 1.0])
    assert found["ece"] == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)
