"""An existing ONNX file as a bundle: one configuration, float and int8, measured by running it; no seeds, no policy.

What the file computes is taken as right: int8 is compared with ONNX Runtime running the file itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends import onnx as onnx_backend
from exporters.backends import qdq
from exporters.backends.onnx_reading import Imported, read_onnx
from exporters.compiled import Artefact, Compiled, graph_file
from exporters.evaluate import Comparison, compare, logits_of
from exporters.layers import cost_checks, layers_of
from exporters.ops.onnx_counting import count
from exporters.pipeline import Job
from exporters.quantise.goal import FULL_LOSS
from exporters.report import SCHEMA, ExportReport, PartReport, RunnableReport, StepReport, VariantReport
from exporters.steps import package, selftest
from exporters.steps.budget import first_excess
from exporters.steps.outcome import ok, skip
from exporters.targets import FLOAT_GATED, INT8_ONNX, VariantRecipe, targets
from exporters.tools import versions
from tamiyo_runtime.bundle import SAMPLES, VECTORS, entry_of
from tamiyo_runtime.contracts.cost import Cost
from tamiyo_runtime.contracts.errors import BudgetError, IncompatibleError, InputError
from tamiyo_runtime.contracts.manifest import SCHEMA as MANIFEST
from tamiyo_runtime.contracts.manifest import InputSpec, Manifest
from tamiyo_runtime.contracts.plan import (
    Configuration,
    Format,
    Runnable,
    Segment,
    SegmentKind,
    SegmentPlan,
    Variant,
)
from tamiyo_runtime.contracts.units import milliseconds, plural
from tamiyo_runtime.interpreters.base import GraphError
from tamiyo_runtime.reference import reference_of
from tamiyo_runtime.selftest import Vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tamiyo_runtime.signing import SigningKey

GRAPH = "network"
ONLY = Configuration(id=Configuration.name_of(()), gates=())
LEAST_SAMPLES = 16
LEAST_AGREEMENT = 0.99  # with the float graph, where nobody labelled the samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is imported. ``samples``: raw, (N, *shape); ``labels``: (N,), or None: then no accuracy is known."""

    name: str
    classes: tuple[str, ...]
    input: InputSpec
    samples: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def check_target(job: Job) -> None:
    """Raise IncompatibleError, naming the targets that run ONNX, when this one does not."""
    if any(item.format is Format.ONNX for item in job.target.variants):
        return
    able = sorted(name for name, target in targets if any(item.format is Format.ONNX for item in target.variants))
    raise IncompatibleError(
        f"{job.target.name} runs no ONNX", hint=f"these targets do: {', '.join(able)}; or export the torch module"
    )


def check_source(source: Source, model: Imported) -> None:
    """Raise InputError when samples, labels or classes are not what the model takes and answers."""
    x = source.samples
    if source.input.shape != model.shape or x.shape[1:] != model.shape:
        raise InputError(f"samples of shape {list(x.shape[1:])}, the model takes {list(model.shape)}")
    if len(x) < LEAST_SAMPLES:
        raise InputError(f"{len(x)} samples, at least {LEAST_SAMPLES} are needed")
    if len(source.classes) != model.outputs:
        raise InputError(f"{len(source.classes)} classes, the model answers {model.outputs}")
    y = source.labels
    if y is not None and (y.shape != (len(x),) or y.min() < 0 or y.max() >= model.outputs):
        raise InputError(f"labels must be {len(x)} numbers from 0 to {model.outputs - 1}, one a sample")


