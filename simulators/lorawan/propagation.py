"""Path loss by name, and log-normal shadowing of each link.

A model maps distance to loss in dB at a `Site`. Below a metre the loss is that at a metre: no formula here reaches
into an antenna. Okumura-Hata was fitted at 1 to 20 km, 150 to 1500 MHz, gateways 30 to 200 m high; nearer it is
extrapolated, and never below free space, which the straight lines would fall short of: of the rural one, by 9 dB at
100 m. Another model is a function filed with `path_losses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulators.lorawan.streams import Floats, Ints, Purpose, normals
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.contracts.registry import Registry

_NEAREST_M = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Frequency and heights of antennas above ground."""

    frequency_hz: float = 868e6
    gateway_height_m: float = 30.0
    device_height_m: float = 1.5

    def __post_init__(self) -> None:
        for name in ("frequency_hz", "gateway_height_m", "device_height_m"):
            if not 0 < getattr(self, name) < math.inf:
                raise SchemaError(name, f"{getattr(self, name)} is not above 0, or not finite")


PathLoss = Callable[[Floats, Site], Floats]
"""Distance in metres to loss in dB, of the same shape."""

path_losses: Registry[PathLoss] = Registry("path-losses", noun="path-loss model")


def loss_db(model: PathLoss, distance_m: Floats, site: Site) -> Floats:
    """Loss over each distance; raises InputError for one that is negative or not a number."""
    distances = np.asarray(distance_m, dtype=np.float64)
    if not (distances >= 0).all():
        worst = distances[~(distances >= 0)].flat[0]
        raise InputError(f"a link cannot be {worst:g} m long", hint="give distances from 0 m up")
    return model(np.maximum(distances, _NEAREST_M), site)


def log_distance(*, reference_m: float, reference_db: float, exponent: float) -> PathLoss:
    """Loss that grows by ``10 exponent`` dB a decade from a reference."""
    if not (reference_m > 0 and exponent > 0):
        raise InputError(f"reference {reference_m} m and exponent {exponent} must be above 0")

    def model(distance_m: Floats, site: Site) -> Floats:
        return reference_db + 10.0 * exponent * np.log10(distance_m / reference_m)

    return model


@path_losses.register("free-space")
def free_space(distance_m: Floats, site: Site) -> Floats:
    """Friis: 20 log10(4 pi d f / c)."""
    return 20.0 * np.log10(4.0 * math.pi * distance_m * site.frequency_hz / 299_792_458.0)


def _hata(distance_m: Floats, site: Site, less_db: float) -> Floats:
    """Hata (1980), small and medium cities, less what another surrounding takes from it."""
    log_f = math.log10(site.frequency_hz / 1e6)
    log_hb = math.log10(site.gateway_height_m)
    antenna_db = (1.1 * log_f - 0.7) * site.device_height_m - (1.56 * log_f - 0.8)
    at_1_km_db = 69.55 + 26.16 * log_f - 13.82 * log_hb - antenna_db - less_db
    return np.maximum(at_1_km_db + (44.9 - 6.55 * log_hb) * np.log10(distance_m / 1000.0), free_space(distance_m, site))


@path_losses.register("okumura-hata-urban")
def hata_urban(distance_m: Floats, site: Site) -> Floats:
    """Hata (1980), small and medium cities."""
    return _hata(distance_m, site, 0.0)


@path_losses.register("okumura-hata-suburban")
def hata_suburban(distance_m: Floats, site: Site) -> Floats:
    """Urban less 2 (log10 f/28)^2 + 5.4."""
    return _hata(distance_m, site, 2.0 * math.log10(site.frequency_hz / 28e6) ** 2 + 5.4)


@path_losses.register("okumura-hata-rural")
def hata_rural(distance_m: Floats, site: Site) -> Floats:
    """Urban less 4.78 (log10 f)^2 - 18.33 log10 f + 40.94: open country."""
    log_f = math.log10(site.frequency_hz / 1e6)
    return _hata(distance_m, site, 4.78 * log_f**2 - 18.33 * log_f + 40.94)


# Bor et al., MSWiM'16, as LoRaSim 0.2.1 has it: measured in a built-up place, indoors. Never a default outdoors.
path_losses.register("lorasim-indoor")(log_distance(reference_m=40.0, reference_db=127.41, exponent=2.08))
# Petäjäjärvi et al., Oulu, on land, as FLoRa has it: 128.95 + 23.2 log10(d / km), sigma 7.8 dB
path_losses.register("oulu")(log_distance(reference_m=1000.0, reference_db=128.95, exponent=2.32))
# ns-3 lorawan's examples: 7.7 + 37.6 log10(d / m)
path_losses.register("ns3-lorawan")(log_distance(reference_m=1.0, reference_db=7.7, exponent=3.76))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadowing:
    """Log-normal shadowing, fixed for each link. ``correlation`` is that between the links of one
    device to several gateways: what stands around the device stands in all its ways (0.5 is the usual figure)."""

    sigma_db: float = 0.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_db < math.inf:
            raise SchemaError("sigma_db", f"{self.sigma_db} is not 0 or more, or not finite")
        if not 0 <= self.correlation <= 1:
            raise SchemaError("correlation", f"{self.correlation} is not in 0 to 1")

    def draw_db(self, *, seed: int, devices: int, gateways: int) -> Floats:
        """(gateways, devices) deviations in dB of the first so many devices."""
        return self.of(np.arange(devices), seed=seed, gateways=gateways)

    def of(self, numbers: Ints, *, seed: int, gateways: int) -> Floats:
        """(gateways, devices) deviations in dB; a link keeps its own whatever links there are besides."""
        if self.sigma_db == 0:
            return np.zeros((gateways, numbers.size))
        common = normals(seed, Purpose.SHADOW_DEVICE, numbers, 0)
        own = np.stack([normals(seed, Purpose.SHADOW_LINK, numbers, 0, salt=gateway) for gateway in range(gateways)])
        mixed: Floats = math.sqrt(self.correlation) * common + math.sqrt(1.0 - self.correlation) * own
        return self.sigma_db * mixed
