"""Path loss, line-of-sight probability and shadowing of 3GPP TR 38.901 (V16), tables 7.4.1-1, 7.4.2-1 and 7.5-6.

Scenarios: UMi (street canyon, antenna at 10 m), UMa (25 m), RMa (35 m), all for a device outdoors at 1.5 m, 0.5 to
100 GHz (RMa up to 30), average buildings of 5 m and streets of 20 m for RMa. ``d`` is the horizontal distance, d3 the
slant one, f in GHz, d_bp the break point.

    UMa LOS    28.0 + 22 lg d3 + 20 lg f; beyond d_bp 28.0 + 40 lg d3 + 20 lg f - 9 lg(d_bp^2 + dh^2)
    UMi LOS    32.4 + 21 lg d3 + 20 lg f; beyond d_bp 32.4 + 40 lg d3 + 20 lg f - 9.5 lg(d_bp^2 + dh^2)
    UMa NLOS   at least LOS: 13.54 + 39.08 lg d3 + 20 lg f
    UMi NLOS   at least LOS: 22.4 + 35.3 lg d3 + 21.3 lg f

Walls are a constant that a preset adds. No fast fading, no blockage, no height but 1.5 m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

LIGHT_M_S = 3.0e8
"""As the report rounds it: break points depend on it."""
DEVICE_M = 1.5
_ENVIRONMENT_M = 1.0  # effective height of UMi and UMa, below a device of 13 m
_BUILDING_M = 5.0
_STREET_M = 20.0


class Scenario(StrEnum):
    """Where the device is."""

    UMI = "umi"
    UMA = "uma"
    RMA = "rma"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    antenna_m: float
    largest_m: float
    highest_ghz: float
    sigma_los_db: float
    sigma_nlos_db: float
    correlation_los_m: float
    correlation_nlos_m: float


_SITES = {
    Scenario.UMI: _Site(
        antenna_m=10.0,
        largest_m=5_000.0,
        highest_ghz=100.0,
        sigma_los_db=4.0,
        sigma_nlos_db=7.82,
        correlation_los_m=10.0,
        correlation_nlos_m=13.0,
    ),
    Scenario.UMA: _Site(
        antenna_m=25.0,
        largest_m=5_000.0,
        highest_ghz=100.0,
        sigma_los_db=4.0,
        sigma_nlos_db=6.0,
        correlation_los_m=37.0,
        correlation_nlos_m=50.0,
    ),
    Scenario.RMA: _Site(
        antenna_m=35.0,
        largest_m=10_000.0,
        highest_ghz=30.0,
        sigma_los_db=4.0,
        sigma_nlos_db=8.0,
        correlation_los_m=37.0,
        correlation_nlos_m=120.0,
    ),
}
_RMA_LARGEST_NLOS_M = 5_000.0
_RMA_SIGMA_FAR_DB = 6.0  # line of sight beyond the break point


def scenario(name: str) -> Scenario:
    """A scenario by name; raises ValueError with the legal ones."""
    try:
        return Scenario(name.lower())
    except ValueError:
        raise ValueError(f"unknown scenario '{name}'; there are {', '.join(Scenario)}") from None


def check(
    where: Scenario, distance_m: ArrayLike, frequency_ghz: float, *, los: bool | None = None
) -> NDArray[np.float64]:
    """The distances as an array; raises ValueError outside the report's range, without line of sight 5 km in RMa.

    ``los`` None: nobody knows yet, and the wider range counts.
    """
    site = _SITES[where]
    blocked = where is Scenario.RMA and los is False
    largest_m = _RMA_LARGEST_NLOS_M if blocked else site.largest_m
    distances = np.asarray(distance_m, dtype=np.float64)
    within = (distances >= 10.0) & (distances <= largest_m)
    if not bool(np.all(within)):
        outside = float(distances[~within].flat[0])
        raise ValueError(
            f"distance {outside:g} m is not in 10..{largest_m:g} m, the range of {where}"
            + " without line of sight" * blocked
        )
    if not 0.5 <= frequency_ghz <= site.highest_ghz:
        raise ValueError(f"frequency {frequency_ghz} GHz is not in 0.5..{site.highest_ghz:g} GHz, the range of {where}")
    return distances


def breakpoint_m(where: Scenario, frequency_ghz: float) -> float:
    """Where the slope of line of sight steepens."""
    antenna_m = _SITES[where].antenna_m
    if where is Scenario.RMA:
        return 2 * math.pi * antenna_m * DEVICE_M * frequency_ghz * 1e9 / LIGHT_M_S
    return 4 * (antenna_m - _ENVIRONMENT_M) * (DEVICE_M - _ENVIRONMENT_M) * frequency_ghz * 1e9 / LIGHT_M_S


def path_loss_db(where: Scenario, distance_m: ArrayLike, frequency_ghz: float, *, los: bool) -> NDArray[np.float64]:
    """Mean path loss at horizontal distances, any shape; raises ValueError outside the report's range."""
    distances = check(where, distance_m, frequency_ghz, los=los)
    slant = np.hypot(distances, _SITES[where].antenna_m - DEVICE_M)
    sight = _los_db(where, distances, slant, frequency_ghz)
    if los:
        return sight
    lg, lg_f = np.log10(slant), math.log10(frequency_ghz)
    if where is Scenario.UMA:
        other = 13.54 + 39.08 * lg + 20 * lg_f
    elif where is Scenario.UMI:
        other = 22.4 + 35.3 * lg + 21.3 * lg_f
    else:
        lg_antenna = math.log10(_SITES[where].antenna_m)
        other = (
            161.04
            - 7.1 * math.log10(_STREET_M)
            + 7.5 * math.log10(_BUILDING_M)
            - (24.37 - 3.7 * (_BUILDING_M / _SITES[where].antenna_m) ** 2) * lg_antenna
            + (43.42 - 3.1 * lg_antenna) * (lg - 3)
            + 20 * lg_f
            - (3.2 * math.log10(11.75 * DEVICE_M) ** 2 - 4.97)
        )
    return np.asarray(np.maximum(sight, other))


