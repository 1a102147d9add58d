"""Checks an export request before any work is done on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.request import ExportRequest
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_CALIBRATION = 16
MIN_TEST = 16
QUANTISE = ("auto", "ptq", "mixed", "qat")
MAX_SEEDS = 6  # every subset is a configuration that is measured: 64 of them


def check_request(request: ExportRequest) -> None:
    """Raise InputError for the first thing in the request that cannot be exported."""
    if not request.name or not all(c.isalnum() or c in "-_." for c in request.name):
        raise InputError(f"the name {request.name!r} is not one of letters, digits, '-', '_' and '.'")
    if len(request.classes) < 2:
        raise InputError(f"{len(request.classes)} classes", hint="a classifier has at least two")
    if not request.trunk:
        raise InputError("the network has no trunk", hint="trunk holds one piece more than there are slots")
    slots = [seed.slot for seed in request.seeds]
    if slots != sorted(set(slots)) or any(not 0 <= slot < request.slots for slot in slots):
        raise InputError(
            f"seeds in slots {slots} of a network with {request.slots} slots",
            hint="list the seeds in slot order, one a slot",
        )
    if len(slots) > MAX_SEEDS:
        raise InputError(
            f"{len(slots)} seeds make {2 ** len(slots)} configurations, at most {2**MAX_SEEDS} are measured",
            hint="fold the seeds that never leave into the trunk",
        )
    if request.accuracy_floor is not None and not 0 <= request.accuracy_floor <= 1:
        raise InputError(f"accuracy floor {request.accuracy_floor} is not in [0, 1]", hint="0.95 stands for 95 %")
    if request.quantise not in QUANTISE:
        raise UnknownNameError("way to quantise", request.quantise, QUANTISE)
    _check_samples("calibration", request.calibration, request, MIN_CALIBRATION)
    _check_varied(request.calibration)
    _check_samples("test_inputs", request.test_inputs, request, MIN_TEST)
    _check_labels(request)
    if request.policy is not None:
        samples = request.policy.samples
        if samples.ndim != 2 or len(samples) == 0 or not np.isfinite(samples).all():
            raise InputError(f"policy samples of shape {list(samples.shape)}: want finite (N, observation), N > 0")


def _check_samples(what: str, samples: NDArray[Any], request: ExportRequest, least: int) -> None:
    if samples.shape[1:] != request.input.shape:
        raise InputError(
            f"{what}: samples of shape {list(samples.shape[1:])}, the input is {list(request.input.shape)}",
            hint="samples are raw, (N, *input.shape)",
        )
    if len(samples) < least:
        raise InputError(f"{what}: {len(samples)} samples, at least {least} are needed")
    if not np.isfinite(samples).all():
        row = int(np.argwhere(~np.isfinite(samples).reshape(len(samples), -1).all(axis=1))[0, 0])
        raise InputError(f"{what}: sample {row} holds a NaN or an infinity", hint="clean the data before exporting")
    low, high = float(samples.min()), float(samples.max())
    if low < request.input.raw_low or high > request.input.raw_high:
        raise InputError(
            f"{what}: values in [{low:g}, {high:g}], the input says [{request.input.raw_low:g}, "
            f"{request.input.raw_high:g}]",
            hint="samples are raw, before scaling",
        )


def _check_varied(samples: NDArray[Any]) -> None:
    """Ranges come from what varies: samples that are all alike, or nearly all, say nothing of real ones.

    A feature that never changes, such as a corner of an image, is no fault.
    """
    low, high = float(samples.min()), float(samples.max())
    if math.isclose(low, high):
        raise InputError(f"calibration: every value is {low:g}", hint="calibration samples must be like real ones")
    distinct = len(np.unique(samples.reshape(len(samples), -1), axis=0))
    if distinct < MIN_CALIBRATION:
        raise InputError(
            f"calibration: {len(samples)} samples, but only {distinct} different ones; at least {MIN_CALIBRATION} are "
            "needed",
            hint="calibration samples must be like real ones, not one of them repeated",
        )


def _check_labels(request: ExportRequest) -> None:
    labels, count = request.test_labels, len(request.classes)
    if labels.shape != (len(request.test_inputs),):
        raise InputError(f"test_labels: shape {list(labels.shape)} for {len(request.test_inputs)} samples")
    if labels.min() < 0 or labels.max() >= count:
        raise InputError(f"test_labels: classes {labels.min()}..{labels.max()}, the network has 0..{count - 1}")
