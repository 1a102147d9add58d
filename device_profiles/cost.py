"""The analytic cost model: what a chain of graphs takes on a profile, operator by operator and in all.

On a CPU a graph invocation takes the dispatch floor, and each operator a fixed time, plus its MACs (convolutions and
fully connected layers) or the bytes it reads and writes (everything else) at the rate of its class and precision:

    t = sum over graphs (t_dispatch + sum over operators (t_operator + work * t_kind))

Traffic of convolutions is inside their time a MAC, which was fitted on whole networks. Where a profile was calibrated
on the device more is known of what an operator takes there: `device_profiles.kernels`. A GPU is priced so as well: its
fixed time is a kernel's launch, and input and output cross to it and back. Operators on an accelerator (int8 only) or a
systolic array are charged by `device_profiles.accelerator` and `device_profiles.systolic`, and its floor once a graph;
operators beside it cost host time, and a graph with none on it never leaves the host. Weights that its memory cannot
hold are streamed once a chain.

Energy is the board's active power times the time: constant power is what published boards show. A systolic array's is
counted from its MACs and bytes instead.

Memory is what lives at once: all weights, plus the largest set of live activations. Where a profile keeps weights in
flash the two are compared with two memories, so they are two figures of a `Cost`.

Intervals are factors: a ``relative_error`` of e says that the truth lies between v / (1 + e) and v * (1 + e) in 90 % of
cases. Errors of rates are ratios (half as fast is as likely as twice as fast), so an interval of differences would
reach below nothing for a device that is known within a factor of three. Energy widens it by the interval of the power,
or of the energies a MAC and a byte.

At another operating point (`device_profiles.points`) a cost's latency takes f_rated / f times as long, but for its
``unclocked_ms``: buses, an accelerator's floor and host, memory off the chip. What hides behind computing at the rated
clock is not counted there, so where computing slows down until it hides more, the sum is an upper bound.

`estimate` is the inner loop of growth; `explain` is the same sum with its terms kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from device_profiles.ops import MAC_KINDS, Op, OpKind
from device_profiles.profile import Profile, Rates
from device_profiles.systolic import Systolic
from tamiyo_runtime.contracts.cost import Cost, Estimate
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.plan import Precision

__all__ = ["Op", "OpCost", "OpKind", "estimate", "explain", "latency_us"]

_ITEM_BYTES = {Precision.INT8: 1, Precision.FLOAT32: 4}
Graphs = Sequence[Sequence[Op]]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpCost:
    """What one operator adds to the cost of a chain. ``op`` None is the invocation of graph number ``graph`` itself.

    ``live_bytes`` are the activations that exist while it runs, ``peak_memory_bytes`` those and all weights of the
    chain. Latencies in us and energies in uJ add up to those of `estimate`; the peak is the largest of the peaks.
    """

    graph: int
    op: Op | None
    latency_us: Estimate
    energy_uj: Estimate
    live_bytes: int
    peak_memory_bytes: int


def estimate(profile: Profile, graphs: Graphs, *, precision: Precision) -> Cost:
    """Cost of one inference that invokes ``graphs`` one after the other; an inner sequence is one graph invocation.

    Raises SchemaError without a graph.
    """
    require(bool(graphs), "graphs", "an inference invokes at least one graph")
    rates = profile.rates[precision]
    item_bytes = _ITEM_BYTES[precision]
    macs = weight_bytes = params = activations = 0
    for graph in graphs:
        for op in graph:
            macs += op.macs
            weight_bytes += op.weight_bytes
            params += op.weight_bytes // item_bytes if op.params is None else op.params
            live = op.input_bytes + op.output_bytes if op.live_bytes is None else op.live_bytes
            activations = max(activations, live)
    terms = _terms(rates, graphs)
    latency_ms = sum(term[1] for term in terms) * 1e-3
    spread = 1 + profile.figures["model.relative_error"].value
    source = profile.source
    if rates.systolic is None:
        active = profile.figures["power.active_mw"]
        energy = Estimate(  # mW * ms = uJ
            value=latency_ms * active.value,
            low=latency_ms / spread * active.low,
            high=latency_ms * spread * active.high,
            source=profile.energy_source,
        )
    else:
        value, low, high = _array_energies_uj(profile, rates.systolic, terms)
        energy = Estimate(value=value, low=low, high=high, source=profile.energy_source)
    return Cost(
        latency_ms=Estimate(value=latency_ms, low=latency_ms / spread, high=latency_ms * spread, source=source),
        energy_uj=energy,
        peak_memory_bytes=weight_bytes + activations,
        weight_bytes=weight_bytes,
        activation_bytes=activations,
        unclocked_ms=sum(term[4] for term in terms) * 1e-3,
        params=params,
        macs=macs,
    )


def explain(profile: Profile, graphs: Graphs, *, precision: Precision) -> tuple[OpCost, ...]:
    """What each operator adds to `estimate`, in running order, every graph's own invocation before its operators.

    Raises SchemaError without a graph.
    """
    require(bool(graphs), "graphs", "an inference invokes at least one graph")
    rates = profile.rates[precision]
    spread, source = 1 + profile.value("model.relative_error"), profile.source
    weight_bytes = sum(op.weight_bytes for graph in graphs for op in graph)
    found = []
    number = -1
    for term in _terms(rates, graphs):
        op, us = term[:2]
        number += op is None
        value, low, high = _energies_uj(profile, rates, term)
        live = 0
        if op is not None:
            live = op.input_bytes + op.output_bytes if op.live_bytes is None else op.live_bytes
        found.append(
            OpCost(
                graph=number,
                op=op,
                latency_us=Estimate(value=us, low=us / spread, high=us * spread, source=source),
                energy_uj=Estimate(value=value, low=low, high=high, source=profile.energy_source),
                live_bytes=live,
                peak_memory_bytes=weight_bytes + live,
            )
        )
    return tuple(found)


def latency_us(rates: Rates, graphs: Graphs) -> float:
    """Time of the chain, us."""
    return sum(term[1] for term in _terms(rates, graphs))


_Term = tuple[Op | None, float, float, float, float]
"""An operator, its time in us, on an array the bytes of both memories, and what of the time keeps to no clock, us.