def los_probability(where: Scenario, distance_m: ArrayLike) -> NDArray[np.float64]:
    """Share of devices at a horizontal distance that see the antenna; raises ValueError for a negative distance."""
    distances = np.asarray(distance_m, dtype=np.float64)
    if not bool(np.all(distances >= 0)):
        raise ValueError(f"distance {distances.min():g} m is not at least 0")
    if where is Scenario.RMA:
        return np.asarray(np.where(distances <= 10, 1.0, np.exp(-(distances - 10) / 1000)))
    far = np.maximum(distances, 18.0)
    decay = np.exp(-far / (63.0 if where is Scenario.UMA else 36.0))
    return np.asarray(18 / far + decay * (1 - 18 / far))


def shadowing(where: Scenario, distance_m: float, frequency_ghz: float, *, los: bool) -> tuple[float, float]:
    """Standard deviation in dB of the log-normal shadowing, and the distance in m over which it decorrelates to 1/e."""
    check(where, distance_m, frequency_ghz, los=los)
    site = _SITES[where]
    if not los:
        return site.sigma_nlos_db, site.correlation_nlos_m
    far = where is Scenario.RMA and distance_m > breakpoint_m(where, frequency_ghz)
    return (_RMA_SIGMA_FAR_DB if far else site.sigma_los_db), site.correlation_los_m


def _los_db(
    where: Scenario, distances: NDArray[np.float64], slant: NDArray[np.float64], frequency_ghz: float
) -> NDArray[np.float64]:
    turn_m = breakpoint_m(where, frequency_ghz)
    if where is Scenario.RMA:
        near = _rma_near_db(np.where(distances <= turn_m, slant, turn_m), frequency_ghz)
        return np.asarray(near + np.where(distances <= turn_m, 0.0, 40 * np.log10(slant / turn_m)))
    height_m = _SITES[where].antenna_m - DEVICE_M
    first, slope, turned = (28.0, 22.0, 9.0) if where is Scenario.UMA else (32.4, 21.0, 9.5)
    lg, rest = np.log10(slant), first + 20 * math.log10(frequency_ghz)
    far = 40 * lg - turned * math.log10(turn_m**2 + height_m**2)
    return np.asarray(rest + np.where(distances <= turn_m, slope * lg, far))


def _rma_near_db(slant: NDArray[np.float64], frequency_ghz: float) -> NDArray[np.float64]:
    grown = _BUILDING_M**1.72
    return np.asarray(
        20 * np.log10(40 * math.pi * slant * frequency_ghz / 3)
        + min(0.03 * grown, 10) * np.log10(slant)
        - min(0.044 * grown, 14.77)
        + 0.002 * math.log10(_BUILDING_M) * slant
    )
