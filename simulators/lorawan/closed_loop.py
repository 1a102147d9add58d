"""The closed loop: devices that wait for credit, listen, retransmit, adapt and join, event by event.

Two events a transmission, its beginning and its end, in one heap; at the end everything up to the device's next
beginning is decided, since class A opens its windows only then. Draws are addressed by device and transmission, so a
run repeats bit for bit, and `replay` puts what was sent through the open loop's vector passes.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simulators.lorawan.adr import Settings, asks_for_answer
from simulators.lorawan.device import Device, Sent, join_backoff_s, retry_backoff_s
from simulators.lorawan.duty import account
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import ears
from simulators.lorawan.receiver import OnAir, Receiver
from simulators.lorawan.reception import DEAF_DBM, Verdict
from simulators.lorawan.record import ClosedRun, Log, MessageLog
from simulators.lorawan.scenario import Activation
from simulators.lorawan.server import JOIN_REQUEST_BYTES, Answer, Server
from simulators.lorawan.streams import Blocks, Floats, Ints, Purpose, uniforms
from simulators.lorawan.traffic import arrivals
from simulators.lorawan.windows import BETWEEN_S, Windows, windows

_TOLD_EVERY = 2000


class _Event(IntEnum):
    END = 0  # before a beginning at the same time: it frees a path
    BEGIN = 1


@dataclass(frozen=True, slots=True)
class _Rate:
    """What an uplink data rate comes to in this network."""

    modulation: int
    lead_s: float
    channels: tuple[int, ...]
    bands: tuple[str, ...]
    airtime_s: float
    join_airtime_s: float
    windows: Windows
    join_windows: Windows


def run(
    network: Network,
    messages: tuple[Ints, Ints, Floats] | None = None,
    *,
    on_time: Callable[[float], None] | None = None,
) -> ClosedRun:
    """Simulates a network for its scenario's duration; what has begun by then is seen to its end.

    ``messages``: device, number and time of each that comes up, device by device and in order; the scenario's traffic
    when None. ``on_time`` is told now and then which second it is.
    """
    return _Loop(network, arrivals(network) if messages is None else messages).run(on_time)


class _Loop:
    def __init__(self, network: Network, messages: tuple[Ints, Ints, Floats]) -> None:
        scenario = network.scenario
        self._network = network
        self._kinds = network.kinds
        self._region = network.region
        self._receiver = Receiver(ears(network), channels=len(network.channels), gateways=len(scenario.gateways_m))
        self._server = Server(network, self._receiver)
        self._bands = [self._region.sub_band(channel.frequency_hz).name for channel in network.channels]
        levels, every = range(self._region.power_levels), range(len(network.kinds))
        self._rates = [{rate: self._rate(rate, kind) for rate in network.kinds[kind].data_rates} for kind in every]
        self._slowest = [min(rates) for rates in self._rates]
        self._power_dbm = [[network.power_dbm(index, kind) for index in levels] for kind in every]
        self._loss_db: list[list[float]] = network.loss_db.T.tolist()
        self._draws = Blocks(scenario.devices, self._draw)
        self._fading = Blocks(scenario.devices, network.fading_db)
        self._devices = self._make_devices(messages)
        self._log = Log()
        self._messages = MessageLog()
        self._on_air: dict[int, tuple[OnAir, Sent]] = {}
        self._events: list[tuple[float, int, int]] = []

    def run(self, on_time: Callable[[float], None] | None) -> ClosedRun:
        for device in self._devices:
            self._schedule(device, 0.0)
        ended = 0
        end_s = self._network.scenario.duration_s
        while self._events:
            now_s, event, number = heapq.heappop(self._events)
            if event == _Event.END:
                self._end(self._devices[number], now_s)
                ended += 1
                if on_time is not None and ended % _TOLD_EVERY == 0:
                    on_time(now_s)
            elif now_s < end_s:
                self._begin(self._devices[number], now_s)
        return ClosedRun(
            network=self._network,
            log=self._log.arrays(len(self._network.scenario.gateways_m)),
            messages=self._messages.arrays(),
            downlinks=self._receiver.downlinks(),
            devices=tuple(self._devices),
        )

    def _begin(self, device: Device, now_s: float) -> None:
        kind = device.kind
        data_rate = device.next_data_rate(self._kinds[kind].mac, self._slowest[kind])
        rate = self._rates[kind][data_rate]
        airtime_s = rate.airtime_s if device.joined else rate.join_airtime_s
        channels, ready_s = self._channels(device, rate, airtime_s, now_s)
        if not device.joined:
            ready_s = max(ready_s, device.join_budget.ready_at_s(airtime_s, now_s))
        if ready_s > now_s:
            device.deferred_s += ready_s - now_s
            heapq.heappush(self._events, (ready_s, _Event.BEGIN, device.number))
            return
        sent = device.send(data_rate, airtime_s, now_s)
        channel = channels[int(self._draws.at(sent.device, sent.index) * len(channels))]
        credit = device.accounts.get(self._bands[channel])
        if credit is not None:
            credit.spend(airtime_s, now_s)
        power_dbm = self._power_dbm[kind][sent.settings.power_index]
        packet = OnAir(
            start_s=now_s,
            end_s=now_s + airtime_s,
            vulnerable_s=now_s + rate.lead_s,
            channel=channel,
            modulation=rate.modulation,
            rssi_dbm=[
                power_dbm - loss_db + self._fading.at(sent.device, sent.index, gateway)
                for gateway, loss_db in enumerate(self._loss_db[sent.device])
            ],
        )
        for gateway, since_s, until_s in self._network.outages:
            if packet.start_s < until_s and packet.end_s > since_s:
                packet.rssi_dbm[gateway] = DEAF_DBM
        self._receiver.begin(packet)
        self._on_air[device.number] = (packet, sent)
        heapq.heappush(self._events, (packet.end_s, _Event.END, device.number))

    def _channels(self, device: Device, rate: _Rate, airtime_s: float, now_s: float) -> tuple[tuple[int, ...], float]:
        """Channels whose band has the credit now, or when the first of them will have."""
        if not device.accounts:
            return rate.channels, now_s
        ready = {band: device.accounts[band].ready_at_s(airtime_s, now_s) for band in rate.bands}
        earliest_s = min(ready.values())
        if earliest_s > now_s:
            return (), earliest_s
        if max(ready.values()) <= now_s:
            return rate.channels, now_s
        return tuple(channel for channel in rate.channels if ready[self._bands[channel]] <= now_s), now_s

    def _end(self, device: Device, now_s: float) -> None:
        packet, sent = self._on_air.pop(device.number)
        verdicts = self._receiver.end(packet)
        self._log.add(packet, sent, verdicts)
        received = Verdict.RECEIVED in verdicts
        answer = None
        if received:
            mac = self._kinds[device.kind].mac
            asks = mac.adr and asks_for_answer(device.unheard, mac.adr_ack_limit)
            answer = self._server.uplink(packet, sent, verdicts, kind=device.kind, asks=asks)
        free_s = self._listen(device, now_s, self._rates[device.kind][sent.data_rate], answer, joins=sent.joins)
        heard = answer is not None and answer.heard
        if sent.joins:
            self._joined(device, now_s, free_s, heard=heard)
        else:
            self._sent(device, now_s, free_s, received=received, answer=answer if heard else None)

    def _listen(self, device: Device, now_s: float, rate: _Rate, answer: Answer | None, *, joins: bool) -> float:
        """Receive windows; returns when the radio is free again."""
        after = rate.join_windows if joins else rate.windows
        heard = answer is not None and answer.heard
        if answer is None or not heard:
            device.waited_s += after.waited_s
            device.received_s += after.first_s + after.second_s
            device.free_s = now_s + after.until_closed_s
            return device.free_s
        if answer.window == 1:
            device.waited_s += answer.start_s - now_s
        else:
            device.waited_s += answer.start_s - now_s - after.first_s
            device.received_s += after.first_s
        device.received_s += answer.end_s - answer.start_s
        device.free_s = answer.end_s
        return device.free_s

    def _joined(self, device: Device, now_s: float, free_s: float, *, heard: bool) -> None:
        if heard:
            device.joined = True
            self._schedule(device, free_s)
            return
        device.join_attempt += 1
        wait_s = join_backoff_s(device.join_attempt, self._draws.at(device.number, device.index - 1, 1))
        self._schedule(device, max(free_s, now_s + self._region.join_delay_s + BETWEEN_S + wait_s))

    def _sent(self, device: Device, now_s: float, free_s: float, *, received: bool, answer: Answer | None) -> None:
        mac, confirmed = self._kinds[device.kind].mac, self._kinds[device.kind].confirmed
        if answer is not None:
            device.heard(answer.settings)
        elif device.attempt == 0:
            device.went_unheard(mac, self._slowest[device.kind])
        self._messages.add(device, received=received, acknowledged=confirmed and answer is not None)
        if confirmed and answer is None and device.attempt + 1 < mac.attempts:
            draw = self._draws.at(device.number, device.index - 1, 1)
            device.attempt += 1
            opened_s = now_s + self._region.receive_delay_s + BETWEEN_S
            self._schedule(device, max(free_s, opened_s + retry_backoff_s(mac, draw)))
            return
        device.next_message()
        self._schedule(device, free_s)

    def _schedule(self, device: Device, free_s: float) -> None:
        """The device's next beginning, if it has anything to send."""
        if device.message < len(device.arrivals):
            begins_s = max(device.arrivals[device.message], free_s)
            heapq.heappush(self._events, (begins_s, _Event.BEGIN, device.number))

    def _draw(self, device: Ints, index: Ints) -> np.ndarray:
        return np.stack(uniforms(self._network.scenario.seed, Purpose.CHANNEL, self._network.numbers[device], index))

    def _rate(self, data_rate: int, kind: int) -> _Rate:
        network, offset = self._network, self._kinds[kind].mac.rx1_offset
        rate = self._region.uplink_rate(data_rate)
        modulation = network.modulation[data_rate]
        channels = network.channels_of(data_rate)
        return _Rate(
            modulation=modulation,
            lead_s=float(network.lead_s[modulation]),
            channels=channels,
            bands=tuple(sorted({self._bands[channel] for channel in channels})),
            airtime_s=network.airtime_s(data_rate, kind),
            join_airtime_s=rate.airtime_s(JOIN_REQUEST_BYTES),
            windows=windows(self._region, data_rate, rx1_offset=offset),
            join_windows=windows(self._region, data_rate, rx1_offset=offset, joins=True),
        )

    def _make_devices(self, messages: tuple[Ints, Ints, Floats]) -> list[Device]:
        number, _, times = messages
        bounds = np.searchsorted(number, np.arange(self._network.numbers.size + 1))
        joined = [kind.mac.activation is Activation.PERSONALISED for kind in self._kinds]
        longest_s = [
            max(one.airtime_s if personal else max(one.airtime_s, one.join_airtime_s) for one in rates.values())
            for personal, rates in zip(joined, self._rates, strict=True)
        ]
        bands = [band for band in self._region.sub_bands if band.name in self._bands and band.duty_cycle < 1]
        return [
            Device(
                number=device,
                kind=kind,
                arrivals=times[bounds[device] : bounds[device + 1]].tolist(),
                settings=Settings(int(self._network.data_rate[device]), self._kinds[kind].power_index),
                joined=joined[kind],
                accounts={band.name: account(band, longest_s[kind]) for band in bands},
                sent_s=[0.0] * self._region.power_levels,
            )
            for device, kind in enumerate(self._network.kind.tolist())
        ]
