"""An int8 variant from its float graphs: post-training first, then whatever the goal still asks for.

In order of what it costs to run and to make: post-training int8 costs nothing; mixed precision costs a few operators
their speed on the device, and seconds here; fine-tuning costs the device nothing, but minutes here, and the weights are
no longer those that were trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from exporters.backends import tflite
from exporters.compiled import Compiled
from exporters.evaluate import Comparison, check_parity, compare, logits_of
from exporters.network import Network, scaled
from exporters.quantise import mixed, ptq
from exporters.quantise.finetune import OnProgress, Tuned, finetune
from exporters.quantise.goal import Goal
from exporters.quantise.noise import noise_of
from exporters.quantise.ptq import Calibrated
from exporters.quantise.sensitivity import Sensitivity, sensitivities
from exporters.report import SensitivityReport
from exporters.steps.capture import Captured
from exporters.steps.floats import chained, whole
from exporters.targets import Target, VariantRecipe
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Layout, Precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float32]


class Method(StrEnum):
    """What may be done to keep the accuracy in int8. ``auto``: as little as the goal asks for, in this order."""

    AUTO = "auto"
    PTQ = "ptq"
    MIXED = "mixed"
    QAT = "qat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to quantise a variant and how it answers on the test set, by configuration."""

    method: Method
    calibrated: Calibrated
    files: Mapping[str, bytes]
    compiled: Compiled
    logits: Mapping[str, Values]
    comparisons: Mapping[str, Comparison]
    floating: Mapping[str, frozenset[str]]
    tuned: Tuned | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Int8Variant:
    """The candidate that ships, what was tried, what each part is sensitive to and the noise of every operator, dB."""

    chosen: Candidate
    tried: tuple[Candidate, ...]
    sensitivity: tuple[SensitivityReport, ...]
    noise: Mapping[str, Mapping[int, float]]


def check_method(method: Method, target: Target) -> None:
    """Raise IncompatibleError when the target has nothing to do it to: no int8 TFLite, or no float beside it."""
    if method in {Method.MIXED, Method.QAT} and not any(recipe.int8_tflite for recipe in target.variants):
        raise IncompatibleError(
            f"{target.name} has no int8 TFLite variant for --quantise {method.value}: "
            + ", ".join(recipe.id for recipe in target.variants),
            hint="leave --quantise out, or list tflite-int8 in [export] of a profile of your own",
        )
    if method is Method.MIXED and not allows_float(target):
        raise IncompatibleError(
            f"{target.name} takes int8 only, so no operator can stay in float",
            hint="--quantise qat fine-tunes the weights for int8 instead",
        )


def allows_float(target: Target) -> bool:
    """Whether int8 graphs may hold float operators: where the target's own variants compute in float as well."""
    return any(recipe.precision is Precision.FLOAT32 for recipe in target.variants)


def quantise_variant(
    captured: Captured,
    target: Target,
    recipe: VariantRecipe,
    files: Mapping[str, bytes],
    *,
    real: Values,
    goal: Goal,
    method: Method,
    on_progress: OnProgress | None = None,
) -> Int8Variant:
    """Quantise float graphs, by piece or by configuration as the recipe's layout has them, on scaled samples."""
    makers = _Makers(captured, recipe, goal, names=tuple(files))
    first = makers.post_training(captured.network, files, real)
    parts = makers.sensitivities(first)
    tried = [first]

    def missed() -> bool:
        return bool(goal.missed(_closest(tried, goal).comparisons))

    if method in {Method.AUTO, Method.MIXED} and allows_float(target) and missed():
        candidate = makers.mixed(first, parts)
        tried += [candidate] if candidate is not None else []
    if method is Method.QAT or (method is Method.AUTO and missed()):
        tried.append(makers.fine_tuned(real, on_progress))
    chosen = _closest(
        tried[::-1] if method is Method.QAT else tried, goal
    )  # who asks for it gets it, unless it is worse
    floating = {(graph, tensor) for graph, tensors in chosen.floating.items() for tensor in tensors}
    return Int8Variant(
        chosen=chosen,
        tried=tuple(tried),
        sensitivity=tuple(
            replace(
                part.report,
                kept_float=bool(part.tensors) and all((part.graph, tensor) in floating for tensor in part.tensors),
            )
            for part in parts
        ),
        noise=noise_of(chosen.calibrated, chosen.files),
    )


