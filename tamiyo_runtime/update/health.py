"""Whether a bundle on trial stays: the runtime's own figures in, a verdict out. Pure, and one table of limits.

The window is counted in samples, run or not, so that a bundle under which nothing runs is judged too. Before it is
full only what can no longer become right decides: a fault, a configuration that failed, or so many misses that even a
faultless rest of the window would not make up for them. Worse figures never make a better verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Runnable
from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.summary import Turn


class Verdict(StrEnum):
    """What becomes of the bundle on trial."""

    WAIT = "wait"  # the window is not full
    CONFIRM = "confirm"
    ROLLBACK = "rollback"


class Check(StrEnum):
    """What is looked at."""

    MODE = "mode"
    FAILURES = "configurations that failed"
    MISSES = "deadline misses"
    POLICY = "policy failures"
    SKIPS = "skipped samples"
    LATENCY = "p99 latency over its estimate"


LEEWAY = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """The window and the greatest figures that are still healthy. Shares in [0, 1].

    ``misses`` and ``policy``: of inferences. ``skips``: of samples. ``latency_ratio``: measured p99 over the upper end
    of the estimate of the slowest configuration that ran; above 1, since a p99 also holds what else the machine did.
    """

    window: int = 1000
    misses: float = 0.01
    policy: float = 0.01
    skips: float = 0.05
    latency_ratio: float = 1.5

    def __post_init__(self) -> None:
        require(self.window > 0, "window", f"must be above 0, got {self.window}")
        for name in ("misses", "policy", "skips"):
            require(0 <= getattr(self, name) <= 1, name, f"must be in [0, 1], got {getattr(self, name)}")
        require_finite(latency_ratio=self.latency_ratio)
        require(self.latency_ratio > 0, "latency_ratio", f"must be above 0, got {self.latency_ratio}")

    def beside(self, before: Figures | None) -> HealthLimits:
        """What is asked on a device where another bundle did as ``before`` says: no more than of that one.

        A board that skips by its budget, or that shares its processor, does so under every bundle. Where a figure of a
        full window was beyond its limit, ``LEEWAY`` times that figure is the limit.
        """
        if before is None or before.samples < self.window:
            return self
        return replace(
            self,
            misses=max(self.misses, _leeway(before.deadline_misses, before.inferences)),
            policy=max(self.policy, _leeway(before.policy_failures, before.inferences)),
            skips=max(self.skips, _leeway(before.skipped, before.samples)),
            latency_ratio=max(self.latency_ratio, LEEWAY * (before.latency_ratio or 0.0)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a bundle did on trial. ``failures``: configurations that crashed or answered no number.

    Latencies are None when nothing ran, the estimate also when the bundle has none.
    """

    samples: int
    inferences: int
    deadline_misses: int
    policy_failures: int
    skipped: int
    mode: Mode
    latency_p99_ms: float | None
    estimate_high_ms: float | None
    failures: int = 0

    def __post_init__(self) -> None:
        for name in ("samples", "inferences", "deadline_misses", "policy_failures", "skipped", "failures"):
            require(getattr(self, name) >= 0, name, f"must not be negative, got {getattr(self, name)}")
        require(self.inferences + self.skipped <= self.samples, "samples", "fewer than inferences and skips")
        require(self.deadline_misses <= self.inferences, "deadline_misses", "more than inferences")
        require_finite(latency_p99_ms=self.latency_p99_ms, estimate_high_ms=self.estimate_high_ms)

    @property
    def latency_ratio(self) -> float | None:
        """Measured p99 over the estimate's upper end; None where one is not known."""
        if self.latency_p99_ms is None or not self.estimate_high_ms:
            return None
        return self.latency_p99_ms / self.estimate_high_ms

    @classmethod
    def of_run(cls, data: Any, manifest: Manifest) -> Figures:
        """From what ``tamiyo run --json`` prints of that bundle; raises InputError when it is something else."""
        hint = "figures are what `tamiyo run BUNDLE --json` prints"
        if not isinstance(data, Mapping) or not isinstance(data.get("counts"), Mapping):
            raise InputError("these are not the figures of a run", hint=hint)
        if data.get("bundle") != manifest.name:
            raise InputError(f"these figures are of {data.get('bundle')!r}, on trial is '{manifest.name}'", hint=hint)
        ran = {name for name, count in data["counts"].items() if count}
        highs = [
            runnable.cost.latency_ms.high
            for variant in manifest.variants
            if variant.id == data.get("variant")
            for runnable in variant.runnables
            if runnable.configuration in ran
        ]
        try:
            return cls(
                samples=_count(data, "samples"),
                inferences=_count(data, "inferences"),
                deadline_misses=_count(data, "deadline_misses"),
                policy_failures=_count(data, "policy_failures"),
                failures=_count(data, "failures"),
                skipped=_count(data, "skipped"),
                mode=Mode(str(data.get("mode"))),
                latency_p99_ms=_latency(data),
                estimate_high_ms=max(highs, default=None),
            )
        except (SchemaError, ValueError) as exc:
            raise InputError(f"these are not the figures of a run: {exc}", hint=hint) from exc

    @classmethod
    def of_turn(cls, turn: Turn, runnables: Sequence[Runnable]) -> Figures:
        """From a run on its way; ``runnables`` are those of the executor that runs."""
        tally = turn.tally
        highs = [r.cost.latency_ms.high for r, count in zip(runnables, tally.counts, strict=True) if count]
        return cls(
            samples=tally.samples,
            inferences=tally.inferences,
            deadline_misses=tally.deadline_misses,
            policy_failures=tally.policy_failures,
            failures=tally.failures,
            skipped=sum(tally.skips.values()),
            mode=turn.mode,
            latency_p99_ms=tally.latency.quantile(0.99),
            estimate_high_ms=max(highs, default=None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found, what is allowed, and whether that decides. None where it cannot be told."""

    check: Check
    found: float | str | None
    limit: float | str
    broken: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdict with every check behind it."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        """The broken checks in words; empty when there are none."""
        return "; ".join(f"{f.check}: {_text(f.found)}, allowed {_text(f.limit)}" for f in self.findings if f.broken)


def judge(figures: Figures, limits: HealthLimits) -> Judgement:
    """Decide about a bundle on trial."""
    to_come = max(0, limits.window - figures.samples)
    full = to_come == 0
    ratio = figures.latency_ratio
    bad = figures.mode in {Mode.FAULT, Mode.ROLLBACK}
    findings = (
        Finding(check=Check.MODE, found=figures.mode.value, limit=f"not {Mode.FAULT} or {Mode.ROLLBACK}", broken=bad),
        Finding(check=Check.FAILURES, found=figures.failures, limit=0, broken=figures.failures > 0),
        _share(Check.MISSES, figures.deadline_misses, figures.inferences, limits.misses, to_come),
        _share(Check.POLICY, figures.policy_failures, figures.inferences, limits.policy, to_come),
        _share(Check.SKIPS, figures.skipped, figures.samples, limits.skips, to_come),
        Finding(
            check=Check.LATENCY,
            found=ratio,
            limit=limits.latency_ratio,
            broken=full and ratio is not None and ratio > limits.latency_ratio,
        ),
    )
    if any(finding.broken for finding in findings):
        return Judgement(verdict=Verdict.ROLLBACK, findings=findings)
    # A window without a single inference shows nothing, however lenient the limit on skips is.
    ready = full and figures.inferences > 0
    return Judgement(verdict=Verdict.CONFIRM if ready else Verdict.WAIT, findings=findings)


def _share(check: Check, count: int, of: int, limit: float, to_come: int) -> Finding:
    """A share is broken when it would be over the limit even if all that is to come went well."""
    return Finding(check=check, found=count / of if of else None, limit=limit, broken=count > limit * (of + to_come))


def _leeway(count: int, of: int) -> float:
    return min(1.0, LEEWAY * count / of) if of else 0.0


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if type(value) is not int:
        raise SchemaError(name, f"expected an integer, got {value!r}")
    return value


def _latency(data: Mapping[str, Any]) -> float | None:
    value = data.get("latency_p99_ms")
    if value is not None and type(value) not in (int, float):
        raise SchemaError("latency_p99_ms", f"expected a number, got {value!r}")
    return value


def _text(value: float | str | None) -> str:
    return value if isinstance(value, str) else "not known" if value is None else f"{value:.4g}"