def import_onnx(path: Path, source: Source, job: Job, *, key: SigningKey, overwrite: bool) -> ExportReport:
    """Make the signed bundle ``job.out``.

    Raises what `read_onnx` and `check_source` do, IncompatibleError when the target runs no ONNX or ONNX Runtime does
    not run the model, BudgetError when one inference alone exceeds a limit, IntegrityError when the self-test fails.
    """
    check_target(job)
    model = read_onnx(path)
    check_source(source, model)
    variants = [_variant(FLOAT_GATED, model, model.data, source)]
    cost = variants[0].cost(job.profile, ONLY.id)
    excess = first_excess(cost, job.budget)
    if excess is not None:
        raise BudgetError(
            f"{source.name} does not fit on {job.profile.id}: {excess}", hint="raise the budget or use a smaller model"
        )
    answers = {FLOAT_GATED.id: _run(variants[0], source)}
    notes = [] if source.labels is not None else ["accuracy is not known: there were no labels"]
    try:
        scaled = ((source.samples - source.input.offset) * source.input.scale).astype(np.float32)
        int8 = _variant(INT8_ONNX, model, qdq.quantise(model.data, scaled, name=source.name), source)
        found = _run(int8, source)
        problem = _loses(_compared(found, answers[FLOAT_GATED.id], source), labelled=source.labels is not None)
    except IncompatibleError as exc:
        problem = exc.message
    if problem is None:
        variants.append(int8)
        answers[INT8_ONNX.id] = found
        notes.append(f"{INT8_ONNX.id} was calibrated on the samples that it was measured on: its figures flatter it")
    else:
        notes.append(f"{INT8_ONNX.id} left out: {problem}")
    profile = job.profile
    report = ExportReport(
        schema=SCHEMA,
        name=source.name,
        target=job.target.name,
        profile=f"{profile.id} r{profile.revision}",
        profile_sha256=profile.sha256,
        classes=len(source.classes),
        test_samples=len(source.samples),
        accuracy_floor=None,
        steps=_steps(model, cost, problem),
        parts=(
            PartReport(
                name=GRAPH,
                kind=SegmentKind.HEAD.value,
                blueprint=None,
                params=cost.params,
                cost=cost,
            ),
        ),
        variants=tuple(
            _measured(item, answers[item.recipe.id], answers[FLOAT_GATED.id], source, job) for item in variants
        ),
        layers=tuple(layer for item in variants for layer in layers_of(item, GRAPH, profile)),
        cost_checks=cost_checks(profile),
        reference="the file in float",
        notes=tuple(notes),
        extra={"imported": {"format": "onnx", "opset": model.opset}},
    )
    contents = _contents(source, job, variants, answers, report=report)
    data, _ = package.run(contents, report, job.out.name, key=key)
    written, _ = selftest.run(data, job.out, key=key, overwrite=overwrite)
    return replace(report, bundle_bytes=written)


def _steps(model: Imported, cost: Cost, problem: str | None) -> tuple[StepReport, ...]:
    """What was done before packing; the bundle exists, so what comes after went well."""
    int8 = ok("static, a QDQ pair around every operator") if problem is None else skip(f"left out: {problem}")
    outcomes = {
        "read model": ok(f"ONNX opset {model.opset}, {plural(cost.params, 'parameter')}, {cost.macs} MACs"),
        "budget check": ok(f"{milliseconds(cost.latency_ms.value)} ({cost.latency_ms.source.value})"),
        "quantise int8 static": int8,
    }
    return tuple(
        StepReport(number=number, name=name, status=outcome.status, message=outcome.message)
        for number, (name, outcome) in enumerate(outcomes.items(), 1)
    )


def _variant(recipe: VariantRecipe, model: Imported, data: bytes, source: Source) -> Compiled:
    graph = onnx_backend.graph(graph_file(recipe, GRAPH), shape=model.shape, outputs=len(source.classes))
    ops = count(model.model, precision=recipe.precision)
    return Compiled.of_chains(recipe, {GRAPH: Artefact(graph=graph, data=data, ops=ops)}, {ONLY.id: (GRAPH,)})


def _run(variant: Compiled, source: Source) -> NDArray[np.float32]:
    try:
        found = logits_of(variant, source.samples, source.input, {ONLY.id: ()}, ())[ONLY.id]
    except GraphError as exc:
        raise IncompatibleError(f"ONNX Runtime does not run it: {exc}") from exc
    if not np.isfinite(found).all():
        raise IncompatibleError(f"{variant.recipe.id} answers what is no finite number", hint="check its weights")
    return found


