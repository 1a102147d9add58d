"""Devices of one kind: their link, where they stand, what they do, what an inference costs them, what feeds them."""

from __future__ import annotations

from dataclasses import dataclass, field

from device_profiles.loader import SUFFIX, profile_ids
from simulators.fleet.complaints import at, check_name, doc, unknown
from simulators.fleet.kinds import CellularKind, LoraKind, kind_of
from simulators.fleet.parts import Battery, Placement, Workload
from simulators.lorawan.capture import modulation
from simulators.lorawan.chips import device_radios
from simulators.lorawan.region import regions
from simulators.lorawan.scenario import Activation
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import require, require_finite
from tamiyo_runtime.contracts.errors import SchemaError

ADAPTIVE = "adaptive"
RADIO = "sx1276"
MAX_DEVICES = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices of one kind.

    What an inference costs is said by ``network``, or by ``macs`` and ``params`` on the profile's cost model, or by
    ``latency_ms`` and ``energy_uj`` themselves; by nothing where nothing is inferred.
    """

    name: str = field(metadata=doc("of the group, unlike any other"))
    count: int = field(metadata=doc("devices in it"))
    link: str = field(
        metadata=doc(
            "`lora-eu868`, `lora-us915`, with `-sf7` to `-sf12` for a fixed rate, or a cellular link with its options"
        )
    )
    workload: Workload = field(metadata=doc("what a device does"))
    profile: str = field(default="cortex-m4", metadata=doc("id of a device profile, or a .toml file"))
    data_rate: int | str = field(
        default=ADAPTIVE, metadata=doc("LoRa: a DR number, or `adaptive`: the fastest that the best gateway hears")
    )
    placement: Placement | None = field(
        default=None,
        metadata=doc("LoRa: needed. Cellular: distances are to the antenna at the origin; the preset's if left out"),
    )
    power_index: int = field(default=0, metadata=doc("LoRa: TXPower, 0 the most that the region allows"))
    radio: str = field(default=RADIO, metadata=doc("LoRa: radio of the device"))
    adr: bool = field(default=False, metadata=doc("LoRa: the network adapts data rate and power"))
    activation: Activation = field(
        default=Activation.PERSONALISED, metadata=doc("LoRa: `abp`, or `otaa`: devices join first")
    )
    network: str | None = field(default=None, metadata=doc("a bundle, whose configurations have their costs"))
    macs: int | None = field(default=None, metadata=doc("multiply-accumulates of an inference, int8"))
    params: int | None = field(default=None, metadata=doc("parameters, a byte each; goes with `macs`"))
    latency_ms: float | None = field(default=None, metadata=doc("of one inference"))
    energy_uj: float | None = field(default=None, metadata=doc("of one inference; goes with `latency_ms`"))
    sleep_mw: float | None = field(
        default=None,
        metadata=doc("power of the board between inferences; if left out the profile's `sleep_mw`, else its `idle_mw`"),
    )
    budget: Budget = field(default_factory=Budget, metadata=doc("limits, as a bundle has them"))
    battery: Battery | None = field(default=None, metadata=doc("none: fed from the mains"))

    def __post_init__(self) -> None:
        require(bool(self.name.strip()) and self.name.isprintable(), "name", "must say something")
        require(self.count >= 1, "count", f"{self.count} devices send nothing: 1 or more")
        require(self.count <= MAX_DEVICES, "count", f"{self.count} devices are more than the {MAX_DEVICES} allowed")
        if not self.profile.endswith(SUFFIX) and self.profile not in profile_ids():
            raise unknown("profile", "profile", self.profile, profile_ids())
        self._check_cost()
        kind = kind_of(self.link)
        if isinstance(kind, LoraKind):
            self._check_lora(kind)
        else:
            self._check_cellular(kind)

    @property
    def kind(self) -> LoraKind | CellularKind:
        """What its link is."""
        return kind_of(self.link)

    @property
    def fixed_rate(self) -> int | None:
        """LoRa data rate of all of it; None where each device has its own."""
        kind = self.kind
        if isinstance(kind, LoraKind) and kind.data_rate is not None:
            return kind.data_rate
        return self.data_rate if isinstance(self.data_rate, int) else None

    @property
    def listens(self) -> bool:
        """Whether what it sends depends on answers."""
        return self.adr or self.workload.confirmed or self.activation is Activation.JOIN

    def data_rates(self) -> tuple[int, ...]:
        """LoRa data rates that its devices may come to use."""
        assert isinstance(self.kind, LoraKind)
        region = regions.get(self.kind.region)
        narrow = [index for index, rate in region.uplink.items() if rate.bandwidth_hz == 125_000]
        rate = self.fixed_rate
        if rate is None or self.adr:
            return tuple(sorted({*narrow, *(() if rate is None else (rate,))}))
        if self.workload.confirmed:
            return tuple(sorted({*range(min(rate, max(narrow))), rate}))
        return (rate,)

    def _check_cost(self) -> None:
        for one, other in (("macs", "params"), ("latency_ms", "energy_uj")):
            given = getattr(self, one), getattr(self, other)
            require((given[0] is None) == (given[1] is None), one, f"{one} and {other} go together")
            for name, value in zip((one, other), given, strict=True):
                require_finite(**{name: value})
                require(value is None or value >= 0, name, f"{value} is below 0")
        require_finite(sleep_mw=self.sleep_mw)
        require(self.sleep_mw is None or self.sleep_mw >= 0, "sleep_mw", f"{self.sleep_mw} mW is below 0")
        ways = [name for name in ("network", "macs", "latency_ms") if getattr(self, name) is not None]
        require(len(ways) <= 1, ways[-1] if ways else "network", f"says again what {ways[0] if ways else ''} says")
        infers = self.workload.inference_period_s is not None
        if infers and not ways:
            raise SchemaError(
                "workload.inference_period_s",
                "nothing says what an inference costs",
                hint="give the group a network, or macs and params, or latency_ms and energy_uj",
            )

    def _check_lora(self, kind: LoraKind) -> None:
        region = regions.get(kind.region)
        check_name("radio", device_radios, self.radio)
        if self.placement is None:
            raise SchemaError(
                "placement", "is missing: LoRa devices stand somewhere", hint='as {kind = "disc", radius_m = 2000}'
            )
        if isinstance(self.data_rate, str) and self.data_rate != ADAPTIVE:
            raise SchemaError("data_rate", f"'{self.data_rate}' is no data rate", hint=f"a number, or '{ADAPTIVE}'")
        if isinstance(self.data_rate, int) and kind.data_rate not in (None, self.data_rate):
            raise SchemaError(
                "data_rate", f"is {self.data_rate}, {self.link} is DR{kind.data_rate}", hint="leave it out"
            )
        with at("data_rate"):
            for rate in self.data_rates():
                modulation(region.uplink_rate(rate))
        with at("power_index"):
            region.eirp_dbm(self.power_index)
        for rate in self.data_rates():
            most = region.uplink_rate(rate).max_payload_bytes
            if self.workload.payload_bytes > most:
                raise SchemaError(
                    "workload.payload_bytes",
                    f"{self.workload.payload_bytes} bytes do not fit DR{rate} of {region.name}, which carries {most}",
                    hint=_sizes(kind.region)
                    + ("" if self.fixed_rate == rate else "; a device may come to use each of them"),
                )

    def _check_cellular(self, kind: CellularKind) -> None:
        from simulators.cellular.presets import preset

        only_lora = {
            "adr": self.adr,
            "workload.confirmed": self.workload.confirmed,
            "power_index": self.power_index != 0,
            "radio": self.radio != RADIO,
            "activation": self.activation is not Activation.PERSONALISED,
        }
        for name, given in {**only_lora, "data_rate": self.data_rate != ADAPTIVE}.items():
            require(not given, name, f"is for LoRa: leave it out beside {self.link}")
        if self.placement is not None and "distance_m" in kind.options:
            raise SchemaError("link", "says a distance, and placement says others", hint="leave out one of them")
        most = preset(kind.preset).payload_bytes
        require(
            self.workload.payload_bytes <= most,
            "workload.payload_bytes",
            f"{self.workload.payload_bytes} bytes do not fit a payload of {self.link}, 0 to {most}",
        )


def _sizes(region: str) -> str:
    rates = regions.get(region).uplink.items()
    lora = [(index, rate) for index, rate in rates if rate.spreading_factor is not None]
    return "at most " + ", ".join(f"DR{index} {rate.max_payload_bytes} B" for index, rate in lora)
