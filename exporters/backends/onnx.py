"""torch module -> ONNX, float32: one self-contained file without source paths.

The exporter's files carry stack traces with absolute paths; onnxslim removes them, so it is part of the conversion and
not an optimisation. Opset 20 keeps GELU one operator and is understood by every runtime in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.backends.toolchain import converting, tool
from tamiyo_runtime.contracts.plan import Graph, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

OPSET = 20
INPUT, OUTPUT = "x", "y"


def convert(module: nn.Module, example: torch.Tensor, *, name: str) -> bytes:
    """A module of one input as an ONNX file; raises IncompatibleError when the exporter does not take it."""
    return _export(module, (example,), [INPUT], name=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """``on`` where the gates of ``seeds`` seeds are open, else ``off``; None passes the tensor on."""

    on: nn.Module
    off: nn.Module | None
    seeds: int = 1


def convert_gated(stages: Sequence[nn.Module | Switch], example: torch.Tensor) -> bytes:
    """The stages one after the other as one file, with an ``If`` a switch.

    Inputs: ``x``, then a scalar boolean a seed, ``gate0``, ``gate1``, ...; the seeds of one switch go together, and it
    is on when all their gates are.
    """
    import torch

    count = sum(stage.seeds for stage in stages if isinstance(stage, Switch))
    # One tensor a gate: a shared one would be exported as one input that switches all the seeds.
    gates = tuple(torch.tensor(True) for _ in range(count))
    return _export(_gated(stages), (example, *gates), [INPUT, *gate_names(count)], name="gated network")


def gate_names(count: int) -> list[str]:
    """Names of the gate inputs, in the order of the seeded slots."""
    return [f"gate{index}" for index in range(count)]


def graph(file: str, *, shape: Sequence[int], outputs: int, gates: int = 0) -> Graph:
    """The contract's description of a file written here: ``shape`` without batch, ``outputs`` values a sample."""
    switches = tuple(TensorSpec(name=name, shape=(), dtype="bool") for name in gate_names(gates))
    return Graph(
        file=file,
        inputs=(TensorSpec(name=INPUT, shape=(1, *shape), dtype="float32"), *switches),
        outputs=(TensorSpec(name=OUTPUT, shape=(1, outputs), dtype="float32"),),
    )


def _gated(stages: Sequence[nn.Module | Switch]) -> nn.Module:
    import torch

    class Gated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.on = torch.nn.ModuleList(stage.on if isinstance(stage, Switch) else stage for stage in stages)
            self.off = torch.nn.ModuleList(
                stage.off for stage in stages if isinstance(stage, Switch) and stage.off is not None
            )

        def forward(self, value: torch.Tensor, *gates: torch.Tensor) -> torch.Tensor:
            waiting, without = list(gates), list(self.off)
            for stage, module in zip(stages, self.on, strict=True):
                if not isinstance(stage, Switch):
                    value = module(value)
                    continue
                gate = waiting.pop(0)
                for _ in range(stage.seeds - 1):
                    gate = torch.logical_and(gate, waiting.pop(0))
                value = torch.cond(gate, module, without.pop(0) if stage.off is not None else torch.clone, (value,))
            return value

    return Gated().eval()


def _export(module: nn.Module, examples: tuple[torch.Tensor, ...], names: Sequence[str], *, name: str) -> bytes:
    import torch

    onnxslim = tool("onnxslim")
    tool("onnxscript")
    with converting(name, "the ONNX exporter"), torch.no_grad():
        program = torch.onnx.export(
            module,
            examples,
            dynamo=True,
            opset_version=OPSET,
            external_data=False,
            verbose=False,
            input_names=list(names),
            output_names=[OUTPUT],
        )
        assert program is not None  # it is None only for the exporter before dynamo
        slim = onnxslim.slim(program.model_proto)
        return bytes(slim.SerializeToString(deterministic=True))
