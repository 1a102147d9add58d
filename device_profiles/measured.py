"""Measured runs as the calibration takes them: of one machine, each graph once, with its operators.

A graph's time is its time over the reference's in the same round, times the reference's median: on a machine that
changes its speed between rounds all graphs are so brought to one speed, and on a steady one it is the graph's median.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from device_profiles.ops import Op, OpKind
from tamiyo_runtime.contracts.errors import IncompatibleError, InputError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.runs import Machine, Run, Runs, Work

_SAME = ("device", "cpu", "architecture", "interpreter", "interpreter_version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A graph with its operators and its median latency at the reference's median speed, us."""

    id: str
    family: str
    precision: Precision
    p50_us: float
    ops: tuple[Op, ...]


def samples_of(files: Mapping[str, Runs], *, needed: Sequence[Precision]) -> tuple[list[Sample], Machine]:
    """Samples of one or several files of runs, by file name, and the machine they come from.

    A graph that several files have counts once, with the median of its medians. Raises InputError for files of several
    machines or of one that holds no operators, and IncompatibleError when a precision of ``needed`` was not measured.
    """
    (first, head), *others = files.items()
    for name, runs in files.items():
        if runs.subject != "probes":
            raise InputError(
                f"{name} holds runs of a {runs.subject}, which say nothing of single operators",
                hint="measure a kit: tamiyo profile probes, then tamiyo measure KIT",
            )
    for name, runs in others:
        for key in _SAME:
            ours, theirs = getattr(head.machine, key), getattr(runs.machine, key)
            if ours != theirs:
                raise InputError(
                    f"{first} is of {key.replace('_', ' ')} '{ours}', {name} of '{theirs}'",
                    hint="a profile is of one device: calibrate with the runs of one at a time",
                )
    by_id: dict[str, list[Run]] = {}
    times: dict[str, list[float]] = {}
    for runs in files.values():
        for run in runs.runs:
            by_id.setdefault(run.id, []).append(run)
            times.setdefault(run.id, []).append(run.relative * runs.reference.p50_us)
    samples = []
    for name, same in by_id.items():
        if any(run.ops != same[0].ops or run.precision != same[0].precision for run in same):
            raise InputError(f"the files disagree on what '{name}' is", hint="were they measured with the same kit?")
        samples.append(
            Sample(
                id=name,
                family=same[0].family,
                precision=same[0].precision,
                p50_us=median(times[name]),
                ops=tuple(_op(work, name) for work in same[0].ops),
            )
        )
    found = {sample.precision for sample in samples}
    for precision in needed:
        if precision not in found:
            raise IncompatibleError(
                f"no run is in {precision}, which the profile's variants need; measured: {', '.join(sorted(found))}",
                hint="measure the whole kit, without --precision",
            )
    return samples, head.machine


def _op(work: Work, run: str) -> Op:
    try:
        kind = OpKind(work.kind)
    except ValueError:
        raise InputError(
            f"'{run}' has an operator of class '{work.kind}', which this version does not know",
            hint=f"known: {', '.join(OpKind)}; was the kit made by a later version?",
        ) from None
    return Op(
        kind=kind,
        macs=work.macs,
        weight_bytes=work.weight_bytes,
        input_bytes=work.input_bytes,
        output_bytes=work.output_bytes,
        params=work.params,
        code=work.code,
        gemm=work.gemm,
        groups=work.groups,
        window=work.window,
    )
