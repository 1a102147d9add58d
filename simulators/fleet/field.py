"""What all LoRa devices of a fleet share: the plan of channels, propagation, reception."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.fleet.complaints import check_name, doc
from simulators.lorawan.capture import captures
from simulators.lorawan.chips import gateway_radios
from simulators.lorawan.propagation import path_losses
from simulators.lorawan.region import Channel, regions
from simulators.lorawan.scenario import Fading
from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import SchemaError

_MOST_DBI = 60.0
_HIGHEST_M = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """What all LoRa devices share: the plan of channels, propagation, reception."""

    plan: str | None = field(
        default=None,
        metadata=doc("channel plan of the region: `default` or `ttn`, `fsb2`; the region's first if left out"),
    )
    path_loss: str = field(default="okumura-hata-suburban", metadata=doc("model of docs/lorawan.md"))
    shadowing_db: float = field(default=0.0, metadata=doc("standard deviation, fixed for each link"))
    shadowing_correlation: float = field(
        default=0.0, metadata=doc("between the links of one device to several gateways, 0 to 1")
    )
    fading: Fading = field(default=Fading.NONE, metadata=doc("`none`, or `rayleigh` from packet to packet"))
    capture: str = field(default="goursaud", metadata=doc("who survives whom, a name of docs/lorawan.md"))
    gateway_radio: str = field(default="sx1301", metadata=doc("`sx1301` or `sx1302`"))
    gateway_height_m: float = field(default=30.0, metadata=doc("of the antenna above ground"))
    device_height_m: float = field(default=1.5, metadata=doc("of the antenna above ground"))
    gateway_antenna_dbi: float = field(default=0.0, metadata=doc("gain of a gateway's antenna"))
    device_antenna_dbi: float = field(default=2.15, metadata=doc("gain of a device's antenna"))

    def __post_init__(self) -> None:
        check_name("path_loss", path_losses, self.path_loss)
        check_name("capture", captures, self.capture)
        check_name("gateway_radio", gateway_radios, self.gateway_radio)
        for name in ("gateway_antenna_dbi", "device_antenna_dbi", "shadowing_db"):
            require_finite(**{name: getattr(self, name)})
        for name in ("gateway_antenna_dbi", "device_antenna_dbi"):
            gain = getattr(self, name)
            require(abs(gain) <= _MOST_DBI, name, f"{gain:g} dBi is no antenna: up to {_MOST_DBI:g} either way")
        require(0 <= self.shadowing_db <= 40, "shadowing_db", f"{self.shadowing_db:g} dB is no shadow: 0 to 40")
        share = self.shadowing_correlation
        require(0 <= share <= 1, "shadowing_correlation", f"{share} is not in 0 to 1")
        for name in ("gateway_height_m", "device_height_m"):
            value = getattr(self, name)
            require(0 < value <= _HIGHEST_M, name, f"{value:g} m is no height: above 0, {_HIGHEST_M:g} at most")

    def channels(self, region: str) -> tuple[Channel, ...]:
        """Uplink channels in a region: the plan's, or those of its first; raises SchemaError at ``plan``."""
        plans = regions.get(region).plans
        name = self.plan or next(iter(plans))
        if name not in plans:
            raise SchemaError("plan", f"{region} has no channel plan '{name}'", hint=f"plans: {', '.join(plans)}")
        channels = plans[name]
        radio = gateway_radios.get(self.gateway_radio)
        narrow = sum(1 for channel in channels if channel.data_rates.start == 0)
        if narrow > radio.channels:
            raise SchemaError(
                "plan",
                f"{radio.name} listens to {radio.channels} channels, '{name}' of {region} has {narrow}",
                hint=f"plans: {', '.join(plans)}",
            )
        return channels
