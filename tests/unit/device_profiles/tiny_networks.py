"""The four MLPerf Tiny networks and what was measured with them, from the files in tests/data."""

from __future__ import annotations

import csv
import functools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_profiles.ops import Op, OpKind

DATA = Path(__file__).parents[2] / "data"
NETWORKS = ("ad", "kws", "vww", "ic")
_KINDS = {
    "CONV_2D": OpKind.CONV2D,
    "DEPTHWISE_CONV_2D": OpKind.DEPTHWISE_CONV2D,
    "FULLY_CONNECTED": OpKind.FULLY_CONNECTED,
}
_RESIDUAL_ELEMENTS = (32 * 32 * 16, 16 * 16 * 32, 8 * 8 * 64)
"""Elements of the three sums of ``ic``, a ResNet of three stages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One published result, single stream: milliseconds, and microjoules where somebody metered it."""

    latency_ms: float
    energy_uj: float | None


@functools.cache
def layers() -> dict[str, Any]:
    """By network: macs, params, n_ops and layers (code, input, filter and output shape, MACs)."""
    found: dict[str, Any] = json.loads((DATA / "mlperf_tiny_layers.json").read_text())
    return found


@functools.cache
def graph(network: str) -> tuple[Op, ...]:
    """All operators of a network, int8. Those without weights are not in the file; they follow from its shapes."""
    stored = layers()[network]["layers"]
    ops = [_weighted(*layer) for layer in stored]
    if network == "ad":  # an autoencoder: fully connected from end to end
        return tuple(ops)
    pooled, features, classes = math.prod(stored[-2][3]), stored[-1][1][1], stored[-1][3][1]
    if network == "ic":
        ops += [Op(OpKind.ELEMENTWISE, 0, 0, 2 * size, size) for size in _RESIDUAL_ELEMENTS]
        pooled = _RESIDUAL_ELEMENTS[-1]
    ops += [
        Op(OpKind.POOL, 0, 0, pooled, features),
        Op(OpKind.DATA_MOVEMENT, 0, 0, features, features),
        Op(OpKind.SOFTMAX, 0, 0, classes, classes),
    ]
    return tuple(ops)


@functools.cache
def rows(version: str, system: str) -> dict[str, Row]:
    """Results of the closed division by network, of a round (``v1.2``) and a system as its submitter calls it."""
    with (DATA / "mlperf_tiny_closed.csv").open(newline="") as file:
        found = {
            line["model"]: Row(
                latency_ms=float(line["latency_ms"]),
                energy_uj=float(line["energy_uJ"]) if line["energy_uJ"] else None,
            )
            for line in csv.DictReader(file)
            if (line["round"], f"{line['submitter']} {line['system']}") == (version, system)
        }
    assert found, f"no rows of {system} in {version}"
    return found


def _weighted(code: str, image: list[int], filters: list[int], out: list[int], macs: int) -> Op:
    """A layer as the exporters count it: M output positions, K products a sum, N channels, and the window of it."""
    kind = _KINDS[code]
    window = 1 if kind is OpKind.FULLY_CONNECTED else math.prod(filters[1:3])
    positions, channels = math.prod(out[:-1]), out[-1]
    depthwise = kind is OpKind.DEPTHWISE_CONV2D
    depth = window if depthwise else math.prod(filters[1:])
    return Op(
        kind,
        macs,
        weight_bytes=math.prod(filters),
        input_bytes=math.prod(image),
        output_bytes=math.prod(out),
        gemm=(positions, depth, 1) if depthwise else (positions, depth, channels),
        groups=channels if depthwise else 1,
        window=window,
    )
