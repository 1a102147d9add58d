"""The export: its steps in order, each a function from what came before, with a report of each.

``resolve`` looks up what is asked for, ``export`` does it. Nothing is written before the last step, and
nothing is left behind by a failure. The vendor's compiler comes before the placement because its word on an operator
counts for more than a table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from device_profiles.loader import load_profile
from device_profiles.profile import Profile
from exporters import elastic
from exporters.compiled import Compiled
from exporters.layers import cost_checks, layers
from exporters.ops.table import Placement
from exporters.quantise.variant import Method, check_method
from exporters.report import SCHEMA, ExportReport, RunnableReport, StepReport, VariantReport
from exporters.request import ExportRequest, reduced
from exporters.steps import budget as budget_step
from exporters.steps import capture, floats, int8, kernels, package, parity, placement, selftest, vendor
from exporters.steps.capture import Captured
from exporters.steps.int8 import Quantised
from exporters.steps.outcome import Outcome
from exporters.targets import Target, find_target
from exporters.validate import check_request
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import BudgetError, IncompatibleError, InputError
from tamiyo_runtime.contracts.plan import Layout
from tamiyo_runtime.files import check_writable
from tamiyo_runtime.signing import SigningKey

PLACEMENT = "operator placement"
STEPS = (
    "capture network",
    "budget check",
    "export float graphs",
    "float parity",
    "quantise int8 static",
    "int8 kernels",
    "vendor compile",
    PLACEMENT,
    "package",
    "self-test",
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """A step begins (``report`` None), is on its way (``progress`` says how far, in words) or has ended."""

    number: int
    total: int
    name: str
    report: StepReport | None = None
    progress: str | None = None


OnStep = Callable[[StepEvent], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is asked for, looked up: the target's recipe, the profile, the budget to hold and the file to make."""

    target: Target
    profile: Profile
    budget: Budget
    out: Path


def resolve(target: str, out: Path, *, budget: Budget | None, overwrite: bool, strict: bool = False) -> Job:
    """Resolve a target and check the output before any work is done.

    Raises UnknownNameError, InputError, and MissingDependencyError when the vendor's compiler is not installed and the
    device can't do without it, or ``strict``.
    """
    recipe = find_target(target)
    profile = load_profile(recipe.profile)
    if out.is_dir():
        raise InputError(f"{out} is a folder", hint="--out names the bundle's file, such as net.tamiyo")
    if out.exists() and not overwrite:
        raise InputError(f"{out} exists already", hint="pass --overwrite to replace it")
    check_writable(out)
    compiler = recipe.compiler
    if compiler is not None and (compiler.needed or strict) and compiler.version() is None:
        raise compiler.missing()
    return Job(target=recipe, profile=profile, budget=profile.budget() if budget is None else budget, out=out)


def export(
    request: ExportRequest,
    target: str,
    out: Path,
    *,
    key: SigningKey,
    overwrite: bool = False,
    strict: bool = False,
    smoke: bool = False,
    on_step: OnStep | None = None,
) -> ExportReport:
    """Compile ``request`` for ``target`` into the signed bundle ``out``.

    ``smoke``: the whole path on a few samples, which the bundle and the report say of themselves.
    Raises InputError or UnknownNameError for what the caller can mend, BudgetError or AccuracyFloorError when limits
    are not met (or ``strict`` and a step warned), IncompatibleError when the network cannot be converted or, if
    ``strict``, would not run on the accelerator alone, MissingExtraError, MissingToolError, and IntegrityError when the
    self-test fails. On any of these ``out`` is as it was.
    """
    resolved = resolve(target, out, budget=request.budget, overwrite=overwrite, strict=strict)
    if smoke:
        request = reduced(request)
    check_request(request)
    check_method(Method(request.quantise), resolved.target)
    log = _Log(on_step)
    recipe, profile, limits = resolved.target, resolved.profile, resolved.budget

    captured = log.step(lambda: capture.run(request))
    budgeted = log.step(lambda: budget_step.run(captured, profile, limits, recipe))
    captured, recipe = budgeted.captured, budgeted.target
    converted = log.step(lambda: floats.run(captured, recipe, budgeted, budgeted.choice.wholes))
    float_graphs = log.step(lambda: parity.run(captured, converted))
    quantised = log.step(lambda: int8.run(captured, recipe, float_graphs, on_progress=log.tuning))
    checked = log.step(lambda: kernels.run(captured, quantised))

    def compile_for_vendor() -> tuple[tuple[tuple[Compiled, ...], vendor.VendorFiles], Outcome]:
        variants, files, outcome = vendor.run(quantised.compiled, recipe)
        return (variants, files), outcome

    timed, vendor_files = log.step(compile_for_vendor)

    def place() -> tuple[tuple[tuple[Compiled, ...], tuple[Placement, ...]], Outcome]:
        variants, placed, outcome = placement.run(timed, recipe, vendor_files)
        host = captured.network.host.id
        for variant in variants[:1]:  # the estimate of step 2, made again of the files that ship
            budget_step.check_host(variant.cost(profile, host), limits, profile, budgeted.parts)
        return (variants, placed), outcome

    compiled, placements = log.step(place)
    if strict:
        log.refuse_warnings()
    report = ExportReport(
        schema=SCHEMA,
        name=request.name,
        target=recipe.name,
        profile=f"{profile.id} r{profile.revision}",
        profile_sha256=profile.sha256,
        classes=len(request.classes),
        test_samples=len(request.test_inputs),
        accuracy_floor=quantised.floor,
        steps=tuple(log.reports),
        parts=budgeted.parts,
        variants=tuple(
            _variant_report(variant, quantised, captured=captured, profile=profile, budget=limits)
            for variant in compiled
        ),
        placement=placements,
        vendor=vendor_files.report,
        sensitivity=quantised.sensitivity,
        kernels=checked,
        groups=captured.network.groups,
        layers=layers(
            compiled,
            network=captured.network,
            budgeted=budgeted,
            profile=profile,
            placements=placements,
            noise=quantised.noise,
        ),
        cost_checks=cost_checks(profile),
        configurations=elastic.configurations(budgeted),
        smoke=smoke,
        notes=_flattered(quantised, budgeted),
        extra={"quantisation": dict(quantised.methods)},
    )
    ready = package.contents(
        captured,
        recipe,
        profile=profile,
        budget=limits,
        budgeted=budgeted,
        floats=float_graphs,
        quantised=quantised,
        compiled=compiled,
        kernels=checked,
        vendor=vendor_files,
        smoke=smoke,
    )
    data = log.step(lambda: package.run(ready, report, out.name, key=key))
    written = log.step(lambda: selftest.run(data, out, key=key, overwrite=overwrite))
    return replace(report, steps=tuple(log.reports), bundle_bytes=written)


