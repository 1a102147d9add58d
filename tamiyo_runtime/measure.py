"""Time graphs on this machine the way the runtime runs them, so that the machine's moods cancel out.

A machine that is shared, or hot, changes its speed by half for seconds to minutes. So no graph is timed to the end
before the next one starts: all of them are visited in rounds, each round in another order, a few invocations at a
time, and one reference graph in between. A figure is the median over rounds; every graph has seen the same moods.

The first invocations of a visit are not counted: they fetch weights that the graphs before have pushed out of the
caches, as on a device that runs one network only they never are.
"""

from __future__ import annotations

import functools
import gc
import platform
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError
from tamiyo_runtime.contracts.plan import Format, Precision, TensorSpec
from tamiyo_runtime.contracts.runs import RUNS_SCHEMA, Machine, Reference, Run, Runs, Work
from tamiyo_runtime.executor import Executor, choose_variant
from tamiyo_runtime.interpreters.base import Array, choose, interpreters, open_graph
from tamiyo_runtime.probekit import OpenKit

THREADS = 1
_UNCOUNTED = 3
_LEAST, _MOST = 5, 400  # counted invocations of a visit
_VISIT_NS = 2_000_000
_REFERENCE_EVERY = 20  # visits
_LEAST_ROUNDS = 3

Tick = Callable[[int, float], None]
"""Told after every visit: rounds finished, and the share of the time that has gone."""


@dataclass(slots=True)
class Subject:
    """Something to be timed: ``call`` runs it once."""

    id: str
    family: str
    precision: Precision
    call: Callable[[], object]
    graphs: int = 1
    estimate_us: float | None = None
    ops: tuple[Work, ...] = ()
    visits: list[Array] = field(default_factory=list)  # times of every visit, ns
    relative: list[float] = field(default_factory=list)  # its median over the reference's


def subjects_of_kit(kit: OpenKit, *, interpreter: str, precision: Precision | None = None) -> list[Subject]:
    """All probes of a kit, or those of one precision, loaded; the reference is always among them."""
    rng = np.random.default_rng(kit.kit.seed)
    found = []
    for probe in kit.kit.probes:
        if precision not in (None, probe.precision) and probe.id != kit.kit.reference:
            continue
        runner = open_graph(kit.files[probe.graph.file], probe.graph, interpreter=interpreter).bind()
        value = _values(probe.graph.inputs[0], rng)
        found.append(
            Subject(
                id=probe.id,
                family=probe.family,
                precision=probe.precision,
                call=functools.partial(runner, value),
                ops=probe.ops,
            )
        )
    return found


def subjects_of_bundle(bundle: Bundle, variant: str | None = None) -> tuple[list[Subject], str]:
    """Every configuration of a variant of a bundle, as its loop runs it, and the name of the interpreter."""
    executor = Executor(bundle, choose_variant(bundle.manifest.variants, variant).id)
    spec = bundle.manifest.input
    rng = np.random.default_rng(0)
    sample = rng.uniform(spec.raw_low, spec.raw_high, spec.shape).astype(np.float32)
    subjects = [
        Subject(
            id=f"{executor.variant.id}/{runnable.configuration}",
            family="configuration",
            precision=executor.variant.precision,
            call=functools.partial(executor.classify, sample, index),
            graphs=len(runnable.chain),
            estimate_us=runnable.cost.latency_ms.value * 1e3,
        )
        for index, runnable in enumerate(executor.runnables)
    ]
    return subjects, executor.interpreter


def time_all(
    subjects: Sequence[Subject], reference: str, *, seconds: float, seed: int = 0, tick: Tick | None = None
) -> None:
    """Visit all subjects in shuffled rounds for about ``seconds``, and at least three times; fills them in."""
    if seconds <= 0:
        raise InputError(f"{seconds:g} seconds is no time to measure in", hint="pass --seconds 60 or more")
    by_id = {subject.id: subject for subject in subjects}
    if reference not in by_id:
        raise UnknownNameError("reference", reference, by_id)
    beside, order = by_id[reference], list(subjects)
    counts = {subject.id: _count(subject) for subject in subjects}
    shuffled = random.Random(seed)  # noqa: S311  an order, no secret
    started_s, rounds = time.monotonic(), 0
    gc.disable()
    try:
        while rounds < _LEAST_ROUNDS or time.monotonic() - started_s < seconds:
            shuffled.shuffle(order)
            reference_ns = 1.0
            for place, subject in enumerate(order):
                if place % _REFERENCE_EVERY == 0:
                    reference_ns = float(np.median(_visit(beside.call, counts[reference])))
                taken = _visit(subject.call, counts[subject.id])
                subject.visits.append(taken)
                subject.relative.append(float(np.median(taken)) / reference_ns)
                if tick is not None:
                    tick(rounds, min(1.0, (time.monotonic() - started_s) / seconds))
            rounds += 1
    finally:
        gc.enable()


