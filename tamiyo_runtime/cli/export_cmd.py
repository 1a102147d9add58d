"""``tamiyo export``: a grown network into a signed bundle for a target."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from exporters.pipeline import Plan, StepEvent
    from exporters.report import ExportReport
    from exporters.request import ExportRequest
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.contracts.export_plan import ExportPlan
    from tamiyo_runtime.signing import SigningKey
    from tamiyo_train.handover import Handover


def export(
    run: Annotated[Path | None, typer.Argument(help="A run folder, as `tamiyo train` writes it.")] = None,
    *,
    target: Annotated[
        str | None, typer.Option(help="what to compile for: a name of `tamiyo targets`, or a .toml profile")
    ] = None,
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
    quantise: Annotated[
        str, typer.Option(help="to keep the accuracy in int8: auto, ptq, mixed (some operators in float) or qat (tune)")
    ] = "auto",
    bundle_version: Annotated[
        int, typer.Option(min=1, help="release number: a device refuses a lower one of the same name than it ran")
    ] = 1,
    report: Annotated[
        Path | None, typer.Option(help="write the HTML report here; default: beside the bundle", metavar="FILE")
    ] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="write no HTML report")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="check everything and show the plan, write nothing")
    ] = False,
    plan: Annotated[
        Path | None, typer.Option(help="with --dry-run: write the plan to this file, for --replay", metavar="FILE")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="do what a plan says, if all it was made with is unchanged", metavar="FILE")
    ] = None,
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

      tamiyo export runs/digits --target x86-64 --dry-run --plan plan.json; tamiyo export --replay plan.json
    """
    from tamiyo_runtime.contracts.errors import InputError

    if replay is not None:
        if run is not None or target is not None or dry_run or plan is not None:
            raise InputError("--replay takes run, target and all choices from the plan", hint="leave the others out")
        _replay(replay, key=key, report=report, no_report=no_report, as_json=as_json)
        return
    if run is None or target is None:
        missing = "the run" if run is None else "--target"
        raise InputError(f"{missing} is missing", hint="tamiyo export RUN --target TARGET, or --replay PLAN")
    if plan is not None and not dry_run:
        raise InputError("--plan goes with --dry-run", hint="a plan is written instead of an export")
    choices = _Choices(
        run=run,
        target=target,
        out=out or Path(f"{run.resolve().name}-{Path(target).stem}.tamiyo"),
        budget_latency_ms=budget_latency_ms,
        budget_power_mw=budget_power_mw,
        accuracy_floor=accuracy_floor,
        quantise=quantise,
        bundle_version=bundle_version,
        smoke=smoke,
        strict=strict,
        overwrite=overwrite,
        report=report,
        no_report=no_report,
    )
    if dry_run:
        _plan(choices, plan, key=key, as_json=as_json)
    else:
        _export(choices, key=key, as_json=as_json)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """What the command line, or a plan, says.

    ``budget``: as a plan fixes it; else the profile's with the changes. ``report``: where the HTML page goes.
    """

    run: Path
    target: str
    out: Path
    accuracy_floor: float | None
    quantise: str
    bundle_version: int
    smoke: bool
    strict: bool
    overwrite: bool
    report: Path | None = None
    no_report: bool = False
    budget_latency_ms: float | None = None
    budget_power_mw: float | None = None
    budget: Budget | None = None

    @property
    def page(self) -> Path | None:
        """Where the HTML report goes; None: nowhere."""
        return None if self.no_report else self.report or self.out.with_suffix(".html")


def _resolved(choices: _Choices, key: Path | None) -> tuple[Plan, ExportRequest, SigningKey | None]:
    """Everything checked that can be before work: the target, the output, the key, the run and its samples."""
    from exporters import pipeline
    from exporters.request import reduced
    from exporters.validate import check_request
    from tamiyo_runtime.cli.parsing import changed_budget
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.signing import SigningKey

    resolved = pipeline.plan(
        choices.target, choices.out, budget=choices.budget, overwrite=choices.overwrite, strict=choices.strict
    )
    budget = changed_budget(
        resolved.budget,
        latency_ms=choices.budget_latency_ms,
        power_mw=choices.budget_power_mw,
        energy_burst_mj=None,
    )
    if choices.page is not None and choices.page.exists() and not choices.overwrite:
        raise InputError(f"{choices.page} exists already", hint="pass --overwrite to replace it, or --no-report")
    if not choices.run.is_dir():
        raise InputError(f"no run at {choices.run}", hint=f"make one: tamiyo train {choices.run}")
    signer = SigningKey.load(key) if key is not None else None
    request = replace(
        _request(choices.run),
        budget=budget,
        accuracy_floor=choices.accuracy_floor,
        quantise=choices.quantise,
        version=choices.bundle_version,
    )
    check_request(reduced(request) if choices.smoke else request)
    return replace(resolved, budget=budget), request, signer