None for the operator: the invocation of a graph."""


def _terms(rates: Rates, graphs: Graphs) -> list[_Term]:
    """All terms of the chain's time, each graph's invocation before its operators. Lists of tuples: this runs often."""
    engine = rates.systolic or rates.accelerator
    terms: list[_Term] = []
    if engine is None:
        for graph in graphs:
            crossing = graph[0].input_bytes + graph[-1].output_bytes if graph else 0
            io_us = crossing * rates.us_per_io_byte
            terms.append((None, rates.dispatch_us + io_us, 0.0, 0.0, io_us))
            terms.extend((op, _host_us(rates, op), 0.0, 0.0, 0.0) for op in graph)
        return terms
    cache = _room_for_weights(engine, graphs) if isinstance(engine, Systolic) else engine.cache_bytes
    for graph in graphs:
        placed = [op for op in graph if op.on_accelerator]
        if not placed:
            us = rates.dispatch_us
        elif isinstance(engine, Systolic):
            us = engine.floor_us
        else:
            us = engine.floor_us + (placed[0].input_bytes + placed[-1].output_bytes) * engine.us_per_io_byte
        terms.append((None, us, 0.0, 0.0, us))
        for op in graph:
            if not op.on_accelerator:
                us = _host_us(rates, op)
                terms.append((op, us, 0.0, 0.0, us))
                continue
            kept = min(cache, op.weight_bytes)
            cache -= kept
            streamed = op.weight_bytes - kept
            if isinstance(engine, Systolic):
                terms.append((op, *engine.run(op, streamed)))
            else:
                us = engine.op_us(op, streamed)
                unclocked_us = us - engine.op_us(op, 0.0) if streamed else 0.0
                terms.append((op, us, 0.0, 0.0, unclocked_us))
    return terms


def _host_us(rates: Rates, op: Op) -> float:
    if rates.kernels is not None:
        return rates.operator_us + rates.kernels.work_us(op, rates.work_us)
    work = op.macs if op.kind in MAC_KINDS else op.input_bytes + op.output_bytes
    return rates.operator_us + work * rates.work_us[op.kind]


def _room_for_weights(array: Systolic, graphs: Graphs) -> float:
    """What the on-chip buffer has left beside the largest activations; weights in it stay from run to run."""
    moved = max((op.input_bytes + op.output_bytes for graph in graphs for op in graph), default=0)
    return max(0.0, array.sram_bytes - moved)


def _array_energies_uj(profile: Profile, array: Systolic, terms: Sequence[_Term]) -> tuple[float, float, float]:
    """Energy of all terms, uJ: energies add up by what they are counted from, so each end is priced once."""
    macs, sram_bytes, dram_bytes, us, beside_us = 0, 0.0, 0.0, 0.0, 0.0
    for op, taken_us, sram, dram, _ in terms:
        if op is None or op.on_accelerator:
            macs += 0 if op is None else op.macs
            sram_bytes += sram
            dram_bytes += dram
            us += taken_us
        else:
            beside_us += taken_us
    spread, active = 1 + profile.figures["model.relative_error"].value, profile.figures["power.active_mw"]
    beside_ms = beside_us * 1e-3
    return (
        array.energy_uj(macs, sram_bytes, dram_bytes, us, array.energy) + beside_ms * active.value,
        array.energy_uj(macs, sram_bytes, dram_bytes, us / spread, array.low) + beside_ms / spread * active.low,
        array.energy_uj(macs, sram_bytes, dram_bytes, us * spread, array.high) + beside_ms * spread * active.high,
    )


def _energies_uj(profile: Profile, rates: Rates, term: _Term) -> tuple[float, float, float]:
    """Energy of one term, uJ: value, low and high."""
    op, us, sram_bytes, dram_bytes, _ = term
    array = rates.systolic
    spread = 1 + profile.figures["model.relative_error"].value
    if array is None or (op is not None and not op.on_accelerator):
        active = profile.figures["power.active_mw"]
        ms = us * 1e-3
        return ms * active.value, ms / spread * active.low, ms * spread * active.high
    macs = 0 if op is None else op.macs
    return (
        array.energy_uj(macs, sram_bytes, dram_bytes, us, array.energy),
        array.energy_uj(macs, sram_bytes, dram_bytes, us / spread, array.low),
        array.energy_uj(macs, sram_bytes, dram_bytes, us * spread, array.high),
    )
