from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from exporters.backends import quantiser, tflite
from exporters.backends.flatbuffer import Model, Operator, Tensor, read_model
from exporters.ops.edge_tpu import EDGE_TPU
from exporters.ops.table import place


def tensor(*shape: int, dtype: str = "int8", constant: bool = False, scales: int = 1) -> Tensor:
    return Tensor(
        name="t", shape=shape, dtype=dtype, constant=constant, scales=(0.1,) * scales, zero_points=(0,) * scales
    )


def operator(code: str, *, out: Tensor | None = None, inputs: tuple[Tensor, ...] = (), **rest: Any) -> Operator:
    values, version = rest.pop("values", {}), rest.pop("version", 1)
    out = out or tensor(1, 4, 4, 8)
    return Operator(
        index=0, code=code, version=version, inputs=inputs or (out,), outputs=(out,), options=rest, values=values
    )


def reason(item: Operator) -> str | None:
    model = Model(inputs=item.inputs[:1], outputs=item.outputs, operators=(item,), subgraphs=1)
    return place(EDGE_TPU, "graph", model)[0].reason


dense = (tensor(1, 8), tensor(4, 8, constant=True))


@pytest.mark.parametrize(
    ("item", "word"),
    [
        (operator("GELU"), "has no GELU"),
        (operator("BATCH_MATMUL"), "has no BATCH_MATMUL"),
        (operator("CONV_2D", dilationWFactor=1, dilationHFactor=2), "dilated 2 x 1"),
        (operator("ADD", out=tensor(1, 4, 4, 8, dtype="float32")), "float32"),
        (operator("ADD", out=tensor(2, 3, 4, 5)), "three innermost"),
        (operator("FULLY_CONNECTED", inputs=dense, out=tensor(3, 4)), "one vector"),
        (operator("FULLY_CONNECTED", inputs=(tensor(1, 8), tensor(4, 8, constant=True, scales=4))), "per channel"),
        (operator("FULLY_CONNECTED", inputs=dense, out=tensor(1, 4), weightsFormat=1), "shuffled"),
        (operator("SOFTMAX", inputs=(tensor(4, 4),)), "one vector"),
        (operator("MEAN", inputs=(tensor(2, 4, 4),), values={1: (0,)}), "batch"),
        (operator("MEAN", inputs=(tensor(1, 4, 4, 6),), values={1: (-1,)}), "multiple of 4"),
        (operator("AVERAGE_POOL_2D", fusedActivationFunction=1), "fused"),
        (operator("PAD", values={1: (1, 0, 0, 0, 0, 0, 0, 0)}), "pads the batch"),
        (operator("PAD"), "not constant"),
        (operator("CONV_2D", version=6), "version 6"),
    ],
)
def test_what_the_edge_tpu_does_not_take_stays_behind_with_a_reason(item: Operator, word: str) -> None:
    assert word in (reason(item) or "")


@pytest.mark.parametrize(
    "item",
    [
        operator("CONV_2D", dilationWFactor=2, dilationHFactor=2),
        operator("FULLY_CONNECTED", inputs=dense, out=tensor(1, 4)),
        operator("MEAN", inputs=(tensor(1, 4, 4, 6),), values={1: (1, 2)}),
        operator("PAD", values={1: (0, 0, 1, 1, 1, 1, 0, 0)}),
        operator("LOGISTIC"),
        operator("CONV_2D", inputs=(tensor(1, 4, 4, 8), tensor(8, 3, 3, 8, constant=True, scales=8))),
    ],
)
def test_what_the_edge_tpu_takes_is_placed_there(item: Operator) -> None:
    assert reason(item) is None


@pytest.mark.toolchain
def test_everything_behind_the_first_unsupported_operator_stays_on_the_cpu() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU(), nn.Conv2d(4, 4, 1)).eval()
    example = torch.rand(1, 4, 4, 4)
    data = tflite.convert(net, example, name="gelu")
    ranges = quantiser.measure(data, torch.rand(8, 4, 4, 4).numpy(), name="gelu")
    model = read_model(quantiser.quantise(data, ranges, per_tensor_dense=True, name="gelu"))
    placed = place(EDGE_TPU, "gelu", model)
    assert [item.operator for item in placed] == ["CONV_2D", "GELU", "CONV_2D"]
    assert [item.on_accelerator for item in placed] == [True, False, False]
    assert placed[1].reason == "the Edge TPU has no GELU"
    assert "after GELU" in (placed[2].reason or "")
