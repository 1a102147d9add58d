from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from exporters.network import capture, scaled
from exporters.request import ExportRequest, SeedModule
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import SegmentKind
from tests.unit.exporters.tiny import CHANNELS


def test_trunk_pieces_around_an_empty_slot_become_one(request_: ExportRequest) -> None:
    network = capture(request_)
    assert [piece.name for piece in network.pieces] == ["trunk0", "seed0", "trunk1", "seed2", "head"]
    assert network.pieces[-1].kind is SegmentKind.HEAD
    assert network.seeded == (0, 2)
    assert network.slots == 3


def test_configurations_run_from_the_bare_host_to_the_full_network(request_: ExportRequest) -> None:
    network = capture(request_)
    assert [item.id for item in network.configurations] == ["c000", "c100", "c001", "c101"]
    assert (network.host.id, network.full.id) == ("c000", "c101")
    assert [piece.name for piece in network.chain((True, False, False))] == ["trunk0", "seed0", "trunk1", "head"]


def test_pieces_compute_what_the_modules_do(request_: ExportRequest) -> None:
    network = capture(request_)
    real = scaled(request_, request_.test_inputs[:5])
    value = torch.from_numpy(real)
    with torch.no_grad():
        for slot, piece in enumerate(request_.trunk):
            value = piece(value)
            if slot == 2:
                value = request_.seeds[1].module(value)
    np.testing.assert_allclose(network.logits(real, (False, False, True)), value.numpy(), rtol=1e-6)
    with torch.no_grad():
        np.testing.assert_allclose(network.whole((False, False, True))(torch.from_numpy(real)), value, rtol=1e-6)


def test_calibration_traffic_crosses_each_seam_with_the_seed_on_and_off(request_: ExportRequest) -> None:
    network = capture(request_)
    real = scaled(request_, request_.calibration)
    entering = network.traffic(real, seed=1)
    before, after = entering["seed0"], entering["trunk1"]
    unchanged = np.array([np.array_equal(a, b) for a, b in zip(before, after, strict=True)])
    assert 0 < unchanged.sum() < len(unchanged)
    with torch.no_grad():
        through = request_.seeds[0].module(torch.from_numpy(before)).numpy()
    np.testing.assert_allclose(after[~unchanged], through[~unchanged], rtol=1e-5, atol=1e-6)
    assert np.array_equal(network.traffic(real, seed=1)["head"], entering["head"])


def test_a_seed_that_changes_the_shape_is_refused_by_name(request_: ExportRequest) -> None:
    wide = SeedModule(slot=0, blueprint="widening", module=nn.Conv2d(CHANNELS, CHANNELS + 1, 1))
    with pytest.raises(IncompatibleError, match="'widening' in slot 0 turns"):
        capture(replace(request_, seeds=[wide]))


def test_a_piece_that_does_not_fit_the_one_before_is_refused_by_name(request_: ExportRequest) -> None:
    trunk = [request_.trunk[0], nn.Conv2d(CHANNELS + 1, CHANNELS, 1), *request_.trunk[2:]]
    with pytest.raises(IncompatibleError, match="part 'trunk1' fails on an input of shape"):
        capture(replace(request_, trunk=trunk))


def test_weights_that_are_no_numbers_are_refused(request_: ExportRequest) -> None:
    broken = nn.Conv2d(CHANNELS, CHANNELS, 1)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(IncompatibleError, match="'seed0' does not answer one finite tensor"):
        capture(replace(request_, seeds=[SeedModule(slot=0, blueprint="broken", module=broken)]))


def test_a_head_without_one_logit_a_class_is_refused(request_: ExportRequest) -> None:
    with pytest.raises(IncompatibleError, match="5 classes"):
        capture(replace(request_, classes=(*request_.classes, "nowhere")))
