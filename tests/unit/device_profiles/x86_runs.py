"""The runs that the x86-64 profile was calibrated with, and those among them that were kept out of the fit."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path

from device_profiles.calibrate import split
from device_profiles.cost import estimate
from device_profiles.loader import load_profile
from device_profiles.measured import Sample, samples_of
from tamiyo_runtime.contracts.cost import Estimate
from tamiyo_runtime.contracts.runs import Runs

FILE = Path(__file__).parents[2] / "data" / "x86_64_runs.json.gz"
AGAINST = load_profile("x86-64").validation[-1].against


@functools.cache
def runs() -> Runs:
    """The file of runs, as `tamiyo measure` wrote it."""
    return Runs.from_json(gzip.decompress(FILE.read_bytes()), path=FILE.name)


@functools.cache
def held_out() -> tuple[Sample, ...]:
    """The graphs that the fit did not see."""
    samples, _ = samples_of({FILE.name: runs()}, needed=())
    return tuple(sample for sample, out in zip(samples, split(samples, seed=0), strict=True) if out)


def latency_ms(sample: Sample) -> Estimate:
    """What the profile as committed says of a graph."""
    return estimate(load_profile("x86-64"), [sample.ops], precision=sample.precision).latency_ms


def errors() -> list[float]:
    """estimated / measured - 1 of the graphs kept out."""
    return [latency_ms(sample).value * 1e3 / sample.p50_us - 1 for sample in held_out()]
