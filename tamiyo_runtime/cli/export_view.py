"""What an export and an import show: steps as they run, the plan, the outcome, and the page beside the bundle."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporters.pipeline import Job, StepEvent
    from exporters.report import ExportReport
    from exporters.request import ExportRequest
    from tamiyo_runtime.contracts.export_plan import ExportPlan
    from tamiyo_runtime.signing import SigningKey


class Steps:
    """One line a step on stdout when it ends; on a terminal also its name, and how far it is, while it runs."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet
        self._running: str | None = None

    def show(self, event: StepEvent) -> None:
        from tamiyo_runtime.cli.render import say

        number = f"[{event.number}/{event.total}]"
        label = f"{number:<{len(f'[{event.total}/{event.total}]')}} {event.name:<20}"
        if event.report is None:
            self._running = label
            if self._live:
                self._clear()
                print(f"{label} {event.progress or ''}...", end="", file=sys.stderr, flush=True)
            return
        self._running = None
        self._clear()
        if self._quiet:
            return
        report = event.report
        seconds = f"  {report.seconds:.1f} s" if report.seconds is not None and report.seconds >= 0.05 else ""
        say(f"{label} {report.status.value:<5} {report.message}{seconds}")
        if report.status.value in {"warn", "skip"}:
            for line in report.details:
                say(f"{'':<35}{line}")

    def fail(self) -> None:
        """The step that was running failed: say so before the error itself is shown."""
        from tamiyo_runtime.cli.render import say

        self._clear()
        if self._running is not None and not self._quiet:
            say(f"{self._running} fail")

    def _clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def say_head(job: Job, *, quiet: bool) -> None:
    from tamiyo_runtime import __version__
    from tamiyo_runtime.cli.render import say

    if not quiet:
        profile = job.profile
        say(
            f"tamiyo {__version__}  export  target {job.target.name} "
            f"(profile {profile.id} r{profile.revision}, sha256 {profile.sha256[:8]}...)"
        )


def say_plan(plan: ExportPlan, request: ExportRequest, *, as_json: bool) -> None:
    from tamiyo_runtime.cli.inspect_cmd import budget_text
    from tamiyo_runtime.cli.render import emit_json, labelled, say
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.units import plural

    if as_json:
        emit_json({"dry_run": True, "name": request.name, **dump(plan)})
        return
    floor = "default: 2 points below torch" if plan.accuracy_floor is None else plan.accuracy_floor
    rows: dict[str, Any] = {
        "name": request.name,
        "run": f"{plan.run} (sha256 {plan.run_sha256[:16]})",
        "out": plan.out,
        "seeds": ", ".join(f"slot {seed.slot}: {seed.blueprint}" for seed in request.seeds) or "none",
        "variants": ", ".join(
            f"{v.id} ({v.layout.value}, {plural(len(v.configurations), 'configuration')})" for v in plan.variants
        ),
        "samples": f"{plan.calibration_samples} to calibrate, {plan.test_samples} to test",
        "accuracy floor": floor,
        "estimate": plan.estimate,
        "budget": budget_text(plan.budget),
        "compiler options": ", ".join(f"{k} {v}" for k, v in sorted(plan.options.items())) or "none",
        "tools": ", ".join(f"{name} {version}" for name, version in sorted(plan.tools.items())),
    }
    for name, value in rows.items():
        say(labelled(f"{name:<18} ", str(value)))


def say_report(report: ExportReport, out: Path, *, page: Path | None, as_json: bool) -> None:
    """The configurations of the preferred variant, or the whole report as JSON."""
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, size

    if as_json:
        emit_json({"out": str(out), "page": None if page is None else str(page), **dump(report)})
        return
    preferred = report.variants[0]
    if report.smoke:
        say(f"\nsmoke export: {report.test_samples} test samples, for trying the path only; the bundle says so itself")
    say(f"\n{preferred.id} on {report.profile}, {report.test_samples} test samples, cheapest first:")
    table(
        ["configuration", "accuracy", report.reference, "latency", "energy", "source"],
        [
            [
                item.configuration,
                share(item.accuracy),
                share(item.torch_accuracy),
                milliseconds(item.cost.latency_ms.value),
                microjoules(item.cost.energy_uj.value),
                item.cost.latency_ms.source.value,
            ]
            for item in preferred.runnables
        ],
    )
    say("variants: " + ", ".join(f"{item.id} {size(item.size_bytes)}" for item in report.variants))
    say_next(report, out, page=page)


def say_next(report: ExportReport, out: Path, *, page: Path | None) -> None:
    """Notes, where the page is, and what can be done with the bundle."""
    from tamiyo_runtime.cli.render import say

    for note in report.notes:
        say(f"note:     {note}")
    if page is not None:
        say(f"report:   {page}")
    profile = report.profile.partition(" ")[0]
    say(f"\nNext:  tamiyo inspect {out}   |   tamiyo run {out} --device simulated:{profile}   |   tamiyo verify {out}")


def share(value: float | None) -> str:
    """A share, or a dash where it is not known."""
    from tamiyo_runtime.contracts.units import percent

    return "-" if value is None else percent(value)


def check_page(page: Path | None, *, overwrite: bool) -> None:
    """Raise InputError, before any work, when the page exists and may not be replaced."""
    from tamiyo_runtime.contracts.errors import InputError

    if page is not None and page.exists() and not overwrite:
        raise InputError(f"{page} exists already", hint="pass --overwrite to replace it, or --no-report")


def write_report(out: Path, page: Path | None, *, signer: SigningKey, overwrite: bool) -> None:
    """The page of the bundle that was just signed by ``signer``; None: none."""
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.cli.inspect_cmd import write_page
    from tamiyo_runtime.signing import Trust

    if page is not None:
        write_page(Bundle.open(out, trusted=Trust.of(signer.public)), page, overwrite=overwrite)
