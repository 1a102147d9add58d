"""Hypothesis strategies for the contracts, shared by every test that needs a legal one."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from tamiyo_runtime.contracts import plan as p
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.cost import Cost, Estimate, Source
from tamiyo_runtime.contracts.manifest import SCHEMA, FileEntry, InputSpec, Manifest, PolicySpec
from tamiyo_runtime.contracts.observation import HEADS, OBSERVATION
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.records import (
    Decision,
    Event,
    EventRecord,
    LossReason,
    Mode,
    Reason,
    Record,
    Sample,
    Tombstone,
    Window,
)
from tamiyo_runtime.contracts.reference import Reference, Span
from tamiyo_runtime.contracts.sketch import MAX_LEVEL, Sketch
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality

names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
finite = st.floats(-1e9, 1e9)
positive = st.floats(1e-6, 1e9, allow_nan=False)
counts = st.integers(0, 2**40)
small = st.integers(0, 1000)
# What a stranger's document may say: `check_tame` refuses the rest.
TAME = st.characters(
    exclude_categories=["Cc", "Cs"], exclude_characters="\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(TAME, max_size=10)
extras = st.dictionaries(
    st.text("abcdefghijklmnop_", min_size=1, max_size=8).map("x_".__add__),
    scalars | st.lists(scalars, max_size=2) | st.dictionaries(names, scalars, max_size=2),
    max_size=2,
)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    low, value, high = sorted(draw(st.lists(st.floats(0, 1e6), min_size=3, max_size=3)))
    return Estimate(value=value, low=low, high=high, source=draw(st.sampled_from(Source)))


costs = st.builds(
    Cost,
    latency_ms=estimates(),
    energy_uj=estimates(),
    peak_memory_bytes=counts,
    params=counts,
    macs=counts,
    extra=extras,
)


@st.composite
def budgets(draw: st.DrawFn) -> Budget:
    power: dict[str, Any] = draw(
        st.just({}) | st.fixed_dictionaries({"power_mw": positive, "energy_burst_uj": positive})
    )
    return Budget(
        latency_ms=draw(st.none() | positive),
        memory_bytes=draw(st.none() | st.integers(1, 2**40)),
        airtime_s_per_hour=draw(st.none() | st.floats(0, 3600)),
        link_bytes_per_day=draw(st.none() | counts),
        extra=draw(extras),
        **power,
    )


@st.composite
def profiles(draw: st.DrawFn) -> ProfileSnapshot:
    idle, active = sorted(draw(st.lists(positive, min_size=2, max_size=2)))
    return ProfileSnapshot(
        id=draw(names),
        revision=draw(small),
        sha256="ab" * 32,
        active_mw=active,
        idle_mw=idle,
        memory_bytes=draw(st.integers(1, 2**40)),
        relative_error=draw(st.floats(0, 0.99)),
        budget=draw(budgets()),
        features=draw(st.dictionaries(names, st.floats(-100, 100), max_size=3)),
        extra=draw(extras),
    )


@st.composite
def sketches(draw: st.DrawFn, count: int) -> Sketch:
    """Sketches that count so many numbers."""
    indices = sorted(draw(st.lists(st.integers(0, 1100), min_size=1, max_size=8, unique=True)))[:count]
    cuts = [0, *sorted(draw(st.sets(st.integers(1, max(1, count - 1)), max_size=len(indices) - 1 if indices else 0)))]
    cuts = [cut for cut in cuts if cut < count] + [count]
    counts = [after - before for before, after in pairwise(cuts)]
    return Sketch(level=draw(st.integers(0, MAX_LEVEL)), buckets=tuple(zip(indices, counts, strict=False)))


@st.composite
def stamps(draw: st.DrawFn) -> Stamp:
    quality = draw(st.sampled_from(TimeQuality))
    offsets = st.none() if quality is TimeQuality.NONE else st.none() | st.integers(-(2**50), 2**50)
    return Stamp(sent_ms=draw(st.none() | counts), offset_ms=draw(offsets), quality=quality)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    per_configuration = draw(
        st.dictionaries(st.from_regex(r"c[01]{4}", fullmatch=True), st.integers(0, 5000), max_size=5)
    )
    inferences = sum(per_configuration.values())
    labelled = draw(st.integers(0, inferences))
    return Window(
        t_ms=draw(counts),
        duration_ms=draw(counts),
        inferences=inferences,
        skipped=draw(small),
        deadline_misses=draw(small),
        latency_p50_us=draw(counts),
        latency_p95_us=draw(counts),
        latency_max_us=draw(counts),
        energy_uj=draw(counts),
        labelled=labelled,
        correct=draw(st.integers(0, labelled)),
        bucket_permille=draw(small),
        throttle_permille=draw(small),
        counts=per_configuration,
        latency_sketch=draw(st.none() | sketches(inferences)),
        extra=draw(extras),
    )


decisions = st.builds(
    Decision,
    t_ms=counts,
    proposed=st.just("") | st.from_regex(r"c[01]{1,8}", fullmatch=True),
    granted=st.just("") | st.from_regex(r"c[01]{1,8}", fullmatch=True),
    reason=st.sampled_from(Reason),
    mode=st.sampled_from(Mode),
    latency_left_permille=st.integers(-(10**6), 1000),
    bucket_permille=small,
    extra=extras,
)
events = st.builds(
    EventRecord,
    t_ms=counts,
    event=st.sampled_from(Event),
    value=st.integers(-(2**40), 2**40),
    detail=st.text(max_size=16),
    extra=extras,
)
samples = st.builds(
    Sample,
    t_ms=counts,
    configuration=st.from_regex(r"c[01]{4}", fullmatch=True),
    answer=small,
    confidence_permille=small,
    latency_us=counts,
    energy_uj=counts,
    extra=extras,
)


@st.composite
def tombstones(draw: st.DrawFn) -> Tombstone:
    first, last = sorted(draw(st.lists(counts, min_size=2, max_size=2)))
    return Tombstone(
        t_ms=draw(counts),
        boot=draw(st.integers(0, 2**63 - 1)),
        first_seq=first,
        last_seq=last,
        reason=draw(st.sampled_from(LossReason)),
        extra=draw(extras),
    )


records: st.SearchStrategy[Record] = st.one_of(windows(), decisions, events, samples, tombstones())


def _tensor(name: str, shape: tuple[int, ...]) -> p.TensorSpec:
    return p.TensorSpec(
        name=name, shape=shape, dtype="int8", quantisation=p.Quantisation(scale=1 / 16, zero_point=-128)
    )


@st.composite
def spans(draw: st.DrawFn) -> Span:
    low, high = sorted(draw(st.tuples(finite, finite)))
    return Span(low=low, high=high)


@st.composite
def references(draw: st.DrawFn, runnables: dict[str, list[str]]) -> Reference:
    """Of some of the variants and configurations given."""
    samples = draw(st.integers(16, 10**6))
    ranks = st.integers(1, samples - 1)
    limits = st.floats(0, 1)
    return Reference(
        source=draw(names),
        samples=samples,
        raw=draw(spans()),
        raw_rank=draw(ranks),
        mean=draw(spans()),
        deviation=draw(spans()),
        level_rank=draw(ranks),
        confidence={
            variant: draw(st.dictionaries(st.sampled_from(configurations), limits))
            for variant, configurations in runnables.items()
            if draw(st.booleans())
        },
        confidence_rank=draw(ranks),
        extra=draw(extras),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    """Segmented manifests with 1..3 slots, of which some hold a seed, and every gate pattern as a configuration."""
    slots = draw(st.integers(1, 3))
    price = draw(costs)
    seeded = [slot for slot in range(slots) if draw(st.booleans())]
    segments: list[p.Segment] = []
    for slot in range(slots):
        segments.append(p.Segment(name=f"trunk{slot}", kind=p.SegmentKind.TRUNK, params=draw(small), macs=draw(small)))
        if slot in seeded:
            segments.append(
                p.Segment(
                    name=f"seed{slot}", kind=p.SegmentKind.SEED, slot=slot, blueprint="adapter", extra=draw(extras)
                )
            )
    segments.append(p.Segment(name="head", kind=p.SegmentKind.HEAD))
    patterns = [
        tuple(slot in seeded and bool(bits >> seeded.index(slot) & 1) for slot in range(slots))
        for bits in range(2 ** len(seeded))
    ]
    configurations = tuple(p.Configuration(id=p.Configuration.name_of(gates), gates=gates) for gates in patterns)
    graphs = {
        segment.name: p.Graph(
            file=f"graphs/int8/{segment.name}.tflite",
            inputs=(_tensor("x", (1, 8, 8, 4)),),
            outputs=(_tensor("y", (1, 8, 8, 4)),),
        )
        for segment in segments
    }
    runnables = sorted(
        (
            p.Runnable(
                configuration=configuration.id,
                chain=tuple(s.name for s in segments if s.slot is None or configuration.gates[s.slot]),
                cost=replace(price, latency_ms=price.latency_ms.scaled(draw(small))),
                accuracy=draw(st.none() | st.floats(0, 1)),
            )
            for configuration in configurations
        ),
        key=lambda runnable: runnable.cost.latency_ms.value,
    )
    files = {graph.file: FileEntry(sha256="0f" * 32, size_bytes=draw(counts)) for graph in graphs.values()}
    files["policy/policy.tflite"] = FileEntry(sha256="1e" * 32, size_bytes=7)
    return Manifest(
        schema=SCHEMA,
        name=draw(names),
        target=draw(names),
        task="digits",
        classes=("0", "1"),
        input=InputSpec(shape=(1, 8, 8), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0),
        plan=p.SegmentPlan(
            slots=slots,
            segments=tuple(segments),
            seams=tuple(p.Seam(slot=slot, shape=(1, 8, 8, 4), low=-1.0, high=math.pi) for slot in range(slots)),
        ),
        configurations=configurations,
        variants=(
            p.Variant(
                id="tflite-int8",
                format=p.Format.TFLITE,
                precision=p.Precision.INT8,
                layout=p.Layout.SEGMENTS,
                graphs=graphs,
                runnables=tuple(runnables),
            ),
        ),
        policy=PolicySpec(
            graphs={p.Format.TFLITE: p.Graph(file="policy/policy.tflite", inputs=(), outputs=())},
            observation=OBSERVATION,
            heads=HEADS,
            slots=slots,
            blueprints=("no-op", "adapter"),
        ),
        profile=draw(profiles()),
        budget=draw(budgets()),
        files=files,
        provenance=draw(extras),
        reference=draw(st.none() | references({"tflite-int8": [configuration.id for configuration in configurations]})),
        extra=draw(extras),
    )
