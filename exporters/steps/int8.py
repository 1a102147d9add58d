"""Step 4: int8 graphs with ranges from calibration, equal at every seam, and what that does to the accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from exporters.compiled import Compiled
from exporters.evaluate import Comparison, compare, logits_of
from exporters.network import scaled
from exporters.quantise import ptq
from exporters.quantise.finetune import OnProgress
from exporters.quantise.goal import Goal
from exporters.quantise.onnx_int8 import quantise_onnx
from exporters.quantise.variant import Int8Variant, Method, quantise_variant
from exporters.report import SensitivityReport
from exporters.steps.capture import Captured
from exporters.steps.floats import Floats
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.targets import Target
from tamiyo_runtime.contracts.errors import AccuracyFloorError
from tamiyo_runtime.contracts.plan import Format, Layout, Precision, Seam
from tamiyo_runtime.contracts.units import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_SAMPLES = 512
FLOOR_MARGIN = 0.02  # the default floor lies this far below the network's accuracy in torch
_POOR_SQNR_DB = 15.0
_SHOWN_PARTS = 8
_POST_TRAINING = {"method": Method.PTQ.value, "tried": [Method.PTQ.value]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """All variants in the target's order, their answers on the test set, how these compare, and the seams' ranges.

    ``noise``: dB of each operator's output by variant, graph and index of the operator, int8 TFLite only.
    ``sensitivity``: what the parts of the first int8 variant lose. ``methods``: how each int8 variant came about, as
    the manifest and the report keep it.
    """

    compiled: tuple[Compiled, ...]
    logits: Mapping[str, Mapping[str, NDArray[np.float32]]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    seams: tuple[Seam, ...]
    floor: float
    calibration: Mapping[str, object]
    noise: Mapping[str, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)
    sensitivity: tuple[SensitivityReport, ...] = ()
    methods: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def run(
    captured: Captured, target: Target, floats: Floats, *, on_progress: OnProgress | None = None
) -> tuple[Quantised, Outcome]:
    """Quantise what the target wants in int8 and measure every configuration of every variant.

    Raises AccuracyFloorError when the full network of a variant falls below the floor.
    """
    request, network = captured.request, captured.network
    full = network.full.id
    samples = request.calibration[:MAX_SAMPLES]
    real = scaled(request, samples)
    floor = request.accuracy_floor
    floor = max(0.0, captured.accuracy[full] - FLOOR_MARGIN) if floor is None else floor
    seams = ptq.torch_seams(network, real)
    compiled: list[Compiled] = []
    logits = dict(floats.logits)
    made: dict[str, Int8Variant] = {}
    left_out: list[str] = []
    goal = Goal(full=full, floor=floor, samples=len(request.test_inputs))
    for recipe in target.variants:
        if recipe.precision is Precision.FLOAT32:
            compiled.append(next(item for item in floats.compiled if item.recipe.id == recipe.id))
            continue
        if recipe.format is Format.ONNX:
            extra = quantise_onnx(captured, recipe, real)
            answers = logits_of(extra, request.test_inputs, request.input, captured.gates, network.seeded)
            lost = goal.shortfall(full, compare(answers[full], captured.wanted[full], request.test_labels))
            if lost and len(target.variants) > 1:
                left_out.append(recipe.id)  # the graph beside it does the same job without the loss
            else:
                compiled.append(extra)
                logits[recipe.id] = answers
            continue
        variant = quantise_variant(
            captured,
            target,
            recipe,
            floats.segments if recipe.layout is Layout.SEGMENTS else floats.wholes,
            real=real,
            goal=goal,
            method=Method(request.quantise),
            on_progress=on_progress,
        )
        made[recipe.id] = variant
        seams = variant.chosen.calibrated.seams or seams
        compiled.append(variant.chosen.compiled)
        logits[recipe.id] = variant.chosen.logits
    first = next(iter(made.values()), None)
    methods = {name: _method(variant) for name, variant in made.items()}
    methods |= {item.recipe.id: _POST_TRAINING for item in compiled if item.recipe.id not in {*made, *floats.logits}}
    quantised = Quantised(
        compiled=tuple(compiled),
        logits=logits,
        comparisons={
            variant: {
                name: compare(found, captured.wanted[name], request.test_labels) for name, found in answers.items()
            }
            for variant, answers in logits.items()
        },
        seams=seams,
        floor=floor,
        calibration={
            "samples": len(samples),
            "sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
            "methods": methods,
        },
        noise={name: variant.noise for name, variant in made.items()},
        sensitivity=() if first is None else first.sensitivity,
        methods=methods,
    )
    _check_floor(quantised, full)
    outcome = _outcome(quantised, made, full, len(samples))
    if left_out:
        text = f"{', '.join(left_out)} left out: it loses more than the goal allows"
        outcome = replace(outcome, message=f"{outcome.message}; {text}")
    return quantised, outcome


def _method(variant: Int8Variant) -> dict[str, Any]:
    """How a variant was quantised, for people and programs that get the bundle."""
    chosen = variant.chosen
    record: dict[str, Any] = {
        "method": chosen.method.value,
        "tried": [candidate.method.value for candidate in variant.tried],
    }
    if chosen.floating:
        record["float_operators"] = {graph: len(tensors) for graph, tensors in sorted(chosen.floating.items())}
    if chosen.tuned is not None:
        tuned = chosen.tuned
        record["fine_tuned"] = {
            "steps": tuned.steps,
            "kept_step": tuned.kept_step,
            "agreement_before": round(tuned.agreement_before, 6),
            "agreement": round(tuned.agreement, 6),
            "stopped_by_time": tuned.stopped,
        }
    return record


def _check_floor(quantised: Quantised, full: str) -> None:
    for variant, found in quantised.comparisons.items():
        if found[full].accuracy < quantised.floor:
            tried = quantised.methods.get(variant, {}).get("tried", [])
            raise AccuracyFloorError(
                f"{variant}: {percent(found[full].accuracy)} on the test set with all seeds, below the floor of "
                f"{percent(quantised.floor)}; torch has {percent(found[full].torch_accuracy)}"
                + (f"; tried: {', '.join(tried)}" if tried else ""),
                hint="calibrate on more samples, train with the quant-adapter, or lower --accuracy-floor",
            )


def _outcome(quantised: Quantised, made: Mapping[str, Int8Variant], full: str, samples: int) -> Outcome:
    int8 = [item.recipe.id for item in quantised.compiled if item.recipe.precision is Precision.INT8]
    if not int8:
        return skip("the target has no int8 variant")
    shown = next(iter(made), int8[0])
    found = quantised.comparisons[shown]
    whole_net = found[full]
    text = (
        f"{shown}: {samples} samples, accuracy {percent(whole_net.torch_accuracy)} -> {percent(whole_net.accuracy)} "
        f"(floor {percent(quantised.floor)})"
    )
    noisy = [item.sqnr_db for item in found.values() if item.sqnr_db is not None]
    if noisy:
        text += f", SQNR {min(noisy):.1f} dB or better"
    remedies = [line for name, variant in made.items() for line in _remedy(name, variant)]
    text += "".join(f"; {line}" for line in remedies)
    lines = [
        *(
            f"{name}: {percent(item.torch_accuracy)} -> {percent(item.accuracy)}, agreement {percent(item.agreement)}"
            + (f", SQNR {item.sqnr_db:.1f} dB" if item.sqnr_db is not None else "")
            for name, item in found.items()
        ),
        *_parts(quantised.sensitivity),
    ]
    worse = [name for name, item in found.items() if item.accuracy < item.torch_accuracy - FLOOR_MARGIN]
    if worse:
        return warn(f"{text}; more than 2 points lost by {', '.join(worse)}", *lines)
    if any(variant.chosen.tuned is not None and variant.chosen.tuned.stopped for variant in made.values()):
        return warn(f"{text}; fine-tuning ran out of time, so another export may differ", *lines)
    if noisy and min(noisy) < _POOR_SQNR_DB:
        return warn(f"{text}; that is noisy", *lines)
    return ok(text, *lines)


def _remedy(name: str, variant: Int8Variant) -> list[str]:
    """What was done beyond post-training int8, in words."""
    chosen = variant.chosen
    if chosen.floating:
        count = sum(map(len, chosen.floating.values()))
        return [f"{name}: {count} operator{'s' * (count != 1)} left in float"]
    if chosen.tuned is not None and chosen.tuned.kept_step == 0:
        return [f"{name}: {chosen.tuned.steps} steps of fine-tuning found no better weights"]
    if chosen.tuned is not None:
        return [f"{name}: weights fine-tuned for int8, {chosen.tuned.kept_step} steps, by the float network's answers"]
    return []


def _parts(rows: tuple[SensitivityReport, ...]) -> list[str]:
    shown = [row for row in rows if row.sqnr_db is not None][:_SHOWN_PARTS]
    lines = [
        f"{row.part} alone in int8: SQNR {row.sqnr_db:.1f} dB, {100 * row.accuracy_lost:+.1f} points lost"
        + (", kept in float" if row.kept_float else "")
        for row in shown
    ]
    rest = len(rows) - len(shown)
    return [*lines, *([f"{rest} more parts in report.json"] if rest and shown else [])]