def runs_of(
    subjects: Sequence[Subject], reference: str, *, subject: str, digest: str, machine: Machine, when: str | None = None
) -> Runs:
    """What was timed as a document."""
    runs = tuple(_run(item) for item in subjects)
    medians = _medians_us(next(item for item in subjects if item.id == reference))
    low, middle, high = np.percentile(medians, (5, 50, 95))
    return Runs(
        schema=RUNS_SCHEMA,
        subject=subject,
        digest=digest,
        machine=machine,
        when=when or datetime.now(UTC).isoformat(timespec="seconds"),
        threads=THREADS,
        source=Source.MEASURED,
        reference=Reference(id=reference, p50_us=_us(middle), low_us=_us(low), high_us=_us(high)),
        runs=runs,
    )


def this_machine(interpreter: str, device: str | None = None) -> Machine:
    """The machine that this process runs on; ``device`` None stands for the board's own name, or its processor's."""
    module = interpreters.get(interpreter).module.partition(".")[0]
    try:
        release = version(module.replace("_", "-"))
    except PackageNotFoundError:
        release = "unknown"
    cpu = _cpu()
    return Machine(
        device=device or _board() or cpu,
        cpu=cpu,
        architecture=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        interpreter=module.replace("_", "-") if interpreter == "litert" else interpreter,
        interpreter_version=release,
    )


def interpreter_of_kits() -> str:
    """The interpreter that a kit's graphs are run by; raises MissingExtraError when there is none."""
    return choose(Format.TFLITE)


def _values(spec: TensorSpec, rng: np.random.Generator) -> Array:
    if spec.dtype == "int8":
        return rng.integers(-128, 128, spec.shape).astype(np.int8)
    return rng.normal(0, 2, spec.shape).astype(np.float32)


def _count(subject: Subject) -> int:
    """How many invocations fill a visit; warms the graph up, too."""
    _visit(subject.call, _LEAST)
    each_ns = float(np.median(_visit(subject.call, 2 * _LEAST)))
    return int(np.clip(_VISIT_NS / each_ns, _LEAST, _MOST))


def _visit(call: Callable[[], object], count: int) -> Array:
    clock = time.perf_counter_ns
    for _ in range(_UNCOUNTED):
        call()
    taken = np.empty(count, np.int64)
    for index in range(count):
        begun = clock()
        call()
        taken[index] = clock() - begun
    return taken


def _medians_us(subject: Subject) -> Array:
    return np.array([np.median(visit) for visit in subject.visits]) * 1e-3


def _run(subject: Subject) -> Run:
    every_us = np.concatenate(subject.visits) * 1e-3
    low, middle, high = np.percentile(_medians_us(subject), (25, 50, 75))
    return Run(
        id=subject.id,
        family=subject.family,
        precision=subject.precision,
        p50_us=_us(middle),
        p90_us=_us(np.percentile(every_us, 90)),
        p999_us=_us(np.percentile(every_us, 99.9)),
        round_low_us=_us(low),
        round_high_us=_us(high),
        relative=round(float(np.median(subject.relative)), 5),
        rounds=len(subject.visits),
        invocations=len(every_us),
        graphs=subject.graphs,
        estimate_us=None if subject.estimate_us is None else _us(subject.estimate_us),
        ops=subject.ops,
    )


def _us(value: float | np.floating) -> float:
    return round(float(value), 3)


def _cpu() -> str:
    for line in _lines("/proc/cpuinfo"):
        name, _, value = line.partition(":")
        if name.strip() in {"model name", "Model"} and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _board() -> str | None:
    """What a board's device tree calls it; None on other machines."""
    lines = _lines("/proc/device-tree/model")
    return lines[0].strip("\0 ") if lines and sys.platform == "linux" else None


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
