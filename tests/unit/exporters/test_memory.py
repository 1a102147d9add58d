from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from device_profiles.cost import Op, OpKind, estimate
from device_profiles.loader import load_profile
from exporters.network import capture
from exporters.steps.budget import check_host, memory_excess
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.exporters.tiny import CLASSES, modules, tiny_request


def test_weights_that_exceed_the_flash_and_activations_that_exceed_the_sram_are_refused() -> None:
    board = load_profile("cortex-m7")
    small = Op(OpKind.FULLY_CONNECTED, 1000, 1000, 100, 10)
    cost = estimate(board, [[small]], precision=Precision.INT8)
    assert memory_excess(cost, board) is None
    heavy = estimate(board, [[replace(small, weight_bytes=3_000_000)]], precision=Precision.INT8)
    wide = estimate(board, [[replace(small, live_bytes=2_000_000)]], precision=Precision.INT8)
    assert "weights is over the" in (memory_excess(heavy, board) or "")
    with pytest.raises(BudgetError, match=r"even the bare host .* activations is over .*memory\.sram_bytes"):
        check_host(wide, Budget(), board, [])
    assert memory_excess(heavy, load_profile("raspberry-pi-4")) is None


def test_parameters_are_counted_as_deployed_with_norms_folded() -> None:
    trunk, seeds = modules()
    request = replace(tiny_request(steps=0, policy=False), trunk=trunk, seeds=seeds)
    params = {piece.name: piece.params for piece in capture(request).pieces}
    stem, channels = trunk[0], 8
    raw = sum(value.numel() for value in stem.parameters())
    assert raw == channels * 9 + 2 * channels  # the norm's scale and offset
    assert params["trunk0"] == channels * 9 + channels  # the convolution's bias instead
    assert params["seed0"] == sum(value.numel() for value in seeds[0].module.parameters())
    assert params["head"] == 9 * channels * len(CLASSES) + len(CLASSES)
    assert isinstance(stem[1], nn.BatchNorm2d)
