"""Manifest, vectors and samples in one signed file."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from device_profiles.profile import Profile
from exporters.card import CARD, card
from exporters.compiled import Compiled
from exporters.report import ExportReport, KernelReport
from exporters.sbom import SBOM, sbom
from exporters.steps.budget import Budgeted
from exporters.steps.capture import Captured
from exporters.steps.floats import Floats
from exporters.steps.int8 import Quantised
from exporters.steps.outcome import Outcome, ok
from exporters.steps.vendor import VendorFiles
from exporters.targets import Target
from exporters.tools import versions
from tamiyo_runtime.bundle import REPORT, SAMPLES, VECTORS, entry_of, write_bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.manifest import SCHEMA, Manifest, PolicySpec
from tamiyo_runtime.contracts.observation import HEADS, OBSERVATION
from tamiyo_runtime.contracts.plan import Layout, Precision, Runnable, Segment, SegmentPlan, Variant
from tamiyo_runtime.contracts.units import plural, size
from tamiyo_runtime.reference import reference_of
from tamiyo_runtime.selftest import Vectors
from tamiyo_runtime.signing import SigningKey

if TYPE_CHECKING:
    from numpy.typing import NDArray

VECTOR_COUNT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A bundle before it is signed: the manifest, and all files but the report."""

    manifest: Manifest
    files: Mapping[str, bytes]


def contents(
    captured: Captured,
    target: Target,
    *,
    profile: Profile,
    budget: Budget,
    budgeted: Budgeted,
    floats: Floats,
    quantised: Quantised,
    compiled: tuple[Compiled, ...],
    kernels: tuple[KernelReport, ...],
    vendor: VendorFiles,
    smoke: bool = False,
) -> Contents:
    """Everything the bundle holds, from what the steps made."""
    request, made = captured.request, vendor.report
    files: dict[str, bytes] = dict(vendor.files)
    for variant in compiled:
        files.update({artefact.graph.file: artefact.data for artefact in variant.artefacts.values()})
    if floats.policy is not None:
        files.update(floats.policy.files)
    files[VECTORS] = _vectors(captured, floats, quantised, compiled, kernels)
    files[SAMPLES] = npz({"x": _compact(request.test_inputs), "y": request.test_labels.astype(np.int64)})
    used = {name for variant in compiled for name in variant.chains}
    manifest = Manifest(
        schema=SCHEMA,
        name=request.name,
        target=target.name,
        task=request.task,
        classes=request.classes,
        input=request.input,
        plan=_plan(captured, budgeted, quantised, profile, compiled),
        configurations=tuple(item for item in captured.configurations if item.id in used),
        variants=tuple(variant_of(variant, quantised, profile) for variant in compiled),
        policy=_policy_spec(captured, floats),
        profile=profile.snapshot(),
        budget=budget,
        version=request.version,
        reference=reference_of(request.test_inputs, _answers(quantised, compiled), source="test set"),
        files={name: entry_of(data) for name, data in files.items()},
        provenance={
            **request.provenance,
            "calibration": dict(quantised.calibration),
            "tools": versions((made.program, made.version) if made is not None and made.ran else None),
            **({"smoke": True} if smoke else {}),
        },
    )
    return Contents(manifest=manifest, files=files)


def run(contents: Contents, report: ExportReport, name: str, *, key: SigningKey) -> tuple[bytes, Outcome]:
    """The signed bundle's bytes; nothing is put in place before they have passed the self-test."""
    files = {**contents.files, **_documents(contents, report)}
    with tempfile.TemporaryDirectory(prefix="tamiyo-export-") as folder:
        trial = Path(folder) / name
        write_bundle(trial, contents.manifest, files, key, overwrite=False)
        data = trial.read_bytes()
    return data, ok(f"{name} {size(len(data))}, {plural(len(files), 'file')}, signed by {key.public.short_id}")


def _documents(contents: Contents, report: ExportReport) -> dict[str, bytes]:
    """What is in a bundle for people and for other programs: report, bill of materials, model card."""
    files = {**contents.files, REPORT: report.stored()}
    files[SBOM] = sbom(contents.manifest, files, vendor=report.vendor)
    files[CARD] = card(contents.manifest, report, files)
    return {name: files[name] for name in (REPORT, SBOM, CARD)}


