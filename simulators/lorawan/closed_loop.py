"""The closed loop: devices that wait for credit, listen, retransmit, adapt and join, event by event.

Two events a transmission, its beginning and its end, in one heap; at the end everything up to the device's next
beginning is decided, since class A opens its windows only then. Draws are addressed by device and transmission, so a
run repeats bit for bit, and `replay` puts what was sent through the open loop's vector passes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from simulators.lorawan.adr import Settings, asks_for_answer
from simulators.lorawan.device import Device, Sent, join_backoff_s, retry_backoff_s
from simulators.lorawan.duty import account
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import ears
from simulators.lorawan.receiver import OnAir, Receiver
from simulators.lorawan.reception import Verdict
from simulators.lorawan.record import ClosedRun, Log, MessageLog
from simulators.lorawan.scenario import Activation
from simulators.lorawan.server import JOIN_REQUEST_BYTES, Answer, Server
from simulators.lorawan.streams import Blocks, Ints, Purpose, uniforms
from simulators.lorawan.traffic import arrivals
from simulators.lorawan.windows import BETWEEN_S, Windows, windows


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


def run(network: Network) -> ClosedRun:
    """Simulates a network for its scenario's duration; what has begun by then is seen to its end."""
    return _Loop(network).run()


class _Loop:
    def __init__(self, network: Network) -> None:
        scenario = network.scenario
        self._network = network
        self._mac = scenario.mac
        self._confirmed = scenario.traffic.confirmed
        self._region = network.region
        self._receiver = Receiver(ears(network), channels=len(network.channels), gateways=len(scenario.gateways_m))
        self._server = Server(network, self._receiver)
        self._bands = [self._region.sub_band(channel.frequency_hz).name for channel in network.channels]
        self._rates = {rate: self._rate(rate) for rate in scenario.data_rates()}
        self._slowest = min(self._rates)
        self._power_dbm = [network.power_dbm(index) for index in range(self._region.power_levels)]
        self._loss_db: list[list[float]] = network.loss_db.T.tolist()
        self._draws = Blocks(scenario.devices, self._draw)
        self._fading = Blocks(scenario.devices, network.fading_db)
        self._devices = self._make_devices()
        self._log = Log()
        self._messages = MessageLog()
        self._on_air: dict[int, tuple[OnAir, Sent]] = {}
        self._events: list[tuple[float, int, int]] = []

    def run(self) -> ClosedRun:
        for device in self._devices:
            self._schedule(device, 0.0)
        end_s = self._network.scenario.duration_s
        while self._events:
            now_s, event, number = heapq.heappop(self._events)
            if event == _Event.END:
                self._end(self._devices[number], now_s)
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
        data_rate = device.next_data_rate(self._mac, self._slowest)
        rate = self._rates[data_rate]
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
        power_dbm = self._power_dbm[sent.settings.power_index]
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
            asks = self._mac.adr and asks_for_answer(device.unheard, self._mac.adr_ack_limit)
            answer = self._server.uplink(packet, sent, verdicts, confirmed=self._confirmed, asks=asks)
        free_s = self._listen(device, now_s, self._rates[sent.data_rate], answer, joins=sent.joins)
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
        if answer is not None:
            device.heard(answer.settings)
        elif device.attempt == 0:
            device.went_unheard(self._mac, self._slowest)
        self._messages.add(device, received=received, acknowledged=self._confirmed and answer is not None)
        if self._confirmed and answer is None and device.attempt + 1 < self._mac.attempts:
            draw = self._draws.at(device.number, device.index - 1, 1)
            device.attempt += 1
            opened_s = now_s + self._region.receive_delay_s + BETWEEN_S
            self._schedule(device, max(free_s, opened_s + retry_backoff_s(self._mac, draw)))
            return
        device.next_message()
        self._schedule(device, free_s)

    def _schedule(self, device: Device, free_s: float) -> None:
        """The device's next beginning, if it has anything to send."""
        if device.message < len(device.arrivals):
            begins_s = max(device.arrivals[device.message], free_s)
            heapq.heappush(self._events, (begins_s, _Event.BEGIN, device.number))

    def _draw(self, device: Ints, index: Ints) -> np.ndarray:
        return np.stack(uniforms(self._network.scenario.seed, Purpose.CHANNEL, device, index))

    def _rate(self, data_rate: int) -> _Rate:
        network = self._network
        rate = self._region.uplink_rate(data_rate)
        modulation = network.modulation[data_rate]
        channels = network.channels_of(data_rate)
        return _Rate(
            modulation=modulation,
            lead_s=float(network.lead_s[modulation]),
            channels=channels,
            bands=tuple(sorted({self._bands[channel] for channel in channels})),
            airtime_s=network.airtime_s(data_rate),
            join_airtime_s=rate.airtime_s(JOIN_REQUEST_BYTES),
            windows=windows(self._region, data_rate, rx1_offset=self._mac.rx1_offset),
            join_windows=windows(self._region, data_rate, rx1_offset=self._mac.rx1_offset, joins=True),
        )

    def _make_devices(self) -> list[Device]:
        scenario = self._network.scenario
        number, _, times = arrivals(self._network)
        bounds = np.searchsorted(number, np.arange(scenario.devices + 1))
        joined = scenario.mac.activation is Activation.PERSONALISED
        longest_s = max(
            rate.airtime_s if joined else max(rate.airtime_s, rate.join_airtime_s) for rate in self._rates.values()
        )
        bands = [band for band in self._region.sub_bands if band.name in self._bands and band.duty_cycle < 1]
        return [
            Device(
                number=device,
                arrivals=times[bounds[device] : bounds[device + 1]].tolist(),
                settings=Settings(int(self._network.data_rate[device]), scenario.power_index),
                joined=joined,
                accounts={band.name: account(band, longest_s) for band in bands},
                sent_s=[0.0] * self._region.power_levels,
            )
            for device in range(scenario.devices)
        ]
