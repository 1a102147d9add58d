"""What is simulated, as one validated value: names of models, sizes, traffic. `network` turns it into arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import simulators.lorawan.eu868
import simulators.lorawan.tr38901
import simulators.lorawan.us915  # noqa: F401  they file themselves in registries
from simulators.lorawan.capture import captures, modulation
from simulators.lorawan.chips import device_radios, gateway_radios
from simulators.lorawan.propagation import Shadowing, Site, path_losses
from simulators.lorawan.region import regions
from tamiyo_runtime.contracts.errors import SchemaError

_MOST_DEVICES = 2**32  # a draw's address has 32 bits for the device


class Pattern(StrEnum):
    """When messages come up: every ``period_s`` from a random phase, or a Poisson process of that mean."""

    PERIODIC = "periodic"
    POISSON = "poisson"


class Fading(StrEnum):
    """What happens to a link from packet to packet."""

    NONE = "none"
    RAYLEIGH = "rayleigh"


class Activation(StrEnum):
    """Personalised devices may send at once; others have to join over the air first."""

    PERSONALISED = "abp"
    JOIN = "otaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Messages of every device. ``jitter_s`` delays a periodic one by up to so much."""

    period_s: float
    payload_bytes: int = 20
    pattern: Pattern = Pattern.PERIODIC
    jitter_s: float = 0.0
    confirmed: bool = False

    def __post_init__(self) -> None:
        _positive("traffic.period_s", self.period_s)
        if not 0 <= self.jitter_s <= self.period_s:
            raise SchemaError("traffic.jitter_s", f"{self.jitter_s} is not in 0 to the period of {self.period_s} s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mac:
    """What the devices' MAC and the network server do. ``attempts`` is for confirmed messages, each waiting
    ``retry_s`` plus or minus ``retry_spread_s`` after the second window opened; after every ``step_down_every`` of
    them the data rate falls by one (0: never). Limits of ADR are those of LoRaWAN 1.0.x."""

    adr: bool = False
    adr_ack_limit: int = 64
    adr_ack_delay: int = 32
    adr_margin_db: float = 10.0
    adr_history: int = 20
    attempts: int = 8
    step_down_every: int = 2
    retry_s: float = 2.0
    retry_spread_s: float = 1.0
    rx1_offset: int = 0
    activation: Activation = Activation.PERSONALISED

    def __post_init__(self) -> None:
        for name in ("adr_ack_limit", "adr_ack_delay", "adr_history", "attempts"):
            if not 1 <= getattr(self, name) < math.inf:
                raise SchemaError(f"mac.{name}", f"{getattr(self, name)} is not 1 or more, or not finite")
        for name in ("adr_margin_db", "retry_s"):
            if not math.isfinite(getattr(self, name)):
                raise SchemaError(f"mac.{name}", f"must be finite, got {getattr(self, name)}")
        if not self.step_down_every >= 0 or not 0 <= self.retry_spread_s <= self.retry_s:
            raise SchemaError("mac", "step_down_every counts from 0, retry_spread_s is at most retry_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Devices spread evenly over a disc of ``radius_m`` round the origin, gateways at ``gateways_m``.

    Models are named as in their registries. ``data_rate`` None gives each device the fastest one that its best gateway
    hears without fading, the slowest where none does. ``site`` None is that of the plan's first channel, with the usual
    heights. ``device_antenna_dbi`` is what LoRaMac-node assumes: 16 dBm EIRP are then 13.85 dBm from the radio.
    """

    devices: int
    duration_s: float
    traffic: Traffic
    seed: int = 0
    gateways_m: tuple[tuple[float, float], ...] = ((0.0, 0.0),)
    radius_m: float = 1000.0
    region: str = "eu868"
    plan: str = "default"
    data_rate: int | None = 0
    power_index: int = 0
    device_radio: str = "sx1276"
    gateway_radio: str = "sx1301"
    path_loss: str = "okumura-hata-suburban"
    capture: str = "goursaud"
    site: Site | None = None
    shadowing: Shadowing = field(default_factory=Shadowing)
    fading: Fading = Fading.NONE
    gateway_antenna_dbi: float = 0.0
    device_antenna_dbi: float = 2.15
    mac: Mac = field(default_factory=Mac)

    def __post_init__(self) -> None:
        if not 1 <= self.devices <= _MOST_DEVICES:
            raise SchemaError("devices", f"{self.devices} devices cannot be", hint=f"1 or more, up to {_MOST_DEVICES}")
        _positive("duration_s", self.duration_s)
        if not self.gateways_m:
            raise SchemaError("gateways_m", "no gateway hears anything", hint="one position (x, y) or more")
        places = [value for place in self.gateways_m for value in place]
        if not all(map(math.isfinite, (*places, self.gateway_antenna_dbi, self.device_antenna_dbi))):
            raise SchemaError("gateways_m", "places and gains of antennas must be finite", hint="metres, and dBi")
        if not (self.radius_m >= 0 and math.isfinite(self.radius_m)):
            raise SchemaError("radius_m", f"{self.radius_m} m is no radius", hint="0 or more")
        for registry, name in (
            (device_radios, self.device_radio),
            (path_losses, self.path_loss),
            (captures, self.capture),
        ):
            registry.get(name)
        region = regions.get(self.region)
        channels = region.plan(self.plan)
        region.eirp_dbm(self.power_index)
        region.rx1_data_rate(min(region.uplink), self.mac.rx1_offset)
        listening = gateway_radios.get(self.gateway_radio)
        lora = sum(1 for channel in channels if channel.data_rates.start == 0)
        if lora > listening.channels:
            raise SchemaError(
                "plan",
                f"{listening.name} listens to {listening.channels} channels, '{self.plan}' of {region.name} has {lora}",
                hint=f"plans: {', '.join(sorted(region.plans))}",
            )
        for data_rate in self.data_rates():
            modulation(region.uplink_rate(data_rate))
            region.check_payload(data_rate, self.traffic.payload_bytes)
            if not any(data_rate in channel.data_rates for channel in channels):
                raise SchemaError(
                    "plan",
                    f"no channel of '{self.plan}' takes DR{data_rate}",
                    hint=f"plans of {region.name}: {', '.join(sorted(region.plans))}",
                )

    def data_rates(self) -> tuple[int, ...]:
        """Uplink data rates that devices may come to use: the fixed one, or all at 125 kHz where they may change.

        With retransmissions that step down or with ADR a payload has to fit all of them from the slowest up.
        """
        region = regions.get(self.region)
        falls = self.mac.adr or (self.traffic.confirmed and self.mac.step_down_every > 0)
        if self.data_rate is not None and not falls:
            return (self.data_rate,)
        narrow = [index for index, rate in region.uplink.items() if rate.bandwidth_hz == 125_000]
        if self.data_rate is None or self.mac.adr:
            return tuple(sorted({*narrow, *(() if self.data_rate is None else (self.data_rate,))}))
        return tuple(sorted({*range(min(self.data_rate, max(narrow))), self.data_rate}))


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise SchemaError(name, f"{value} s is not above 0")
