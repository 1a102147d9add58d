"""A fleet as one validated value: groups of devices, their gateways, what befalls them, for how long.

`reading` makes it from a TOML file whose keys are the fields here and of the values within. Checked when made: each
value for itself, names against their registries, and what one part demands of another. Whether a schedule is legal on
the air is said by `legality`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import numpy as np

from simulators.fleet.complaints import at, doc, unknown
from simulators.fleet.field import Field
from simulators.fleet.group import ADAPTIVE, Group
from simulators.fleet.kinds import LoraKind
from simulators.fleet.parts import Battery, Fault, FaultKind, Gateway, Placement, PlacementKind, Schedule, Workload
from simulators.lorawan.region import SubBand, regions
from simulators.lorawan.streams import Ints
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import SchemaError

__all__ = [
    "ADAPTIVE",
    "Battery",
    "Fault",
    "FaultKind",
    "Field",
    "Gateway",
    "Group",
    "Placement",
    "PlacementKind",
    "Scenario",
    "Schedule",
    "Workload",
]
_MAX_DAYS = 36_525.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fleet for some days. In its file, groups are ``[[devices]]``."""

    name: str = dataclasses.field(metadata=doc("of the scenario"))
    devices: tuple[Group, ...] = dataclasses.field(metadata=doc("groups of devices"))
    days: float = dataclasses.field(default=1.0, metadata=doc("how long; `--days` in its place"))
    seed: int = dataclasses.field(default=0, metadata=doc("everything random follows from it; `--seed` in its place"))
    sample: int = dataclasses.field(
        default=0, metadata=doc("devices of each group that are run in detail, by the real runtime")
    )
    field: Field = dataclasses.field(default_factory=Field, metadata=doc("what LoRa devices share"))
    gateways: tuple[Gateway, ...] = dataclasses.field(
        default=(Gateway(),), metadata=doc("of LoRa; one at the origin if left out")
    )
    faults: tuple[Fault, ...] = dataclasses.field(default=(), metadata=doc("what goes wrong"))
    schedule: Schedule | None = dataclasses.field(
        default=None, metadata=doc("when devices are active; always if left out")
    )

    def __post_init__(self) -> None:
        require(bool(self.name.strip()) and self.name.isprintable(), "name", "must say something")
        require(bool(self.devices), "devices", "no group of devices: write at least one [[devices]]")
        require(0 < self.days <= _MAX_DAYS, "days", f"{self.days} days are not above 0 and at most {_MAX_DAYS:g}")
        require(0 <= self.seed < 1 << 63, "seed", f"{self.seed} is not in 0 to 2^63 - 1")
        require(self.sample >= 0, "sample", f"{self.sample} devices are none: 0 or more")
        for name, times in Counter(group.name for group in self.devices).items():
            if times > 1:
                last = max(number for number, group in enumerate(self.devices) if group.name == name)
                raise SchemaError(
                    f"devices[{last}].name", f"'{name}' is the name of {times} groups", hint="name each its own"
                )
        lora = [(number, group) for number, group in enumerate(self.devices) if isinstance(group.kind, LoraKind)]
        require(not lora or bool(self.gateways), "gateways", "no gateway hears the LoRa devices: write [[gateways]]")
        networks: dict[tuple[SubBand, ...], str] = {}
        for number, group in lora:
            self._check_plan(number, group)
            assert isinstance(group.kind, LoraKind)
            name = group.kind.region
            other = networks.setdefault(regions.get(name).sub_bands, name)
            require(
                other == name,
                f"devices[{number}].link",
                f"{name} and {other} are two networks on one spectrum: put all groups on one of them",
            )
        self._check_faults()

    @property
    def duration_s(self) -> float:
        """How long, in seconds."""
        return self.days * 86_400.0

    @property
    def count(self) -> int:
        """Devices in all."""
        return sum(group.count for group in self.devices)

    def first_of(self, group: int) -> int:
        """Number of a group's first device: groups are numbered through, in the order of the file."""
        return sum(one.count for one in self.devices[:group])

    def numbers_of(self, group: int) -> Ints:
        """Numbers of a group's devices."""
        return self.first_of(group) + np.arange(self.devices[group].count)

    def _check_plan(self, number: int, group: Group) -> None:
        assert isinstance(group.kind, LoraKind)
        with at("field"):
            channels = self.field.channels(group.kind.region)
        rate = group.fixed_rate
        if rate is not None and not any(rate in channel.data_rates for channel in channels):
            legal = sorted({one for channel in channels for one in channel.data_rates})
            raise SchemaError(
                f"devices[{number}].data_rate",
                f"no channel of the plan takes DR{rate}",
                hint=f"legal: {', '.join(f'DR{one}' for one in legal)}, or '{ADAPTIVE}'",
            )

    def _check_faults(self) -> None:
        names = [group.name for group in self.devices]
        for number, fault in enumerate(self.faults):
            if fault.devices is not None and fault.devices not in names:
                raise unknown(f"faults[{number}].devices", "group", fault.devices, names)
            if fault.kind is FaultKind.GATEWAY_DOWN:
                require(
                    0 <= (fault.gateway or 0) < len(self.gateways),
                    f"faults[{number}].gateway",
                    f"there is no gateway {fault.gateway}: 0 to {len(self.gateways) - 1}",
                )
