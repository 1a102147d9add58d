"""Which operator of which module a converter failed on: real modules, the real converter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from exporters.backends import tflite
from exporters.backends.culprit import explained
from exporters.ops.rewrites import advice, plain_name
from exporters.pipeline import export
from exporters.request import ExportRequest, SeedModule
from tamiyo_runtime.contracts.errors import ExitCode, IncompatibleError
from tests.unit.exporters.conftest import KEY


class TopK(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (x >= torch.topk(x, 3, dim=1).values[:, -1:])


class Cond(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.cond(x.sum() > 0, lambda v: v + 1, lambda v: v * 2, (x,))
        return result


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.fft(x).abs()


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x * 2


class Outside(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("module", "operator", "instead"),
    [
        (TopK(), "aten.topk", "fixed threshold"),
        (Cond(), "cond", "a seed that the runtime switches"),
        (Spectrum(), "aten.fft_fft", "cosines and sines"),
        (Branch(), "a branch on a tensor's value", "compute both sides"),
        (Outside(), "numpy code", "torch operators"),
    ],
)
def test_operator_module_and_what_to_write_instead_are_named(module: nn.Module, operator: str, instead: str) -> None:
    net = nn.Sequential(nn.Linear(16, 16), nn.Sequential(nn.ReLU(), module)).eval()
    example = torch.rand(1, 16)
    with pytest.raises(IncompatibleError) as caught:
        tflite.convert(net, example, name="seed0")
    error = explained(caught.value, net, example, part="part 'seed0'")
    kind = type(module).__name__
    assert error.message == f"part 'seed0': the converter has no form of {operator}, used in module '1.1' ({kind})"
    assert instead in (error.hint or "")


@pytest.mark.toolchain
def test_an_export_names_the_seed_and_its_blueprint(request_: ExportRequest, tmp_path: Path) -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TopK()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.inner(x)

    seeds = [SeedModule(slot=0, blueprint="sparse", module=Sparse())]
    request = replace(request_, seeds=seeds, policy=None)
    for target in ("raspberry-pi-4", "edge-tpu"):  # by segment, and as a whole
        with pytest.raises(IncompatibleError) as caught:
            export(request, target, tmp_path / "x.tamiyo", key=KEY)
        assert caught.value.exit_code is ExitCode.INCOMPATIBLE
        assert caught.value.message.startswith("part 'seed0' (sparse): the converter has no form of aten.topk")
        assert "module 'inner' (TopK)" in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_an_error_that_nothing_is_found_for_stays_as_it_was() -> None:
    error = IncompatibleError("part 'head': broken", hint="a hint")
    assert explained(error, nn.Linear(4, 4), torch.rand(1, 4), part="part 'head'") is error


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("aten.topk.default", "topk"),
        ("torch.ops.aten.sort.default", "sort"),
        ("BATCH_MATMUL", "batch_matmul"),
        ("torch.ops.higher_order.cond", "cond"),
        ("cond", "cond"),
    ],
)
def test_names_of_operators_are_read_in_both_spellings(name: str, plain: str) -> None:
    assert plain_name(name) == plain
    assert advice(name) is not None


def test_there_is_no_advice_against_what_runs_everywhere() -> None:
    assert advice("CONV_2D") is None
