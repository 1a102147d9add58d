"""Step 4: int8 graphs with ranges from calibration, equal at every seam, and what that does to the accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends import quantiser
from exporters.backends.flatbuffer import INPUT, OUTPUT, read_model
from exporters.backends.ranges import settle
from exporters.backends.tflite import channels_last_array
from exporters.compiled import Compiled
from exporters.evaluate import Comparison, compare, logits_of
from exporters.network import Network, scaled
from exporters.steps.capture import Captured
from exporters.steps.floats import Floats, chained, whole
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.targets import Target, VariantRecipe
from tamiyo_runtime.contracts.errors import AccuracyFloorError, TamiyoError
from tamiyo_runtime.contracts.plan import Layout, Precision, Seam, SegmentKind
from tamiyo_runtime.contracts.units import percent

if TYPE_CHECKING:
    from numpy.typing import NDArray

GATE_SEED = 20260101  # of the random gates during calibration: the same bundle from the same request
MAX_SAMPLES = 512
FLOOR_MARGIN = 0.02  # the default floor lies this far below the network's accuracy in torch
_POOR_SQNR_DB = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantised:
    """All variants in the target's order, their answers on the test set, how these compare, and the seams' ranges."""

    compiled: tuple[Compiled, ...]
    logits: Mapping[str, Mapping[str, NDArray[np.float32]]]
    comparisons: Mapping[str, Mapping[str, Comparison]]
    seams: tuple[Seam, ...]
    floor: float
    calibration: Mapping[str, object]


def run(captured: Captured, target: Target, floats: Floats) -> tuple[Quantised, Outcome]:
    """Quantise what the target wants in int8 and measure every configuration of every variant.

    Raises AccuracyFloorError when the full network of a variant falls below the floor.
    """
    request, network = captured.request, captured.network
    samples = request.calibration[:MAX_SAMPLES]
    real = scaled(request, samples)
    seams = _seams(network, network.traffic(real, seed=GATE_SEED))
    compiled: list[Compiled] = []
    logits = dict(floats.logits)
    for recipe in target.variants:
        if recipe.precision is Precision.FLOAT32:
            compiled.append(next(item for item in floats.compiled if item.recipe.id == recipe.id))
            continue
        if recipe.layout is Layout.SEGMENTS:
            variant, seams = _segments(captured, recipe, floats.segments, real)
        else:
            variant = _wholes(recipe, floats.wholes, real)
        compiled.append(variant)
        logits[recipe.id] = logits_of(variant, request.test_inputs, request.input, captured.gates, network.seeded)
    comparisons = {
        variant: {name: compare(found, captured.wanted[name], request.test_labels) for name, found in answers.items()}
        for variant, answers in logits.items()
    }
    full = network.full.id
    floor = request.accuracy_floor
    floor = max(0.0, captured.accuracy[full] - FLOOR_MARGIN) if floor is None else floor
    quantised = Quantised(
        compiled=tuple(compiled),
        logits=logits,
        comparisons=comparisons,
        seams=seams,
        floor=floor,
        calibration={"samples": len(samples), "sha256": hashlib.sha256(samples.tobytes()).hexdigest()},
    )
    _check_floor(quantised, full)
    return quantised, _outcome(quantised, full, len(samples))


def _segments(
    captured: Captured, recipe: VariantRecipe, files: Mapping[str, bytes], real: NDArray[np.float32]
) -> tuple[Compiled, tuple[Seam, ...]]:
    """One int8 graph a piece; every tensor at a seam is given one range, and that is checked afterwards."""
    network = captured.network
    entering = network.traffic(real, seed=GATE_SEED)
    ranges = {
        piece.name: quantiser.measure(files[piece.name], channels_last_array(entering[piece.name]), name=piece.name)
        for piece in network.pieces
    }
    ends = _seam_ends(network)
    models = {name: read_model(data) for name, data in files.items()}
    shared = settle(models, ranges, ends.values())
    int8 = {
        name: quantiser.quantise(data, shared[name], per_tensor_dense=recipe.per_tensor_dense, name=name)
        for name, data in files.items()
    }
    for slot, seam in ends.items():
        _check_equal(int8, seam, f"slot {slot}")
    seams = []
    for piece in network.seeds:
        assert piece.slot is not None
        low, high = shared[piece.name][INPUT]
        seams.append(Seam(slot=piece.slot, shape=piece.shape, low=low, high=high))
    return chained(captured, recipe, int8), tuple(seams)


def _seam_ends(network: Network) -> dict[int, tuple[tuple[str, str], ...]]:
    """The graph tensors at each seeded slot: a seed stands between the trunk pieces before and after it."""
    found = {}
    for before, seed, after in zip(network.pieces, network.pieces[1:], network.pieces[2:], strict=False):
        if seed.kind is SegmentKind.SEED:
            assert seed.slot is not None
            found[seed.slot] = quantiser.seam_tensors(before.name, seed.name, after.name)
    return found


def _wholes(recipe: VariantRecipe, files: Mapping[str, bytes], real: NDArray[np.float32]) -> Compiled:
    """One int8 graph a configuration; all take and answer in one quantisation, so that a runtime can switch freely."""
    ranges = {name: quantiser.measure(data, channels_last_array(real), name=name) for name, data in files.items()}
    models = {name: read_model(data) for name, data in files.items()}
    ends = [[(name, end) for name in files] for end in (INPUT, OUTPUT)]
    shared = settle(models, ranges, ends)
    int8 = {
        name: quantiser.quantise(data, shared[name], per_tensor_dense=recipe.per_tensor_dense, name=name)
        for name, data in files.items()
    }
    for end in ends:
        _check_equal(int8, end, "the ends of the configurations")
    return whole(recipe, int8)


def _check_equal(int8: Mapping[str, bytes], tensors: Sequence[tuple[str, str]], where: str) -> None:
    problem = quantiser.seam_mismatch(int8, tensors)
    if problem is not None:
        raise TamiyoError(f"the quantisation differs at {where}: {problem}", hint="please report this")


def _seams(network: Network, entering: Mapping[str, NDArray[np.float32]]) -> tuple[Seam, ...]:
    """Ranges at the slots as torch computes them; what a whole-network int8 graph sees, though not forced there."""
    following = {piece.name: after.name for piece, after in zip(network.pieces, network.pieces[1:], strict=False)}
    seams = []
    for piece in network.seeds:
        assert piece.slot is not None
        values = (entering[piece.name], entering[following[piece.name]])
        low, high = min(float(v.min()) for v in values), max(float(v.max()) for v in values)
        seams.append(Seam(slot=piece.slot, shape=piece.shape, low=low, high=high))
    return tuple(seams)


def _check_floor(quantised: Quantised, full: str) -> None:
    for variant, found in quantised.comparisons.items():
        if found[full].accuracy < quantised.floor:
            raise AccuracyFloorError(
                f"{variant}: {percent(found[full].accuracy)} on the test set with all seeds, below the floor of "
                f"{percent(quantised.floor)}; torch has {percent(found[full].torch_accuracy)}",
                hint="calibrate on more samples, train with the quant-adapter, or lower --accuracy-floor",
            )


def _outcome(quantised: Quantised, full: str, samples: int) -> Outcome:
    int8 = [item.recipe.id for item in quantised.compiled if item.recipe.precision is Precision.INT8]
    if not int8:
        return skip("the target has no int8 variant")
    found = quantised.comparisons[int8[0]]
    whole_net = found[full]
    text = (
        f"{samples} samples, accuracy {percent(whole_net.torch_accuracy)} -> {percent(whole_net.accuracy)} "
        f"(floor {percent(quantised.floor)})"
    )
    noisy = [item.sqnr_db for item in found.values() if item.sqnr_db is not None]
    if noisy:
        text += f", SQNR {min(noisy):.1f} dB or better"
    lines = [
        f"{name}: {percent(item.torch_accuracy)} -> {percent(item.accuracy)}, agreement {percent(item.agreement)}"
        + (f", SQNR {item.sqnr_db:.1f} dB" if item.sqnr_db is not None else "")
        for name, item in found.items()
    ]
    worse = [name for name, item in found.items() if item.accuracy < item.torch_accuracy - FLOOR_MARGIN]
    if worse:
        return warn(f"{text}; more than 2 points lost by {', '.join(worse)}", *lines)
    if noisy and min(noisy) < _POOR_SQNR_DB:
        return warn(f"{text}; that is noisy", *lines)
    return ok(text, *lines)