def _compared(found: NDArray[np.float32], wanted: NDArray[np.float32], source: Source) -> Comparison:
    labels = wanted.argmax(axis=1) if source.labels is None else source.labels
    return compare(found, wanted, labels)


def _loses(item: Comparison, *, labelled: bool) -> str | None:
    """Why int8 is not good enough, or None."""
    if labelled and item.accuracy < item.torch_accuracy - FULL_LOSS:
        return f"accuracy {item.accuracy:.1%}, the float graph has {item.torch_accuracy:.1%}"
    if not labelled and item.agreement < LEAST_AGREEMENT:
        return f"only {item.agreement:.1%} of its answers are the float graph's"
    return None


def _measured(
    variant: Compiled, found: NDArray[np.float32], wanted: NDArray[np.float32], source: Source, job: Job
) -> VariantReport:
    item, labelled = _compared(found, wanted, source), source.labels is not None
    cost = variant.cost(job.profile, ONLY.id)
    recipe = variant.recipe
    return VariantReport(
        id=recipe.id,
        format=recipe.format,
        precision=recipe.precision,
        layout=recipe.layout,
        size_bytes=variant.size_bytes,
        runnables=(
            RunnableReport(
                configuration=ONLY.id,
                chain=(GRAPH,),
                accuracy=item.accuracy if labelled else None,
                torch_accuracy=item.torch_accuracy if labelled else None,
                agreement=item.agreement,
                difference=item.difference,
                cost=cost,
                sqnr_db=item.sqnr_db,
                on_front=labelled,
                chosen=first_excess(cost, job.budget) is None,
            ),
        ),
    )


def _contents(
    source: Source,
    job: Job,
    variants: list[Compiled],
    answers: Mapping[str, NDArray[np.float32]],
    *,
    report: ExportReport,
) -> package.Contents:
    rows = package.spread(len(source.samples))
    files: dict[str, bytes] = {item.artefacts[GRAPH].graph.file: item.artefacts[GRAPH].data for item in variants}
    logits = {(name, ONLY.id): found[rows] for name, found in answers.items()}
    files[VECTORS] = Vectors(inputs=source.samples[rows].astype(np.float32), logits=logits).to_bytes()
    if source.labels is not None:
        files[SAMPLES] = package.npz({"x": source.samples.astype(np.float32), "y": source.labels.astype(np.int64)})
    cost = report.parts[0].cost
    head = Segment(name=GRAPH, kind=SegmentKind.HEAD, params=cost.params, macs=cost.macs)
    manifest = Manifest(
        schema=MANIFEST,
        name=source.name,
        target=job.target.name,
        task=source.name,
        classes=source.classes,
        input=source.input,
        plan=SegmentPlan(slots=0, segments=(head,), seams=()),
        configurations=(ONLY,),
        variants=tuple(
            Variant(
                id=item.id,
                format=item.format,
                precision=item.precision,
                layout=item.layout,
                graphs={name: artefact.graph for name, artefact in made.artefacts.items()},
                runnables=tuple(
                    Runnable(configuration=run.configuration, chain=run.chain, cost=run.cost, accuracy=run.accuracy)
                    for run in item.runnables
                ),
            )
            for item, made in zip(report.variants, variants, strict=True)
        ),
        policy=None,
        profile=job.profile.snapshot(),
        budget=job.budget,
        reference=reference_of(
            source.samples,
            {name: {ONLY.id: found} for name, found in answers.items()},
            source="samples of the import",
        ),
        files={name: entry_of(data) for name, data in files.items()},
        provenance={
            **report.extra,
            "calibration": {
                "samples": len(source.samples),
                "sha256": hashlib.sha256(source.samples.tobytes()).hexdigest(),
            },
            "tools": versions(),
        },
    )
    return package.Contents(manifest=manifest, files=files)
