"""What goes wrong with a sensor, as functions of a raw sample: for seeing what the monitors notice, and how soon.

Each takes a sample, the input it belongs to and a seeded generator, and gives what a sensor with that fault would have
given; values stay in the sensor's range but where the fault is that they don't. A fault of time, as a frame that is
given again and again, is a property of a stream and not here. Nothing here was measured on a sensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.manifest import InputSpec

Sample = NDArray[np.float32]
Fault = Callable[[Sample, InputSpec, np.random.Generator], Sample]


def _noise(sample: Sample, spec: InputSpec, random: np.random.Generator, *, share: float) -> Sample:
    """Gaussian, its deviation being a share of the sensor's range."""
    added = random.normal(0.0, share * (spec.raw_high - spec.raw_low), sample.shape)
    return _clip(sample + added, spec)


def _inverted(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    return _clip(spec.raw_low + spec.raw_high - sample, spec)


def _flat(sample: Sample, spec: InputSpec, random: np.random.Generator, *, share: float) -> Sample:
    """Every value the same: stuck, dark (0) or saturated (1)."""
    return np.full_like(sample, spec.raw_low + share * (spec.raw_high - spec.raw_low))


def _scaled(sample: Sample, spec: InputSpec, random: np.random.Generator, *, gain: float, offset: float) -> Sample:
    """Contrast and brightness, the latter as a share of the range."""
    span = spec.raw_high - spec.raw_low
    return _clip(spec.raw_low + gain * (sample - spec.raw_low) + offset * span, spec)


def _other_unit(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    """As if 0 to 255 were sent where less is wanted: beyond the range."""
    return (sample * np.float32(255.0 / max(abs(spec.raw_low), abs(spec.raw_high), 1.0))).astype(np.float32)


def _no_number(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    """One value in sixteen is NaN."""
    result = sample.copy()
    result.reshape(-1)[::16] = np.nan
    return result


def _moved(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    """An image that slid by a quarter of its width; what comes in is at the low end."""
    by = max(1, sample.shape[-1] // 4)
    result = np.full_like(sample, spec.raw_low)
    result[..., by:] = sample[..., :-by]
    return result


def _upside_down(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    return np.ascontiguousarray(sample[..., ::-1, ::-1])


def _dead_columns(sample: Sample, spec: InputSpec, random: np.random.Generator) -> Sample:
    """Every fourth column of an image stays at the low end."""
    result = sample.copy()
    result[..., 1::4] = spec.raw_low
    return result


def _clip(values: NDArray[np.floating], spec: InputSpec) -> Sample:
    result: Sample = np.clip(values, spec.raw_low, spec.raw_high).astype(np.float32)
    return result


FAULTS: Mapping[str, Fault] = {
    "no numbers": _no_number,
    "another unit": _other_unit,
    "stuck at half": partial(_flat, share=0.5),
    "dark": partial(_flat, share=0.0),
    "saturated": partial(_flat, share=1.0),
    "inverted contrast": _inverted,
    "half the contrast": partial(_scaled, gain=0.5, offset=0.0),
    "brighter by a quarter": partial(_scaled, gain=1.0, offset=0.25),
    "noise, 25 % of the range": partial(_noise, share=0.25),
    "noise, 10 % of the range": partial(_noise, share=0.1),
    "moved by a quarter": _moved,
    "upside down": _upside_down,
    "every 4th column dead": _dead_columns,
}
"""By name; those that move things about are for images, rows and columns being the last two axes."""
