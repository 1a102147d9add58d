"""The analytic cost model: what a chain of graphs takes on a profile.

On a CPU a graph invocation takes the dispatch floor, and each operator a fixed time, plus its MACs (convolutions and
fully connected layers) or the bytes it reads and writes (everything else) at the rate of its class and precision:

    t = sum over graphs (t_dispatch + sum over operators (t_operator + work * t_kind))

Traffic of convolutions is inside their time a MAC, which was fitted on whole networks. With an accelerator (int8 only)
the operators placed on it cost its floor once a graph, their MACs at its rate, and once a chain the streaming of
the weights that its cache cannot hold; the operators beside it cost host time, and a graph with none on it never
leaves the host. Energy is the board's active power times the time: constant power is what published boards show.

Intervals: latency by the profile's ``relative_error``; energy by that times the interval of the active power.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from device_profiles.ops import MAC_KINDS, Op, OpKind
from device_profiles.profile import Profile, Rates
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.plan import Precision

__all__ = ["Op", "OpKind", "estimate", "latency_us"]

_ITEM_BYTES: Mapping[Precision, int] = {Precision.INT8: 1, Precision.FLOAT32: 4}


def estimate(profile: Profile, graphs: Sequence[Sequence[Op]], *, precision: Precision) -> Cost:
    """Cost of one inference that invokes ``graphs`` one after the other; an inner sequence is one graph invocation.

    Peak memory is all weights plus the largest input and output of one operator. Raises SchemaError without a graph.
    """
    require(bool(graphs), "graphs", "an inference invokes at least one graph")
    latency_ms = latency_us(profile.rates[precision], graphs) * 1e-3
    error = profile.figures["model.relative_error"].value
    active = profile.figures["power.active_mw"]
    low, high = latency_ms * (1 - error), latency_ms * (1 + error)
    item_bytes = _ITEM_BYTES[precision]
    macs = weight_bytes = params = activations = 0
    for graph in graphs:
        for op in graph:
            macs += op.macs
            weight_bytes += op.weight_bytes
            params += op.weight_bytes // item_bytes if op.params is None else op.params
            activations = max(activations, op.input_bytes + op.output_bytes)
    return Cost(
        latency_ms=Estimate(value=latency_ms, low=low, high=high, source=Source.ANALYTIC),
        energy_uj=Estimate(  # mW * ms = uJ
            value=latency_ms * active.value, low=low * active.low, high=high * active.high, source=Source.ANALYTIC
        ),
        peak_memory_bytes=weight_bytes + activations,
        params=params,
        macs=macs,
    )


def latency_us(rates: Rates, graphs: Sequence[Sequence[Op]]) -> float:
    """Time of the chain; the inner loop of growth, so it makes no objects."""
    accelerator = rates.accelerator
    if accelerator is None:
        return sum(rates.dispatch_us + _cpu_us(rates, graph) for graph in graphs)
    total = 0.0
    weight_bytes = 0
    for graph in graphs:
        host = [op for op in graph if not op.on_accelerator]
        if len(host) == len(graph):
            total += rates.dispatch_us + _cpu_us(rates, graph)
            continue
        total += accelerator.floor_us + _cpu_us(rates, host)
        for op in graph:
            if op.on_accelerator:
                total += op.macs * accelerator.us_per_mac
                weight_bytes += op.weight_bytes
    return total + max(0.0, weight_bytes - accelerator.cache_bytes) * accelerator.us_per_byte


def _cpu_us(rates: Rates, ops: Sequence[Op]) -> float:
    work_us = rates.work_us
    total = len(ops) * rates.operator_us
    for op in ops:
        work = op.macs if op.kind in MAC_KINDS else op.input_bytes + op.output_bytes
        total += work * work_us[op.kind]
    return total