def _closest(candidates: list[Candidate], goal: Goal) -> Candidate:
    """The candidate that misses least; of equal ones the first, which is the cheapest."""
    return min(candidates, key=lambda item: goal.distance(item.comparisons))


class _Makers:
    """The ways to quantise one variant, each measured on the test set."""

    def __init__(self, captured: Captured, recipe: VariantRecipe, goal: Goal, *, names: tuple[str, ...]) -> None:
        self._captured, self._recipe, self._goal, self._names = captured, recipe, goal, names

    def post_training(self, network: Network, files: Mapping[str, bytes], real: Values) -> Candidate:
        if self._recipe.layout is Layout.SEGMENTS:
            calibrated = ptq.segments(network, self._recipe, files, real)
        else:
            calibrated = ptq.wholes(self._recipe, files, real)
        return self._measured(Method.PTQ, calibrated, calibrated.quantise(), floating={})

    def sensitivities(self, candidate: Candidate) -> tuple[Sensitivity, ...]:
        request = self._captured.request
        feed = tflite.channels_last_array(scaled(request, request.test_inputs))
        return sensitivities(
            candidate.calibrated, candidate.files, self._captured.network.full.id, feed, request.test_labels
        )

    def mixed(self, first: Candidate, parts: tuple[Sensitivity, ...]) -> Candidate | None:
        found = mixed.search(first.calibrated, self._goal, parts, lambda files: self._answers(self._compiled(files))[1])
        if found is None:
            return None
        return self._measured(Method.MIXED, first.calibrated, found.files, floating=found.floating)

    def fine_tuned(self, real: Values, on_progress: OnProgress | None) -> Candidate:
        tuned = finetune(
            self._captured.network, real, per_tensor_dense=self._recipe.per_tensor_dense, on_progress=on_progress
        )
        files = self._converted(tuned.network)
        self._check(files, tuned.network)
        return replace(self.post_training(tuned.network, files, real), method=Method.QAT, tuned=tuned)

    def _check(self, files: Mapping[str, bytes], network: Network) -> None:
        """The float graphs of other weights compute what torch does with them, as those of the first weights did."""
        request = self._captured.request
        tested = scaled(request, request.test_inputs)
        gates = self._captured.gates
        answers = logits_of(self._compiled(files), request.test_inputs, request.input, gates, network.seeded)
        for name, found in answers.items():
            check_parity(
                f"{self._recipe.id} fine-tuned, configuration {name}", found, network.logits(tested, gates[name])
            )

    def _converted(self, network: Network) -> dict[str, bytes]:
        if self._recipe.layout is Layout.SEGMENTS:
            return {
                piece.name: tflite.convert(piece.module, piece.example, name=piece.name) for piece in network.pieces
            }
        example = network.pieces[0].example
        return {
            name: tflite.convert(network.whole(self._captured.gates[name]), example, name=name) for name in self._names
        }

    def _measured(
        self,
        method: Method,
        calibrated: Calibrated,
        files: Mapping[str, bytes],
        *,
        floating: Mapping[str, frozenset[str]],
    ) -> Candidate:
        compiled = self._compiled(files)
        logits, comparisons = self._answers(compiled)
        return Candidate(
            method=method,
            calibrated=calibrated,
            files=files,
            compiled=compiled,
            logits=logits,
            comparisons=comparisons,
            floating=floating,
        )

    def _compiled(self, files: Mapping[str, bytes]) -> Compiled:
        if self._recipe.layout is Layout.SEGMENTS:
            return chained(self._captured, self._recipe, files)
        return whole(self._recipe, files)

    def _answers(self, compiled: Compiled) -> tuple[dict[str, Values], dict[str, Comparison]]:
        captured, request = self._captured, self._captured.request
        logits = logits_of(compiled, request.test_inputs, request.input, captured.gates, captured.network.seeded)
        return logits, {
            name: compare(found, captured.wanted[name], request.test_labels) for name, found in logits.items()
        }
