"""The channel of many devices, step by step: shadowing, rung of the ladder, outage. The same for every batch.

What a device meets at a step depends on the seed, its number, its place and the step, never on which devices are
computed together or in how many steps at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.fading import BLOCK, correlation, gauss_markov
from simulators.cellular.pathloss import check, los_probability
from simulators.cellular.preset import Preset
from simulators.cellular.streams import Floats, Words, keys, normals, uniforms, words


class Draw(IntEnum):
    """What random numbers are for: a stream each."""

    PLACE = 0
    CHANNEL = 1
    EVENTS = 2
    RADIO = 3
    GAP = 4
    TRANSFER = 5


@dataclass(frozen=True, slots=True)
class Fleet:
    """Devices at their places: (devices,) arrays, and a stream of each for every purpose."""

    preset: Preset
    speed_m_s: float
    mean_db: Floats
    sigma_db: Floats
    rho: Floats
    los: NDArray[np.bool_]
    streams: dict[Draw, Words]

    def __len__(self) -> int:
        return len(self.mean_db)

    def rows(self, part: slice) -> Fleet:
        """Some of the devices."""
        streams = {draw: starts[part] for draw, starts in self.streams.items()}
        arrays = (self.mean_db[part], self.sigma_db[part], self.rho[part], self.los[part])
        return Fleet(self.preset, self.speed_m_s, *arrays, streams)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a fleet has got to: the next step, and what was so before the block of steps it lies in."""

    step: int
    shadow_db: Floats
    bad: NDArray[np.bool_]

    @property
    def first(self) -> int:
        """First step of the block."""
        return self.step - self.step % BLOCK

    def rows(self, part: slice) -> Cursor:
        """Of some of the devices."""
        return Cursor(self.step, self.shadow_db[part], self.bad[part])


@dataclass(frozen=True, slots=True)
class Steps:
    """Whole blocks of steps, (devices, steps): draws left over are for those who need them."""

    shadow_db: Floats
    rung: NDArray[np.uint8]
    bad: NDArray[np.bool_]
    spare_normal: Floats
    spare_uniform: Floats


def fleet(
    preset: Preset,
    devices: Sequence[int] | NDArray[np.int64],
    *,
    seed: int = 0,
    distance_m: float | Sequence[float] | None = None,
    speed_m_s: float | None = None,
) -> Fleet:
    """Devices by number; whether one sees the antenna is drawn by the probability of TR 38.901.

    ``distance_m``, for all or each, and ``speed_m_s``: the preset's when None. Raises ValueError for what cannot be.
    """
    numbers = np.asarray(devices, dtype=np.int64)
    if numbers.ndim != 1 or len(numbers) == 0 or bool((numbers < 0).any()):
        raise ValueError("a fleet needs at least one device, each with a number of at least 0")
    site = preset.site
    speed = preset.speed_m_s if speed_m_s is None else speed_m_s
    asked = site.distance_m if distance_m is None else distance_m
    distances = np.broadcast_to(check(site.scenario, asked, site.frequency_ghz), numbers.shape)
    streams = {draw: keys(seed, draw, numbers) for draw in Draw}
    sight = uniforms(words(streams[Draw.PLACE], 0, 1))[0][:, 0]
    los = np.asarray(sight < los_probability(site.scenario, distances))
    columns = np.empty((3, len(numbers)), dtype=np.float32)
    kinds, place = np.unique(np.column_stack([distances, los]), axis=0, return_inverse=True)
    for kind, (distance, seen) in enumerate(kinds):
        sigma_db, table_m = site.shadowing(float(distance), los=bool(seen))
        apart_m = table_m if preset.correlation_m is None else preset.correlation_m
        rho = correlation(speed_m_s=speed, step_s=preset.step_s, distance_m=apart_m)
        values = (site.signal_db(float(distance), los=bool(seen)), sigma_db, rho)
        columns[:, place.reshape(-1) == kind] = np.array(values, dtype=np.float32)[:, None]
    return Fleet(preset, speed, columns[0], columns[1], columns[2], los, streams)


def start(devices: Fleet) -> Cursor:
    """Step 0, everything in its stationary distribution."""
    drawn = words(devices.streams[Draw.PLACE], 1, 2)
    shadow = normals(drawn[:, :1].copy())[0][:, 0] * devices.sigma_db
    bad = uniforms(drawn[:, 1:].copy())[0][:, 0] < np.float32(devices.preset.outages.share)
    return Cursor(0, shadow, np.asarray(bad))


def walk(devices: Fleet, before: Cursor, first: int, steps: int) -> Steps:
    """Whole blocks from step ``first``, at which ``before`` is what was so."""
    innovation, spare_normal = normals(words(devices.streams[Draw.CHANNEL], first, steps))
    innovation *= (devices.sigma_db * np.sqrt(np.float32(1) - devices.rho * devices.rho))[:, None]
    shadow, _ = gauss_markov(innovation, devices.rho, before.shadow_db)
    outage, spare_uniform = uniforms(words(devices.streams[Draw.EVENTS], first, steps))
    bad = devices.preset.outages.run(outage, before.bad)
    rung = devices.preset.ladder.rung(shadow + devices.mean_db[:, None])
    return Steps(shadow, rung, bad, spare_normal, spare_uniform)


def after(cursor: Cursor, done: Steps, first: int, step: int) -> Cursor | None:
    """The cursor at ``step`` if the block it lies in begins within, or right after, what was done from ``first``."""
    begins = step - step % BLOCK
    column = begins - first - 1
    if column == -1:
        return Cursor(step, cursor.shadow_db, cursor.bad)
    if not 0 <= column < done.bad.shape[1]:
        return None
    return Cursor(step, done.shadow_db[:, column].copy(), done.bad[:, column].copy())


def whole_blocks(steps: int) -> int:
    """Steps rounded up to whole blocks."""
    return BLOCK * math.ceil(steps / BLOCK)
