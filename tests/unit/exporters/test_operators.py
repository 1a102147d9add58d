from __future__ import annotations

import pytest
import torch
from torch import nn

from device_profiles.cost import OpKind
from exporters.backends import tflite
from exporters.backends.flatbuffer import read_model
from exporters.ops.counting import count, kind_of
from exporters.ops.traced import trace
from exporters.request import ExportRequest
from tamiyo_runtime.contracts.plan import Precision


class Net(nn.Module):
    """2 x 5 x 5 -> conv 6 channels -> depthwise -> mean -> dense 3."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.dense = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        x = torch.relu(self.depthwise(x))
        return self.dense(x.mean((2, 3)))


CONV, DEPTHWISE, DENSE = 25 * 6 * 2 * 9, 25 * 6 * 9, 6 * 3


@pytest.mark.toolchain
def test_operators_of_a_file_are_counted_as_on_paper() -> None:
    data = tflite.convert(Net().eval(), torch.rand(1, 2, 5, 5), name="net")
    ops = count(read_model(data).operators)
    macs = {op.kind: op.macs for op in ops if op.macs}
    assert macs == {OpKind.CONV2D: CONV, OpKind.DEPTHWISE_CONV2D: DEPTHWISE, OpKind.FULLY_CONNECTED: DENSE}
    conv = next(op for op in ops if op.kind is OpKind.CONV2D)
    assert conv.weight_bytes == 4 * (2 * 6 * 9 + 6)
    assert (conv.input_bytes, conv.output_bytes) == (4 * 50, 4 * 150)
    assert conv.params == 2 * 6 * 9 + 6


def test_the_trace_of_a_module_counts_the_same_without_converting() -> None:
    ops = trace(Net().eval(), torch.rand(1, 2, 5, 5), precision=Precision.INT8)
    macs = {op.kind: op.macs for op in ops if op.macs}
    assert macs == {OpKind.CONV2D: CONV, OpKind.DEPTHWISE_CONV2D: DEPTHWISE, OpKind.FULLY_CONNECTED: DENSE}
    assert sum(op.kind is OpKind.POOL for op in ops) == 1
    conv = next(op for op in ops if op.kind is OpKind.CONV2D)
    assert (conv.input_bytes, conv.output_bytes) == (50, 150)


def test_tracing_leaves_the_module_as_it_was(request_: ExportRequest) -> None:
    module = request_.trunk[0]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trace(module, torch.rand(1, 1, 6, 6), precision=Precision.FLOAT32)
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.toolchain
def test_a_spatial_mean_leaves_no_transpose_in_the_graph(request_: ExportRequest) -> None:
    squeeze_excite = request_.seeds[1].module
    model = read_model(tflite.convert(squeeze_excite, torch.rand(1, 8, 6, 6), name="se"))
    codes = [item.code for item in model.operators]
    assert codes == ["AVERAGE_POOL_2D", "CONV_2D", "CONV_2D", "LOGISTIC", "MUL", "MUL"]


def test_an_unknown_operator_counts_as_the_dearest_kind() -> None:
    assert kind_of("GELU") is OpKind.SOFTMAX
    assert kind_of("RESHAPE") is OpKind.DATA_MOVEMENT
