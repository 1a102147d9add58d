"""What a closed-loop run leaves: every transmission, every message, every downlink, every device (simulated)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from simulators.lorawan.device import Device, Sent
from simulators.lorawan.network import Network
from simulators.lorawan.open_loop import ears, packets_of
from simulators.lorawan.receiver import OnAir
from simulators.lorawan.reception import Bools, Codes, Downlinks, Ears, Verdict, receive
from simulators.lorawan.streams import Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Transmissions:
    """Uplinks in order of their end, (packets,) each but ``by_gateway`` (gateways, packets)."""

    device: Ints
    index: Ints
    message: Ints
    joins: Bools
    start_s: Floats
    airtime_s: Floats
    channel: Ints
    data_rate: Ints
    power_index: Ints
    by_gateway: Codes

    @property
    def verdict(self) -> Codes:
        """Best of the gateways'."""
        verdict: Codes = self.by_gateway.min(axis=0)
        return verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """Messages that were sent at least once, (messages,) each."""

    device: Ints
    number: Ints
    attempts: Ints
    delivered: Bools
    acknowledged: Bools


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRun:
    """A closed-loop run (simulated)."""

    network: Network
    log: Transmissions
    messages: Messages
    downlinks: tuple[Downlinks, ...]
    devices: tuple[Device, ...]


def replay(run: ClosedRun, by: Ears | None = None) -> Codes:
    """(gateways, packets) verdicts of the open loop on what a closed-loop run sent, in the order of its log.

    ``by``: other ears than the network's, to ask what another rule of capture would have made of it.
    """
    log = run.log
    order = np.lexsort((log.device, log.start_s))
    packets = packets_of(
        run.network,
        device=log.device[order],
        index=log.index[order],
        start_s=log.start_s[order],
        airtime_s=log.airtime_s[order],
        data_rate=log.data_rate[order],
        power_index=log.power_index[order],
        channel=log.channel[order],
    )
    verdicts = np.empty_like(log.by_gateway)
    verdicts[:, order] = receive(packets, by or ears(run.network), run.downlinks)
    return verdicts


@dataclass(slots=True)
class Log:
    """Collects transmissions as they end."""

    _rows: list[tuple[int, int, int, bool, int, int, int]] = field(default_factory=list)
    _times: list[tuple[float, float]] = field(default_factory=list)
    _verdicts: list[Sequence[Verdict]] = field(default_factory=list)

    def add(self, packet: OnAir, sent: Sent, verdicts: Sequence[Verdict]) -> None:
        """A transmission has ended."""
        power_index = sent.settings.power_index
        self._rows.append(
            (sent.device, sent.index, sent.message, sent.joins, packet.channel, sent.data_rate, power_index)
        )
        self._times.append((packet.start_s, sent.airtime_s))
        self._verdicts.append(verdicts)

    def arrays(self, gateways: int) -> Transmissions:
        """All of them."""
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 7).T
        times = np.array(self._times, dtype=np.float64).reshape(-1, 2).T
        device, index, message, joins, channel, data_rate, power_index = rows
        return Transmissions(
            device=device,
            index=index,
            message=message,
            joins=joins.astype(np.bool_),
            start_s=times[0],
            airtime_s=times[1],
            channel=channel,
            data_rate=data_rate,
            power_index=power_index,
            by_gateway=np.array(self._verdicts, dtype=np.uint8).reshape(-1, gateways).T.copy(),
        )


@dataclass(slots=True)
class MessageLog:
    """Collects what became of messages."""

    _rows: dict[tuple[int, int], tuple[int, bool, bool]] = field(default_factory=dict)

    def add(self, device: Device, *, received: bool, acknowledged: bool) -> None:
        """One more attempt of the device's message has ended."""
        key = (device.number, device.message)
        attempts, before, _ = self._rows.get(key, (0, False, False))
        self._rows[key] = (attempts + 1, before or received, acknowledged)

    def arrays(self) -> Messages:
        """All of them, by device and number."""
        rows: NDArray[np.int64] = np.array(
            [(*key, *row) for key, row in sorted(self._rows.items())], dtype=np.int64
        ).reshape(-1, 5)
        device, number, attempts, delivered, acknowledged = rows.T
        return Messages(
            device=device,
            number=number,
            attempts=attempts,
            delivered=delivered.astype(np.bool_),
            acknowledged=acknowledged.astype(np.bool_),
        )