def variant_of(compiled: Compiled, quantised: Quantised, profile: Profile) -> Variant:
    """The contract's variant: runnables cheapest first, each with its cost and measured accuracy."""
    comparisons = quantised.comparisons[compiled.recipe.id]
    runnables = [
        Runnable(
            configuration=name,
            chain=chain,
            cost=compiled.cost(profile, name),
            accuracy=comparisons[name].accuracy,
        )
        for name, chain in compiled.chains.items()
    ]
    return Variant(
        id=compiled.recipe.id,
        format=compiled.recipe.format,
        precision=compiled.recipe.precision,
        layout=compiled.recipe.layout,
        graphs={
            name: replace(artefact.graph, latency_ms=compiled.graph_cost(profile, name).latency_ms.value)
            if compiled.recipe.layout is Layout.SEGMENTS
            else artefact.graph
            for name, artefact in compiled.artefacts.items()
        },
        runnables=tuple(sorted(runnables, key=lambda item: (item.cost.latency_ms.value, item.configuration))),
    )


def _answers(quantised: Quantised, compiled: tuple[Compiled, ...]) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Logits of the test set, as the interpreters of a device gave them, by variant and compiled configuration."""
    return {item.recipe.id: {name: quantised.logits[item.recipe.id][name] for name in item.chains} for item in compiled}


def _plan(
    captured: Captured, budgeted: Budgeted, quantised: Quantised, profile: Profile, compiled: tuple[Compiled, ...]
) -> SegmentPlan:
    traced = budgeted.traced[Precision.FLOAT32]
    segments = tuple(
        Segment(
            name=piece.name,
            kind=piece.kind,
            slot=piece.slot,
            blueprint=piece.blueprint,
            params=piece.params,
            macs=sum(op.macs for op in traced[piece.name]),
            extra=_segment_costs(piece.name, profile, compiled),
        )
        for piece in captured.network.parts
    )
    return SegmentPlan(slots=captured.network.slots, segments=segments, seams=quantised.seams)


def _segment_costs(name: str, profile: Profile, compiled: tuple[Compiled, ...]) -> dict[str, Any]:
    """Latency of a segment by itself in each variant that has it as a graph of its own."""
    found = {
        variant.recipe.id: variant.graph_cost(profile, name).latency_ms.value
        for variant in compiled
        if variant.recipe.layout is Layout.SEGMENTS and name in variant.artefacts
    }
    return {"latency_ms": found} if found else {}


def _policy_spec(captured: Captured, floats: Floats) -> PolicySpec | None:
    policy = captured.request.policy
    if policy is None or floats.policy is None:
        return None
    return PolicySpec(
        graphs=floats.policy.graphs,
        observation=OBSERVATION,
        heads=HEADS,
        slots=captured.network.slots,
        blueprints=policy.blueprints,
    )


def _vectors(
    captured: Captured,
    floats: Floats,
    quantised: Quantised,
    compiled: tuple[Compiled, ...],
    kernels: tuple[KernelReport, ...],
) -> bytes:
    """Answers as measured here, chain by chain; the self-test gets them again from the runtime's executor."""
    request = captured.request
    rows = spread(len(request.test_inputs))
    logits = {
        (variant.recipe.id, name): found[rows]
        for variant in compiled
        for name, found in quantised.logits[variant.recipe.id].items()
    }
    steps: dict[tuple[str, str], int] = {}
    for row in kernels:
        if row.worst_lsb is not None and (key := (row.variant, row.configuration)) in logits:
            steps[key] = max(row.worst_lsb, steps.get(key, 0))
    vectors = Vectors(inputs=request.test_inputs[rows].astype(np.float32), logits=logits, steps=steps)
    if request.policy is not None and floats.policy is not None:
        rows = spread(len(request.policy.samples))
        inputs, outputs = request.policy.samples[rows].astype(np.float32), floats.policy.outputs[rows]
        vectors = replace(vectors, policy_inputs=inputs, policy_outputs=outputs)
    return vectors.to_bytes()


def spread(count: int) -> NDArray[np.int64]:
    """Indices of a few vectors, evenly over all of them."""
    return np.linspace(0, count - 1, min(VECTOR_COUNT, count)).astype(np.int64)


def _compact(raw: NDArray[np.float32]) -> NDArray[Any]:
    """Samples as uint8 where nothing is lost by it."""
    whole = raw.astype(np.uint8) if raw.min() >= 0 and raw.max() <= 255 else None
    return whole if whole is not None and np.array_equal(whole, raw) else raw.astype(np.float32)


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Arrays as an archive."""
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))  # uncompressed, with numpy's fixed time stamps: the same bytes every time
    return buffer.getvalue()
