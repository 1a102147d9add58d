"""``tamiyo export``: a grown network into a signed bundle for a target."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from exporters.pipeline import Plan, StepEvent
    from exporters.report import ExportReport
    from exporters.request import ExportRequest
    from tamiyo_train.handover import Handover


def export(
    run: Annotated[Path, typer.Argument(help="A run folder, as `tamiyo train` writes it.")],
    *,
    target: Annotated[str, typer.Option(help="what to compile for: a name of `tamiyo targets`, or a .toml profile")],
    out: Annotated[Path | None, typer.Option(help="the bundle; default: RUN-TARGET.tamiyo here")] = None,
    key: Annotated[Path | None, typer.Option(help="private key to sign with; default: your development key")] = None,
    budget_latency_ms: Annotated[
        float | None, typer.Option(min=0, help="deadline of an inference; 0: none; default: the profile's")
    ] = None,
    budget_power_mw: Annotated[
        float | None, typer.Option(min=0, help="mean power of inferences; 0: no limit; default: the profile's")
    ] = None,
    accuracy_floor: Annotated[
        float | None, typer.Option(min=0, max=1, help="least accuracy with all seeds; default: torch's less 0.02")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything and show the plan, write nothing")
    ] = False,
    smoke: Annotated[bool, typer.Option("--smoke", help="the whole path on a few samples")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="a warning fails the export, so does a missing tool")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the bundle if it exists")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the report as JSON")] = False,
) -> None:
    """Compile a grown network and its policy for a target, measure it, and sign the bundle.

    Examples:

      tamiyo export runs/digits --target edge-tpu

      tamiyo export runs/digits --target raspberry-pi-4 --out pi.tamiyo --budget-latency-ms 2 --accuracy-floor 0.95
    """
    from exporters import pipeline
    from exporters.request import reduced
    from exporters.validate import check_request
    from tamiyo_runtime.cli.parsing import changed_budget
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.signing import SigningKey

    bundle = out or Path(f"{run.resolve().name}-{Path(target).stem}.tamiyo")
    resolved = pipeline.plan(target, bundle, budget=None, overwrite=overwrite, strict=strict)
    budget = changed_budget(
        resolved.budget, latency_ms=budget_latency_ms, power_mw=budget_power_mw, energy_burst_mj=None
    )
    if not run.is_dir():
        raise InputError(f"no run at {run}", hint=f"make one: tamiyo train {run}")
    signer = SigningKey.load(key) if key is not None else None
    request = replace(_request(run), budget=budget, accuracy_floor=accuracy_floor)
    check_request(reduced(request) if smoke else request)
    _say_head(resolved, quiet=as_json)
    if dry_run:
        _say_plan(replace(resolved, budget=budget), request, as_json=as_json)
        return
    steps = Steps(quiet=as_json)
    try:
        report = pipeline.export(
            request,
            target,
            bundle,
            key=signer or SigningKey.default(),
            overwrite=overwrite,
            strict=strict,
            smoke=smoke,
            on_step=steps.show,
        )
    except BaseException:
        steps.fail()
        raise
    _say_report(report, bundle, as_json=as_json)


def request_of(handover: Handover) -> ExportRequest:
    """A training run's handover as an export request; the two packages do not know of each other."""
    from exporters.request import ExportRequest, PolicyModule, SeedModule

    return ExportRequest(
        name=handover.name,
        task=handover.task,
        classes=handover.classes,
        input=handover.input,
        trunk=handover.trunk,
        seeds=[SeedModule(slot=slot, blueprint=name, module=module) for slot, name, module in handover.seeds],
        calibration=handover.calibration,
        test_inputs=handover.test_inputs,
        test_labels=handover.test_labels,
        policy=PolicyModule(
            module=handover.policy_module, samples=handover.policy_samples, blueprints=handover.blueprints
        ),
        provenance=handover.provenance,
    )


def _request(run: Path) -> ExportRequest:
    from tamiyo_runtime.contracts.errors import MissingExtraError

    try:
        from tamiyo_train.checkpoint import load_run
        from tamiyo_train.handover import pieces
    except ModuleNotFoundError as exc:
        raise MissingExtraError(exc.name or "torch", "train,export") from exc
    return request_of(pieces(load_run(run)))


class Steps:
    """One line a step on stdout when it ends; on a terminal also its name while it runs."""

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
                print(f"{label} ...", end="", file=sys.stderr, flush=True)
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


def _say_head(plan: Plan, *, quiet: bool) -> None:
    from tamiyo_runtime import __version__
    from tamiyo_runtime.cli.render import say

    if not quiet:
        profile = plan.profile
        say(
            f"tamiyo {__version__}  export  target {plan.target.name} "
            f"(profile {profile.id} r{profile.revision}, sha256 {profile.sha256[:8]}...)"
        )


def _say_plan(plan: Plan, request: ExportRequest, *, as_json: bool) -> None:
    from tamiyo_runtime.cli.inspect_cmd import budget_text
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.document import dump

    record: dict[str, Any] = {
        "name": request.name,
        "target": plan.target.name,
        "profile": plan.profile.id,
        "out": str(plan.out),
        "variants": [f"{item.id} ({item.layout.value})" for item in plan.target.variants],
        "seeds": [f"slot {seed.slot}: {seed.blueprint}" for seed in request.seeds],
        "calibration_samples": len(request.calibration),
        "test_samples": len(request.test_inputs),
        "accuracy_floor": request.accuracy_floor,
        "budget": dump(plan.budget),
    }
    if as_json:
        emit_json({"dry_run": True, **record})
        return
    for name, value in {**record, "budget": budget_text(plan.budget)}.items():
        text = ", ".join(value) if isinstance(value, list) else value
        say(f"{name.replace('_', ' '):<20} {'default: 2 points below torch' if text is None else text}")
    say("dry run: nothing was written")


def _say_report(report: ExportReport, out: Path, *, as_json: bool) -> None:
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent, size

    if as_json:
        emit_json({"out": str(out), **dump(report)})
        return
    preferred = report.variants[0]
    if report.smoke:
        say(f"\nsmoke export: {report.test_samples} test samples, for trying the path only; the bundle says so itself")
    say(f"\n{preferred.id} on {report.profile}, {report.test_samples} test samples, cheapest first:")
    table(
        ["configuration", "accuracy", "torch", "latency", "energy", "source"],
        [
            [
                item.configuration,
                percent(item.accuracy),
                percent(item.torch_accuracy),
                milliseconds(item.cost.latency_ms.value),
                microjoules(item.cost.energy_uj.value),
                item.cost.latency_ms.source.value,
            ]
            for item in preferred.runnables
        ],
    )
    say("variants: " + ", ".join(f"{item.id} {size(item.size_bytes)}" for item in report.variants))
    profile = report.profile.partition(" ")[0]
    say(f"\nNext:  tamiyo inspect {out}   |   tamiyo run {out} --device simulated:{profile}   |   tamiyo verify {out}")
