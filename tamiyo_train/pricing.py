"""What a network costs on a device, what it may cost, and what an episode was worth.

    utility = accuracy - a log2(1 + params / budget) - b max(0, energy / budget - 1) - c max(0, latency / budget - 1)
              - d safety events - e max(0, training MACs / the host's - 1)

Accuracy is that of the committed network on the score split. Nothing is paid for deciding, waiting or growing as
such: an episode that only waits is worth exactly what the bare host is worth.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_profiles.cover import dear, joined
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_train.config import Prices
from tamiyo_train.footprint import Kind, Layer

if TYPE_CHECKING:
    from device_profiles.ops import Op
    from tamiyo_runtime.contracts.cost import Cost

SEGMENTS, WHOLE = "segments", "whole"
"""Layouts that a profile asks for; another lets the export choose."""
Graphs = Sequence[Sequence[Layer]]
"""A chain of pieces; every piece is one graph invocation on the device."""
_ATTENTION = frozenset({Kind.SOFTMAX, Kind.MATMUL})
_WITHOUT_ATTENTION = frozenset({"edge-tpu"})  # operator tables of accelerators that leave attention to the host


@dataclass(frozen=True, slots=True, kw_only=True)
class Priced:
    """Cost of one int8 inference. Latency and energy are None without a profile: then nobody knows them."""

    params: int
    macs: int
    memory_bytes: int
    latency_ms: float | None
    energy_uj: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthBudget:
    """What a network may come to cost while it grows. A limit of None is not enforced."""

    params: int
    macs: int
    latency_ms: float | None = None
    energy_uj: float | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("params", "macs", "latency_ms", "energy_uj", "memory_bytes"):
            value = getattr(self, name)
            require(value is None or value > 0, name, f"must be above 0, got {value}")

    def allows(self, cost: Priced) -> bool:
        """Whether a network of that cost is within every limit that is set and known."""
        return all(
            limit is None or used is None or used <= limit
            for used, limit in (
                (cost.params, self.params),
                (cost.macs, self.macs),
                (cost.latency_ms, self.latency_ms),
                (cost.energy_uj, self.energy_uj),
                (cost.memory_bytes, self.memory_bytes),
            )
        )


class Pricer:
    """Prices chains of layers by the closed form and, with a profile, by its cost model; each chain once."""

    def __init__(self, profile_id: str | None = None) -> None:
        self.profile_id = profile_id
        self._profile = None
        self.features: Mapping[str, float] = {}
        self.jitter: Mapping[str, float] = {}
        self._known: dict[tuple[tuple[Layer, ...], ...], Priced] = {}
        if profile_id is not None:
            from device_profiles.loader import load_profile

            self._profile = load_profile(profile_id)
            snapshot = self._profile.snapshot()
            self.features = snapshot.features
            self.jitter = snapshot.extra.get("simulation") or {}

    def price(self, graphs: Graphs) -> Priced:
        """Cost of one inference while growing: in one graph where the profile deploys no other, else piece by piece.

        Where a profile lets an export choose, the pieces are the dearer of the two.
        """
        whole = self._profile is not None and self._profile.export.layout == WHOLE
        chain = tuple(map(tuple, joined(graphs) if whole else graphs))
        if chain not in self._known:
            self._known[chain] = self._price(chain)
        return self._known[chain]

    def _price(self, graphs: Graphs) -> Priced:
        if self._profile is not None:
            cost = self.cost(graphs)
            return Priced(
                params=cost.params,
                macs=cost.macs,
                memory_bytes=cost.peak_memory_bytes,
                latency_ms=cost.latency_ms.value,
                energy_uj=cost.energy_uj.value,
            )
        layers = [layer for graph in graphs for layer in graph]
        params = sum(layer.params for layer in layers)
        live = max((layer.input_elements + layer.output_elements for layer in layers), default=0)
        return Priced(
            params=params,
            macs=sum(layer.macs for layer in layers),
            memory_bytes=params + live,
            latency_ms=None,
            energy_uj=None,
        )

    def deployed(self, graphs: Graphs) -> Cost:
        """What one inference of the committed network costs as an export lays it out, with intervals.

        There has to be a profile. Where it lets the export choose, that is one graph when boundaries are dear.
        """
        assert self._profile is not None, "nobody knows what it costs without a profile"
        chain, layout = self.cost(graphs), self._profile.export.layout
        if layout == SEGMENTS:
            return chain
        whole = self.cost(joined(graphs))
        if layout == WHOLE or dear(chain.latency_ms.value - whole.latency_ms.value, whole.latency_ms.value):
            return whole
        return chain

    def cost(self, graphs: Graphs) -> Cost:
        """Cost of one inference that invokes these graphs, with intervals; there has to be a profile."""
        from device_profiles.cost import estimate

        assert self._profile is not None, "nobody knows what it costs without a profile"
        return estimate(self._profile, [self._ops(graph) for graph in graphs], precision=Precision.INT8)

    def _ops(self, graph: Sequence[Layer]) -> list[Op]:
        left = self._profile is not None and self._profile.export.operator_table in _WITHOUT_ATTENTION
        return ops(graph, on_host=_ATTENTION if left else frozenset())

    def default_budget(self, host: Graphs) -> GrowthBudget:
        """24 times the bare host's parameters, 32 times its MACs, and the profile's own latency and memory budget."""
        cost = self.price(host)
        limits = self._profile.budget() if self._profile is not None else None
        return GrowthBudget(
            params=24 * cost.params,
            macs=32 * cost.macs,
            latency_ms=limits.latency_ms if limits else None,
            memory_bytes=limits.memory_bytes if limits else None,
            energy_uj=None if cost.energy_uj is None else 4 * cost.energy_uj,
        )


def ops(layers: Sequence[Layer], *, on_host: Collection[Kind] = ()) -> list[Op]:
    """Layers as the cost model's int8 operators; a ReLU is fused into the operator before it and vanishes.

    What an export adds (a RESHAPE where a sequence becomes an image) or changes (a convolution of one input channel
    becomes a depthwise one) is not seen here: hosts come out up to 17 % lower than traced. Kinds ``on_host`` run beside
    the accelerator.
    """
    from device_profiles.ops import Op, OpKind

    kinds = {
        Kind.CONV: OpKind.CONV2D,
        Kind.DEPTHWISE: OpKind.DEPTHWISE_CONV2D,
        Kind.FULLY_CONNECTED: OpKind.FULLY_CONNECTED,
        Kind.MEAN: OpKind.POOL,
        Kind.ADD: OpKind.ELEMENTWISE,
        Kind.MULTIPLY: OpKind.ELEMENTWISE,
        Kind.LOGISTIC: OpKind.SOFTMAX,
        Kind.RESHAPE: OpKind.DATA_MOVEMENT,
        Kind.CONCAT: OpKind.DATA_MOVEMENT,
        Kind.PAD: OpKind.DATA_MOVEMENT,
        Kind.SOFTMAX: OpKind.SOFTMAX,
        Kind.MATMUL: OpKind.FULLY_CONNECTED,
    }
    codes = {
        Kind.MEAN: "MEAN",
        Kind.ADD: "ADD",
        Kind.MULTIPLY: "MUL",
        Kind.LOGISTIC: "LOGISTIC",
        Kind.CONCAT: "CONCATENATION",
        Kind.PAD: "PAD",
        Kind.SOFTMAX: "SOFTMAX",
    }
    return [
        Op(
            kind=kinds[layer.kind],
            macs=layer.macs,
            weight_bytes=layer.params,
            input_bytes=layer.input_elements,
            output_bytes=layer.output_elements,
            params=layer.params,
            on_accelerator=layer.kind not in on_host,
            code=codes.get(layer.kind, ""),
            gemm=layer.gemm,
            groups=layer.groups,
            window=layer.window,
        )
        for layer in layers
        if layer.kind is not Kind.ACTIVATION
    ]


def params_price(params: int, budget: GrowthBudget, prices: Prices) -> float:
    """What that many parameters cost, in accuracy: a log2(1 + params / budget)."""
    return prices.params * math.log2(1 + params / budget.params)


def utility(
    accuracy: float,
    cost: Priced,
    *,
    budget: GrowthBudget,
    prices: Prices,
    safety_events: int = 0,
    training_ratio: float = 1.0,
) -> float:
    """Worth of a committed network; ``training_ratio`` is training MACs over those of the bare host's training."""

    def excess(used: float | None, limit: float | None) -> float:
        return 0.0 if used is None or limit is None else max(0.0, used / limit - 1)

    return (
        accuracy
        - params_price(cost.params, budget, prices)
        - prices.energy * excess(cost.energy_uj, budget.energy_uj)
        - prices.latency * excess(cost.latency_ms, budget.latency_ms)
        - prices.safety_event * safety_events
        - prices.training_macs * max(0.0, training_ratio - 1)
    )
