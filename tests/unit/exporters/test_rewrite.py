from __future__ import annotations

import importlib

import pytest
import torch
from torch import nn

from device_profiles.cost import OpKind, estimate
from device_profiles.loader import load_profile
from exporters.backends import tflite
from exporters.backends.flatbuffer import read_model
from exporters.backends.rewrite import rewritten
from exporters.ops.counting import count
from exporters.ops.liveness import Access, live_bytes
from exporters.ops.traced import trace
from tamiyo_runtime.contracts.plan import Precision


class Sequences(nn.Module):
    """Every function that is rewritten, and two that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 8, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(8)
        self.depthwise = nn.Conv1d(8, 8, 3, padding="same", groups=8, dilation=2)
        self.gate, self.scale = nn.Conv1d(8, 16, 1), nn.Parameter(torch.rand(8, 1))
        self.dense = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        x = x + self.depthwise(nn.functional.pad(x, (0, 0))) * self.scale
        a, b = self.gate(x).chunk(2, dim=1)
        x = torch.cat([a * torch.sigmoid(b), x - 1.5], dim=1)[:, :8]
        pooled = nn.functional.adaptive_avg_pool1d(x, 1) + x.mean(2, keepdim=True)
        tokens = self.dense(x.transpose(1, 2)).transpose(1, 2)
        return tokens + pooled.flatten(1).unsqueeze(-1) + x.mean(-1)[..., None]


def sequences() -> nn.Module:
    torch.manual_seed(3)
    module = Sequences().eval()
    nn.init.uniform_(module.norm.running_mean)
    nn.init.uniform_(module.norm.running_var, 0.5, 2.0)
    return module


@torch.no_grad()
def test_a_rewritten_module_computes_the_same() -> None:
    module, x = sequences(), torch.randn(1, 3, 24)
    torch.testing.assert_close(rewritten(module, last=False)(x), module(x))
    turned = rewritten(module, last=True)(x.transpose(1, 2))
    torch.testing.assert_close(turned.transpose(1, 2), module(x))


@pytest.mark.toolchain
def test_a_sequence_network_converts_without_transposes_or_norms_of_its_own() -> None:
    net = nn.Sequential(
        *(nn.Conv1d(2, 8, 3, padding=1, bias=False), nn.BatchNorm1d(8), nn.ReLU()),
        *(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.ReLU()),
    ).eval()
    codes = [item.code for item in read_model(tflite.convert(net, torch.randn(1, 2, 30), name="net")).operators]
    assert codes == ["RESHAPE", "CONV_2D", "CONV_2D", "RESHAPE"]


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("host", "shape", "depth"),
    [
        ("conv1d", (1, 40), None),
        ("dsconv", (1, 16, 16), None),
        ("mlp", (2,), None),
        ("mlp", (2,), 12),
        ("attention1d", (1, 40), None),
    ],
)
def test_the_estimate_before_conversion_agrees_with_that_of_the_graph(
    host: str, shape: tuple[int, ...], depth: int | None
) -> None:
    made = importlib.import_module("tamiyo_train.hosts").made
    torch.manual_seed(0)
    trunk = made(host, shape=shape, classes=10, width=8, depth=depth).trunk
    for layer in trunk.modules():
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.normal_(layer.bias)  # a bias of nought is dropped by the converter, and no training leaves one
    net, x = nn.Sequential(*trunk).eval(), torch.randn(1, *shape)
    before = trace(net, x, precision=Precision.FLOAT32)
    after = count(read_model(tflite.convert(net, x, name=host)).operators)
    for name in ("raspberry-pi-4", "x86-64"):
        guess, price = (estimate(load_profile(name), [ops], precision=Precision.FLOAT32) for ops in (before, after))
        assert guess.latency_ms.value == pytest.approx(price.latency_ms.value, rel=0.15)
        assert guess.activation_bytes == pytest.approx(price.activation_bytes, rel=0.25)
        assert guess.params == pytest.approx(price.params, rel=0.02)
        assert guess.macs == price.macs


def test_a_norm_folds_into_the_convolution_before_it_and_stands_by_itself_elsewhere() -> None:
    x = torch.randn(1, 4, 6, 6)
    folded = trace(nn.Sequential(nn.Conv2d(4, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()).eval(), x, **INT8)
    assert [(op.code, op.params) for op in folded] == [("CONV_2D", 4 * 8 + 8)]
    alone = trace(nn.BatchNorm2d(4).eval(), x, **INT8)
    assert [(op.code, op.kind, op.params) for op in alone] == [
        ("MUL", OpKind.ELEMENTWISE, 4),
        ("ADD", OpKind.ELEMENTWISE, 4),
    ]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(4, 16, 1), nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(torch.relu(self.wide(x)))


@pytest.mark.toolchain
def test_a_residual_connection_is_live_along_its_branch() -> None:
    x = torch.randn(1, 4, 5, 5)
    expected = [100 + 400, 100 + 400 + 100, 100 + 100 + 100]  # x beside the branch; 4 and 16 channels of 25
    assert [op.live_bytes for op in trace(Residual().eval(), x, **INT8)] == expected
    graph = count(read_model(tflite.convert(Residual().eval(), x, name="residual")).operators)
    assert [op.live_bytes for op in graph] == [4 * size for size in expected]
    assert [op.gemm for op in graph[:2]] == [(25, 4, 16), (25, 16, 4)]


def test_what_nobody_reads_lives_to_the_end_and_what_nobody_writes_from_the_start() -> None:
    steps = [Access(reads=["in"], writes=["a"]), Access(reads=["a"], writes=["b"]), Access(reads=["in"], writes=["c"])]
    assert live_bytes(steps, {"in": 1, "a": 10, "b": 100, "c": 1000}) == [11, 111, 1101]


def test_padding_counts_where_the_graph_needs_an_operator_for_it() -> None:
    def codes(size: int, stride: int) -> list[str]:
        conv = nn.Conv2d(4, 4, 3, stride=stride, padding=1).eval()
        return [op.code for op in trace(conv, torch.zeros(1, 4, size, size), **INT8)]

    assert codes(8, 1) == ["CONV_2D"]
    assert codes(9, 2) == ["CONV_2D"]
    assert codes(8, 2) == ["PAD", "CONV_2D"]


INT8 = {"precision": Precision.INT8}