def _flattered(quantised: Quantised, budgeted: budget_step.Budgeted) -> tuple[str, ...]:
    """Figures measured on the samples that something was chosen by: the test set is all the labels there are."""
    notes = [
        f"{variant}: {method['method']} was chosen by accuracy on the test set, so that accuracy is a little flattering"
        for variant, method in quantised.methods.items()
        if len(method["tried"]) > 1
    ]
    left = [item for item in budgeted.captured.configurations if item.id not in budgeted.choice.wholes]
    if budgeted.choice.layout is Layout.WHOLE and left:
        notes.append("which configurations were compiled was chosen by torch's accuracy on the test set")
    return tuple(notes)


def _variant_report(
    compiled: Compiled, quantised: Quantised, *, captured: Captured, profile: Profile, budget: Budget
) -> VariantReport:
    variant = package.variant_of(compiled, quantised, profile)
    found = quantised.comparisons[variant.id]
    marks = elastic.marks(variant, captured.configurations, budget, profile.snapshot())
    return VariantReport(
        id=variant.id,
        format=variant.format,
        precision=variant.precision,
        layout=variant.layout,
        size_bytes=compiled.size_bytes,
        runnables=tuple(
            RunnableReport(
                configuration=runnable.configuration,
                chain=runnable.chain,
                accuracy=found[runnable.configuration].accuracy,
                torch_accuracy=found[runnable.configuration].torch_accuracy,
                agreement=found[runnable.configuration].agreement,
                difference=found[runnable.configuration].difference,
                cost=runnable.cost,
                sqnr_db=found[runnable.configuration].sqnr_db,
                on_front=runnable.configuration in marks.front,
                chosen=runnable.configuration == marks.chosen,
            )
            for runnable in variant.runnables
        ),
    )


class _Log:
    """Runs steps in order, times them and tells the caller."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.reports: list[StepReport] = []
        self._on_step = on_step

    def refuse_warnings(self) -> None:
        """Raise for all steps that warned, in one error: of the placement's class if it is among them."""
        warned = [report for report in self.reports if report.status is report.status.WARN]
        if not warned:
            return
        kind = IncompatibleError if any(report.name == PLACEMENT for report in warned) else BudgetError
        raise kind(
            f"--strict: {'; '.join(f'{step.name}: {step.message}' for step in warned)}",
            hint="mend what the warnings say, or leave --strict out",
        )

    def tuning(self, done: int, of: int) -> None:
        """Tell how far the fine-tuning of the step that runs has come."""
        number = len(self.reports) + 1
        text = f"fine-tuning for int8, step {done} of {of}"
        self._tell(StepEvent(number=number, total=len(STEPS), name=STEPS[number - 1], progress=text))

    def step(self, work: Callable[[], tuple[T, Outcome]]) -> T:
        number = len(self.reports) + 1
        name = STEPS[number - 1]
        self._tell(StepEvent(number=number, total=len(STEPS), name=name))
        started_s = time.perf_counter()
        result, outcome = work()
        report = StepReport(
            number=number,
            name=name,
            status=outcome.status,
            message=outcome.message,
            details=outcome.details,
            seconds=time.perf_counter() - started_s,
        )
        self.reports.append(report)
        self._tell(StepEvent(number=number, total=len(STEPS), name=name, report=report))
        return result

    def _tell(self, event: StepEvent) -> None:
        if self._on_step is not None:
            self._on_step(event)
