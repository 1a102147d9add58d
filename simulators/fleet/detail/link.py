"""A LoRaWAN uplink of one device of a fleet, as the runtime sees it; what becomes of a frame is told from outside.

The rules are those of the fleet engines: the region's payloads, credits for each sub-band, class A windows, and a
channel drawn by the address (seed, device, index) among those whose sub-band has the credit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from simulators.airtime import AirtimeLedger, CreditAccount
from simulators.lorawan.chips import DeviceRadio
from simulators.lorawan.duty import account
from simulators.lorawan.energy import uplink_mj
from simulators.lorawan.region import Channel, Region, SubBand
from simulators.lorawan.streams import Purpose, uniforms
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.link import Lasting, Transmission

_DRAWS = 64  # channels to draw at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """The radio of one device: who it is, where it may send, and how.

    ``number``: its place in the fleet, which addresses its random numbers. ``power_dbm``: conducted. ``filled_bytes``:
    every frame is filled up to so many bytes, and none is longer; None sends frames as they come. ``addresses``: of the
    draws of the first frames, where they do not just count. ``end_s``: no frame begins from then on, for the simulation
    is over.
    """

    seed: int
    number: int
    region: Region
    channels: tuple[Channel, ...]
    data_rate: int
    power_index: int
    power_dbm: float
    chip: DeviceRadio
    end_s: float = math.inf
    filled_bytes: int | None = None
    addresses: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.open_channels():
            raise SchemaError("data_rate", f"no channel takes DR{self.data_rate} of {self.region.name}")
        if self.filled_bytes is not None:
            self.region.check_payload(self.data_rate, self.filled_bytes)

    def open_channels(self) -> tuple[int, ...]:
        """Numbers of the channels that take the data rate."""
        return tuple(number for number, one in enumerate(self.channels) if self.data_rate in one.data_rates)

    @property
    def payload_bytes(self) -> int:
        """Largest application payload."""
        if self.filled_bytes is not None:
            return self.filled_bytes
        return self.region.uplink_rate(self.data_rate).max_payload_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame on the air; ``index`` addresses its draws. ``size_bytes``: of the payload, filling included."""

    index: int
    start_s: float
    airtime_s: float
    channel: int
    data_rate: int
    power_index: int
    size_bytes: int

    @property
    def end_s(self) -> float:
        """When its last symbol has gone out."""
        return self.start_s + self.airtime_s


Judge = Callable[[Frame], bool]
"""Whether a gateway receives a frame."""


