"""``tamiyo export``: a grown network into a signed bundle for a target."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamiyo_runtime.cli.export_view import Steps, check_page, say_head, say_plan, say_report, write_report

if TYPE_CHECKING:
    from exporters.pipeline import Job
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


def _resolved(choices: _Choices, key: Path | None) -> tuple[Job, ExportRequest, SigningKey | None]:
    """Everything checked that can be before work: the target, the output, the key, the run and its samples."""
    from exporters import pipeline
    from exporters.request import reduced
    from exporters.validate import check_request
    from tamiyo_runtime.cli.parsing import changed_budget
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.files import check_writable
    from tamiyo_runtime.signing import SigningKey

    resolved = pipeline.resolve(
        choices.target, choices.out, budget=choices.budget, overwrite=choices.overwrite, strict=choices.strict
    )
    budget = changed_budget(
        resolved.budget,
        latency_ms=choices.budget_latency_ms,
        power_mw=choices.budget_power_mw,
        energy_burst_mj=None,
    )
    check_page(choices.page, overwrite=choices.overwrite)
    if choices.page is not None:
        check_writable(choices.page)
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
    from tamiyo_runtime.contracts.export_plan import check_same
    from tamiyo_runtime.signing import SigningKey

    resolved, request, signer = _resolved(choices, key)
    if planned is not None:
        check_same(planned, _document(choices, request))
    say_head(resolved, quiet=as_json)
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
    write_report(choices.out, choices.page, signer=signer, overwrite=choices.overwrite)
    say_report(report, choices.out, page=choices.page, as_json=as_json)


def _plan(choices: _Choices, file: Path | None, *, key: Path | None, as_json: bool) -> None:
    """Show what an export would do, and write it down for a replay."""
    import json

    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.files import write_atomic

    resolved, request, _ = _resolved(choices, key)
    document = _document(choices, request)
    say_head(resolved, quiet=as_json)
    if file is not None:
        text = json.dumps(dump(document), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomic(file, text.encode(), overwrite=choices.overwrite)
    say_plan(document, request, as_json=as_json)
    if not as_json:
        say("dry run: nothing was exported" if file is None else f"dry run: the plan is in {file}")
        again = "the same without --dry-run" if file is None else f"tamiyo export --replay {file}"
        say(f"\nNext:  {again}")


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
    """What training hands over as an export request; the two packages do not know of each other."""
    from exporters.request import ExportRequest, PolicyModule, SeedModule

    policy = handover.policy
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
        policy=None
        if policy is None
        else PolicyModule(module=policy.module, samples=policy.samples, blueprints=policy.blueprints),
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
