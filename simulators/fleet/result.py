"""What a run leaves, as columns: a row a device, a row a group and hour, a row a gateway. All of it is simulated.

Unit and meaning of each column are in its field's metadata, from which the tables of docs/fleet.md are made, and the
header of ``devices.parquet``. A figure that does not exist is NaN in a column of floats and -1 in one of integers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulators.fleet.scenario import Scenario
from tamiyo_runtime.contracts.cost import Estimate

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Fate(IntEnum):
    """What became of a transmission, nearest to success first: of several gateways the lowest counts.

    The first five and TOO_WEAK are those of LoRa's reception. GATEWAY_DOWN: only gateways that were down would have
    heard it. LOST: a cellular block failed at every try. NO_COVERAGE: a cellular device out of reach.
    """

    RECEIVED = 0
    COLLIDED = 1
    NO_PATH = 2
    GATEWAY_SENDING = 3
    GATEWAY_DOWN = 4
    TOO_WEAK = 5
    LOST = 6
    NO_COVERAGE = 7

    @property
    def label(self) -> str:
        """For people: ``no path``."""
        return self.name.lower().replace("_", " ")


def column(unit: str, meaning: str) -> dict[str, str]:
    """Metadata of a column: its unit (empty for counts, names and shares) and meaning."""
    return {"unit": unit, "meaning": meaning}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of one length; base of the tables below."""

    def columns(self) -> Iterator[tuple[str, NDArray[Any], str, str]]:
        """Name, values, unit and meaning of each column."""
        for one in dataclasses.fields(self):
            yield one.name, getattr(self, one.name), one.metadata["unit"], one.metadata["meaning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices(Table):
    """A row a device, groups one after the other: (devices,) each."""

    group: Ints = field(metadata=column("", "number of its group in the scenario"))
    x_m: Floats = field(metadata=column("m", "east of the origin; NaN without a place"))
    y_m: Floats = field(metadata=column("m", "north of the origin; NaN without a place"))
    gateway: Ints = field(metadata=column("", "gateway that hears it best; -1 on cellular links"))
    distance_m: Floats = field(metadata=column("m", "to that gateway, or to the cellular antenna"))
    signal_db: Floats = field(
        metadata=column("dB", "strongest RSSI in dBm without fading; cellular: mean SINR, or minus the coupling loss")
    )
    data_rate: Ints = field(metadata=column("", "LoRa data rate, at the end where it adapts; -1 on cellular links"))
    messages: Ints = field(metadata=column("", "messages sent at least once"))
    withheld: Ints = field(
        metadata=column("", "messages that came up and were never sent: brown-out, or no airtime left to the end")
    )
    packets: Ints = field(metadata=column("", "transmissions, repetitions and join requests included"))
    delivered: Ints = field(metadata=column("", "messages that reached a gateway or the network"))
    delivered_other: Ints = field(
        metadata=column("", "the same under the other rule of capture; -1 where there is none")
    )
    acknowledged: Ints = field(
        metadata=column("", "confirmed messages whose acknowledgement was heard; -1 where none is asked for")
    )
    received: Ints = field(metadata=column("", "packets received by a gateway or the network"))
    collided: Ints = field(metadata=column("", "packets spoilt by another one"))
    no_path: Ints = field(metadata=column("", "packets for which no demodulator was free"))
    gateway_sending: Ints = field(metadata=column("", "packets lost to a gateway's own sending"))
    gateway_down: Ints = field(metadata=column("", "packets that only gateways out of order would have heard"))
    too_weak: Ints = field(metadata=column("", "packets too weak for every gateway"))
    lost: Ints = field(metadata=column("", "cellular packets of which a block failed at every try"))
    no_coverage: Ints = field(metadata=column("", "cellular packets out of reach"))
    airtime_s: Floats = field(metadata=column("s", "time on the air"))
    busiest_hour_s: Floats = field(metadata=column("s", "most time on the air in any hour; NaN on cellular links"))
    latency_p50_ms: Floats = field(metadata=column("ms", "from a message to its delivery, median; NaN without one"))
    latency_p95_ms: Floats = field(metadata=column("ms", "the same, 95th percentile"))
    latency_p99_ms: Floats = field(metadata=column("ms", "the same, 99th percentile"))
    inferences: Ints = field(metadata=column("", "inferences done"))
    radio_sending_mj: Floats = field(metadata=column("mJ", "radio: sending; cellular: connected"))
    radio_listening_mj: Floats = field(metadata=column("mJ", "radio: receive windows; cellular: tails"))
    radio_waiting_mj: Floats = field(
        metadata=column("mJ", "radio: between frame and windows, waking; cellular: promotions")
    )
    radio_sleep_mj: Floats = field(metadata=column("mJ", "radio: asleep; cellular: idle and power saving"))
    inference_mj: Floats = field(metadata=column("mJ", "inferences, by the cost model"))
    board_sleep_mj: Floats = field(metadata=column("mJ", "board between inferences"))
    battery_days: Floats = field(metadata=column("d", "until the battery is empty; inf if never, NaN without one"))
    over_latency: Bools = field(metadata=column("", "an inference takes longer than budget.latency_ms"))
    over_power: Bools = field(
        metadata=column("", "inferences draw more than budget.power_mw on average, or budget.energy_burst_uj")
    )
    over_airtime: Bools = field(metadata=column("", "the busiest hour holds more than budget.airtime_s_per_hour"))
    over_bytes: Bools = field(metadata=column("", "payload sent exceeds budget.link_bytes_per_day, on average"))
    over_duty_cycle: Bools = field(
        metadata=column("", "the busiest hour holds more than the region allows: a real device would wait")
    )

    def __len__(self) -> int:
        return len(self.group)

    @property
    def energy_mj(self) -> Floats:
        """All of it."""
        names = ("sending", "listening", "waiting", "sleep")
        radio = sum((getattr(self, f"radio_{name}_mj") for name in names), np.zeros(len(self)))
        total: Floats = radio + self.inference_mj + self.board_sleep_mj
        return total

    @property
    def violations(self) -> Ints:
        """(devices,) how many limits it breaks."""
        names = ("over_latency", "over_power", "over_airtime", "over_bytes", "over_duty_cycle")
        broken: Ints = np.sum([getattr(self, name) for name in names], axis=0, dtype=np.int64)
        return broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours(Table):
    """Packets by hour of the run, (groups, hours) each; the last hour may be a part of one."""

    sent: Ints = field(metadata=column("", "packets that began"))
    received: Ints = field(metadata=column("", "of these, received"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways(Table):
    """A row a LoRa gateway: (gateways,) each."""

    x_m: Floats = field(metadata=column("m", "east of the origin"))
    y_m: Floats = field(metadata=column("m", "north of the origin"))
    received: Ints = field(metadata=column("", "packets it received"))
    only: Ints = field(metadata=column("", "of these, received by no other"))
    collided: Ints = field(metadata=column("", "packets that were strong enough, and spoilt"))
    no_path: Ints = field(metadata=column("", "packets that were strong enough, and found no demodulator"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Packets(Table):
    """A row a packet, in order of start: (packets,) each."""

    device: Ints = field(metadata=column("", "number of the device"))
    message: Ints = field(metadata=column("", "number of the device's message; -1: a join request"))
    start_s: Floats = field(metadata=column("s", "since the run began"))
    airtime_s: Floats = field(metadata=column("s", "time on the air"))
    channel: Ints = field(metadata=column("", "number in the region's plan; -1 on cellular links"))
    data_rate: Ints = field(metadata=column("", "LoRa data rate; -1 on cellular links"))
    rssi_dbm: Floats = field(metadata=column("dBm", "strongest at a gateway, of the schedule; NaN on cellular links"))
    fate: NDArray[np.uint8] = field(metadata=column("", "what became of it, a number of `Fate`"))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFacts:
    """What is said of a group in words and single figures.

    ``medium``: what it sends over. ``limit_s_per_hour``: time on air that the region allows in any hour, None without
    a limit. ``inference_latency_ms`` and ``inference_energy_uj`` None where nothing is inferred; ``configuration`` is
    that of the bundle, ``other_capture`` the rule that ``delivered_other`` was found by.
    """

    name: str
    medium: str
    limit_s_per_hour: float | None
    inference_latency_ms: Estimate | None
    inference_energy_uj: Estimate | None
    configuration: str | None
    other_capture: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetResult:
    """A run of a scenario (simulated).

    ``notes`` are sentences on what was assumed or left out in this run. ``packets`` None unless they were asked for.
    ``extra`` is what others add to ``result.json``: by name, JSON-ready.
    """

    scenario: Scenario
    groups: tuple[GroupFacts, ...]
    devices: Devices
    hours: Hours
    gateways: Gateways
    notes: tuple[str, ...]
    packets: Packets | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def rows_of(self, group: int) -> slice:
        """Rows of a group's devices."""
        first = self.scenario.first_of(group)
        return slice(first, first + self.scenario.devices[group].count)
