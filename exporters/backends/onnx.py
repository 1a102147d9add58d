"""torch module -> ONNX, float32: one self-contained file without source paths.

The exporter's files carry stack traces with absolute paths; onnxslim removes them, so it is part of the conversion and
not an optimisation. Opset 20 keeps GELU one operator and is understood by every runtime in use.
"""

from __future__ import annotations

from collections.abc import Sequence
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


def convert_gated(trunk: Sequence[nn.Module], seeds: Sequence[nn.Module], example: torch.Tensor) -> bytes:
    """trunk[0] -> seed 0 if its gate is on -> trunk[1] -> ... as one file with an ``If`` a seed.

    Inputs: ``x``, then a scalar boolean a seed, ``gate0``, ``gate1``, ...
    """
    import torch

    # One tensor a gate: a shared one would be exported as one input that switches all the seeds.
    gates = tuple(torch.tensor(True) for _ in seeds)
    return _export(_gated(trunk, seeds), (example, *gates), [INPUT, *gate_names(len(seeds))], name="gated network")


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


def _gated(trunk: Sequence[nn.Module], seeds: Sequence[nn.Module]) -> nn.Module:
    import torch

    class Gated(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = torch.nn.ModuleList(trunk)
            self.seeds = torch.nn.ModuleList(seeds)

        def forward(self, value: torch.Tensor, *gates: torch.Tensor) -> torch.Tensor:
            for piece, seed, gate in zip(self.trunk, self.seeds, gates, strict=False):
                value = torch.cond(gate, seed, torch.clone, (piece(value),))
            result: torch.Tensor = self.trunk[-1](value)
            return result

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