def _export(choices: _Choices, *, key: Path | None, as_json: bool, planned: ExportPlan | None = None) -> None:
    from exporters import pipeline
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.cli.inspect_cmd import write_page
    from tamiyo_runtime.contracts.export_plan import check_same
    from tamiyo_runtime.signing import SigningKey, Trust

    resolved, request, signer = _resolved(choices, key)
    if planned is not None:
        check_same(planned, _document(choices, request))
    _say_head(resolved, quiet=as_json)
    steps = Steps(quiet=as_json)
    signer = signer or SigningKey.default()
    try:
        report = pipeline.export(
            request,
            choices.target,
            choices.out,
            key=signer,
            overwrite=choices.overwrite,
            strict=choices.strict,
            smoke=choices.smoke,
            on_step=steps.show,
        )
    except BaseException:
        steps.fail()
        raise
    if choices.page is not None:
        bundle = Bundle.open(choices.out, trusted=Trust.of(signer.public))
        write_page(bundle, choices.page, overwrite=choices.overwrite)
    _say_report(report, choices.out, page=choices.page, as_json=as_json)


def _plan(choices: _Choices, file: Path | None, *, key: Path | None, as_json: bool) -> None:
    """Show what an export would do, and write it down for a replay."""
    import json

    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.files import write_atomic

    resolved, request, _ = _resolved(choices, key)
    document = _document(choices, request)
    _say_head(resolved, quiet=as_json)
    if file is not None:
        text = json.dumps(dump(document), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomic(file, text.encode(), overwrite=choices.overwrite)
    _say_plan(document, request, as_json=as_json)
    if not as_json:
        say("dry run: nothing was exported" if file is None else f"dry run: the plan is in {file}")
        if file is not None:
            say(f"\nNext:  tamiyo export --replay {file}")


def _replay(file: Path, *, key: Path | None, report: Path | None, no_report: bool, as_json: bool) -> None:
    """Do what a plan says; raises InputError naming what has changed since it was made."""
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.contracts.export_plan import read_plan

    try:
        planned = read_plan(file.read_bytes(), path=str(file))
    except OSError as exc:
        raise InputError(f"cannot read {file}: {exc.strerror}", hint="--dry-run --plan FILE writes one") from exc
    choices = _Choices(
        run=Path(planned.run),
        target=planned.target,
        out=Path(planned.out),
        accuracy_floor=planned.accuracy_floor,
        quantise=planned.quantise,
        bundle_version=planned.version,
        smoke=planned.smoke,
        strict=planned.strict,
        overwrite=planned.overwrite,
        report=report,
        no_report=no_report,
        budget=planned.budget,
    )
    _export(choices, key=key, as_json=as_json, planned=planned)


def _document(choices: _Choices, request: ExportRequest) -> ExportPlan:
    from exporters.planning import planned

    return planned(
        request,
        choices.target,
        choices.out,
        run=str(choices.run),
        run_sha256=_run_sha256(choices.run),
        smoke=choices.smoke,
        strict=choices.strict,
        overwrite=choices.overwrite,
    )


def _run_sha256(run: Path) -> str:
    from tamiyo_train.checkpoint import run_sha256

    return run_sha256(run)


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


def _say_plan(plan: ExportPlan, request: ExportRequest, *, as_json: bool) -> None:
    from tamiyo_runtime.cli.inspect_cmd import budget_text
    from tamiyo_runtime.cli.render import emit_json, say
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
        "budget": budget_text(plan.budget),
        "compiler options": ", ".join(f"{k} {v}" for k, v in sorted(plan.options.items())) or "none",
        "tools": ", ".join(f"{name} {version}" for name, version in sorted(plan.tools.items())),
    }
    for name, value in rows.items():
        say(f"{name:<18} {value}")


def _say_report(report: ExportReport, out: Path, *, page: Path | None, as_json: bool) -> None:
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.contracts.units import microjoules, milliseconds, percent, size

    if as_json:
        emit_json({"out": str(out), "page": None if page is None else str(page), **dump(report)})
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
    if page is not None:
        say(f"report:   {page}")
    profile = report.profile.partition(" ")[0]
    say(f"\nNext:  tamiyo inspect {out}   |   tamiyo run {out} --device simulated:{profile}   |   tamiyo verify {out}")
