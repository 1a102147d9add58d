"""What `check_export` says of modules that export well, badly, and not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from exporters import conformance
from exporters.conformance import FormatVerdict, check_export, not_on
from exporters.targets import targets
from tamiyo_runtime.contracts.errors import MissingExtraError
from tamiyo_runtime.contracts.plan import Format, Precision

FLOATS = ((Format.ONNX, Precision.FLOAT32), (Format.TFLITE, Precision.FLOAT32))
INT8 = (Format.TFLITE, Precision.INT8)


class Residual(nn.Module):
    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = x + self.inner(x)
        return result


class Sorted(nn.Module):
    """Has no form in TFLite that an interpreter can load."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.topk(x.shape[1], dim=1).values


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def convolutional():
    torch.manual_seed(0)
    module = Residual(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 1))
    return check_export(module, samples(4, 6, 5), name="conv")


@pytest.mark.toolchain
def test_a_convolution_holds_in_every_format_and_on_every_target(convolutional):
    for form in FLOATS:
        assert convolutional.of(*form).difference <= 1e-5
    assert convolutional.of(*INT8).sqnr_db >= 25
    assert all(item.supported and item.holds for item in convolutional.formats)
    assert convolutional.operators == ("CONV_2D", "CONV_2D", "ADD")
    for item in convolutional.targets:
        wanted = tuple(recipe.id for recipe in targets.get(item.target).variants if recipe.id != "onnx-int8")
        assert item.formats == wanted  # a part alone is not quantised to ONNX: that is done to whole configurations
        assert item.beside == ()


@pytest.mark.toolchain
def test_what_a_format_cannot_hold_is_data_with_the_reason():
    verdict = check_export(Sorted(), samples(6), name="sorted")
    assert verdict.of(Format.ONNX, Precision.FLOAT32).holds
    for form in (FLOATS[1], INT8):
        found = verdict.of(*form)
        assert (found.supported, found.holds, found.difference) == (False, False, None)
        assert found.reason
    edge = next(item for item in verdict.targets if item.target == "edge-tpu")
    assert edge.formats == ()


def test_operators_without_a_rule_are_named_only_where_there_is_an_accelerator():
    operators = ["CONV_2D", "BATCH_MATMUL", "TOPK_V2", "BATCH_MATMUL"]
    assert not_on(targets.get("edge-tpu"), operators) == ("BATCH_MATMUL", "TOPK_V2")
    assert not_on(targets.get("x86-64"), operators) == ()


@pytest.mark.parametrize(
    ("precision", "difference", "sqnr_db", "holds"),
    [
        (Precision.FLOAT32, 1e-5, 90.0, True),
        (Precision.FLOAT32, 1e-3, 90.0, False),
        (Precision.FLOAT32, float("nan"), None, False),
        (Precision.INT8, 0.2, 25.0, True),
        (Precision.INT8, 0.2, 15.0, False),
        (Precision.INT8, 0.0, None, True),
        (Precision.INT8, None, None, False),
        (Precision.INT8, float("nan"), None, False),
    ],
)
def test_limits_of_what_holds(precision, difference, sqnr_db, holds):
    verdict = FormatVerdict(format=Format.TFLITE, precision=precision, difference=difference, sqnr_db=sqnr_db)
    assert verdict.holds is holds


def test_a_toolchain_that_is_not_there_is_an_error_and_no_verdict(monkeypatch):
    def missing(*_, **__):
        raise MissingExtraError("onnxslim", "export")

    monkeypatch.setattr(conformance.onnx, "convert", missing)
    with pytest.raises(MissingExtraError, match="onnxslim"):
        check_export(nn.Identity(), samples(3), name="any")