class FieldLink(Lasting):
    """Uplink of one device; implements `tamiyo_runtime.link.Link`. ``frames`` and ``received`` have an entry a frame.

    Guaranteed: in any hour each sub-band holds no more time on air than its limit (`simulators.lorawan.duty`).
    """

    def __init__(self, radio: Radio, judge: Judge) -> None:
        """Raises InputError where the longest frame does not fit a sub-band's hour."""
        self.radio = radio
        self.label = f"lorawan {radio.region.name} DR{radio.data_rate} in a fleet (simulated)"
        self.frames: list[Frame] = []
        self.received: list[bool] = []
        self._judge = judge
        self._open = radio.open_channels()
        self._bands = {number: radio.region.sub_band(radio.channels[number].frequency_hz) for number in self._open}
        self._accounts = accounts(radio)
        self._ledgers = {band.name: AirtimeLedger() for band in self._bands.values()}
        after = windows(radio.region, radio.data_rate)
        self._closed_s, self.answer_s = after.until_closed_s, radio.region.receive_delay_s
        self._free_s = 0.0
        self._draws: list[float] = []

    def max_payload_bytes(self) -> int:
        """Of the data rate, or as filled."""
        return self.radio.payload_bytes

    def airtime_s(self, size_bytes: int) -> float:
        """Time on air of a payload, filled up; raises SchemaError over the data rate's maximum."""
        return self.radio.region.airtime_s(self.radio.data_rate, self._filled(size_bytes))

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When the windows of the last frame have closed and a sub-band has the credit; never, once it is over."""
        airtime_s, earliest_s = self.airtime_s(size_bytes), max(now_s, self._free_s)
        ready_s = min(self._band_ready_s(number, airtime_s, earliest_s) for number in self._open)
        return ready_s if ready_s < self.radio.end_s else math.inf

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send a frame on a channel drawn for it. It lasts its time on air."""
        if now_s < self.ready_at_s(size_bytes, now_s):
            raise ValueError(f"{size_bytes} bytes may not be sent at {now_s} s")
        airtime_s = self.airtime_s(size_bytes)
        channels = [number for number in self._open if self._band_ready_s(number, airtime_s, now_s) <= now_s]
        frame = Frame(
            index=self._index(len(self.frames)),
            start_s=now_s,
            airtime_s=airtime_s,
            channel=channels[int(self._draw() * len(channels))],
            data_rate=self.radio.data_rate,
            power_index=self.radio.power_index,
            size_bytes=self._filled(size_bytes),
        )
        band = self._bands[frame.channel].name
        if band in self._accounts:
            self._accounts[band].spend(airtime_s, now_s)
        self._ledgers[band].add(now_s, airtime_s)
        self._free_s = frame.end_s + self._closed_s
        self.frames.append(frame)
        self.received.append(self._judge(frame))
        return Transmission(
            delivered=self.received[-1],
            airtime_s=airtime_s,
            latency_s=airtime_s,
            energy_uj=1e3 * self.energy_mj(frame.size_bytes),
        )

    def energy_mj(self, size_bytes: int) -> float:
        """Of one uplink with its windows."""
        radio = self.radio
        return uplink_mj(
            radio.chip,
            radio.region,
            data_rate=radio.data_rate,
            payload_bytes=size_bytes,
            power_dbm=radio.power_dbm,
        )

    def sustainable_bytes_per_s(self) -> float:
        """Payload rate of full frames, one after the other as windows and credit of all sub-bands allow."""
        size_bytes = self.max_payload_bytes()
        airtime_s = self.airtime_s(size_bytes)
        share = airtime_s / (airtime_s + self._closed_s)
        if len(self._accounts) == len(self._ledgers):
            share = min(share, sum(one.rate for one in self._accounts.values()))
        return size_bytes * share / airtime_s

    def level(self, now_s: float) -> float:
        """Share of the largest credit that is there now, of all sub-bands; 1 where one has no limit."""
        return level_of(self._accounts.values(), now_s) if len(self._accounts) == len(self._ledgers) else 1.0

    def arrived_s(self) -> float:
        """When the last frame was at the gateway in full."""
        return self.frames[-1].end_s

    def worst_hours_s(self) -> dict[SubBand, float]:
        """The most time on air in any hour, by sub-band."""
        return {band: self._ledgers[band.name].peak_s() for band in dict.fromkeys(self._bands.values())}

    def _filled(self, size_bytes: int) -> int:
        return max(size_bytes, self.radio.filled_bytes or 0)

    def _band_ready_s(self, channel: int, airtime_s: float, now_s: float) -> float:
        credit = self._accounts.get(self._bands[channel].name)
        return now_s if credit is None else credit.ready_at_s(airtime_s, now_s)

    def _draw(self) -> float:
        count = len(self.frames)
        if count == len(self._draws):
            indices = [self._index(one) for one in range(count, count + _DRAWS)]
            self._draws += uniforms(self.radio.seed, Purpose.CHANNEL, self.radio.number, indices)[0].tolist()
        return self._draws[count]

    def _index(self, count: int) -> int:
        """Address of the frame that comes after so many."""
        addresses = self.radio.addresses
        if count < len(addresses):
            return addresses[count]
        return addresses[-1] + 1 + count - len(addresses) if addresses else count


def accounts(radio: Radio) -> dict[str, CreditAccount]:
    """Credits by name of the sub-bands that a radio may use, full; none for a band without a limit."""
    longest_s = radio.region.airtime_s(radio.data_rate, radio.payload_bytes)
    bands = {radio.region.sub_band(radio.channels[number].frequency_hz) for number in radio.open_channels()}
    return {band.name: account(band, longest_s) for band in bands if band.duty_cycle < 1}


def level_of(held: Iterable[CreditAccount], now_s: float) -> float:
    """Credit now as a share of what the accounts can hold."""
    many = list(held)
    return max(0.0, sum(one.credit_s(now_s) for one in many) / sum(one.burst_s for one in many)) if many else 1.0
