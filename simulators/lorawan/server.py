"""The network server: takes each uplink once, runs ADR, and finds a gateway and a window for an answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from simulators.airtime import CreditAccount
from simulators.lorawan.adr import SNR_FLOOR_DB, Settings, network_settings
from simulators.lorawan.capture import modulation, sensitivities_dbm
from simulators.lorawan.device import Sent
from simulators.lorawan.duty import account
from simulators.lorawan.network import Network
from simulators.lorawan.receiver import OnAir, Receiver
from simulators.lorawan.reception import Verdict
from simulators.lorawan.scenario import Mac
from simulators.lorawan.windows import BETWEEN_S

EMPTY_DOWNLINK_BYTES = 12
"""MAC header 1, address 4, control 1, counter 2, integrity code 4: enough for an acknowledgement."""
LINK_ADR_BYTES = 5
JOIN_REQUEST_BYTES = 23


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A downlink that will go out. ``window`` is 1 or 2; ``heard`` says whether it reaches the device."""

    gateway: int
    window: int
    start_s: float
    end_s: float
    heard: bool
    settings: Settings | None


@dataclass(frozen=True, slots=True)
class _Window:
    """A window as a function of the uplink: downlink data rate, frequency's band, what it takes."""

    data_rate: int
    needed_dbm: float
    band: str
    eirp_dbm: float


class Server:
    """One network of all gateways. Half-duplex: what a gateway sends is told to the `Receiver`."""

    def __init__(self, network: Network, receiver: Receiver) -> None:
        self._network = network
        self._receiver = receiver
        self._region = network.region
        self._path_db: list[list[float]] = (network.loss_db + network.scenario.gateway_antenna_dbi).tolist()
        self._noise_dbm: list[float] = network.noise_dbm.tolist()
        self._history: dict[int, deque[float]] = {}
        self._windows: dict[tuple[int, int, int, int], _Window] = {}
        self._fastest = max(rate for rate, data in self._region.uplink.items() if data.bandwidth_hz == 125_000)
        longest_s = {
            rate: data.airtime_s(max(self._region.join_accept_bytes, EMPTY_DOWNLINK_BYTES + LINK_ADR_BYTES), crc=False)
            for rate, data in self._region.downlink.items()
        }
        self._accounts: list[dict[str, CreditAccount]] = [
            {
                band.name: account(band, max(longest_s.values()), slack_s=self._region.join_delay_s + 1.0)
                for band in self._region.sub_bands
                if 0.9 * band.limit_s_per_hour > max(longest_s.values()) and band.duty_cycle < 1
            }
            for _ in network.scenario.gateways_m
        ]

    def uplink(self, packet: OnAir, sent: Sent, verdicts: Sequence[Verdict], *, kind: int, asks: bool) -> Answer | None:
        """An uplink ended that some gateway received. The answer is booked when there is one.

        ``asks`` is ADRACKReq: the device wants any downlink.
        """
        mac, confirmed = self._network.kinds[kind].mac, self._network.kinds[kind].confirmed
        received = [gateway for gateway, verdict in enumerate(verdicts) if verdict is Verdict.RECEIVED]
        received.sort(key=lambda gateway: -packet.rssi_dbm[gateway])
        ordered = None
        if mac.adr and not sent.joins:
            ordered = self._order(mac, sent, packet.rssi_dbm[received[0]] - self._noise_dbm[packet.modulation])
        if not (sent.joins or confirmed or asks or ordered):
            return None
        if sent.joins:
            size, delay_s = self._region.join_accept_bytes, self._region.join_delay_s
        else:
            size = EMPTY_DOWNLINK_BYTES + (LINK_ADR_BYTES if ordered else 0)
            delay_s = self._region.receive_delay_s
        for number in (1, 2):
            window = self._window(number, packet.channel, sent.data_rate, kind)
            start_s = packet.end_s + delay_s + BETWEEN_S * (number - 1)
            end_s = start_s + self._region.downlink_rate(window.data_rate).airtime_s(size, crc=False)
            gateway = self._book(received, window, packet.end_s, start_s, end_s)
            if gateway is None:
                continue
            heard = window.eirp_dbm - self._path_db[gateway][sent.device] >= window.needed_dbm
            if heard and ordered is not None:
                self._history.pop(sent.device, None)  # what was measured at other settings says nothing of the new
            return Answer(gateway=gateway, window=number, start_s=start_s, end_s=end_s, heard=heard, settings=ordered)
        return None

    def _order(self, mac: Mac, sent: Sent, snr_db: float) -> Settings | None:
        settings = sent.settings
        history = self._history.setdefault(sent.device, deque(maxlen=mac.adr_history))
        history.append(snr_db)
        factor = self._region.uplink[settings.data_rate].spreading_factor
        if len(history) < mac.adr_history or factor is None:
            return None
        ordered = network_settings(
            settings,
            best_snr_db=max(history),
            needed_snr_db=SNR_FLOOR_DB[factor],
            margin_db=mac.adr_margin_db,
            fastest=max(self._fastest, settings.data_rate),
            weakest=self._region.power_levels - 1,
        )
        return None if ordered == settings else ordered

    def _book(self, gateways: Sequence[int], window: _Window, now_s: float, start_s: float, end_s: float) -> int | None:
        """The first of the gateways that has the time and the credit to send then; booked."""
        for gateway in gateways:
            if not self._receiver.is_free(gateway, start_s, end_s):
                continue
            credit = self._accounts[gateway].get(window.band)
            if credit is not None:
                if credit.ready_at_s(end_s - start_s, now_s) > now_s:
                    continue
                credit.spend(end_s - start_s, now_s)  # booked now, not later, as bookings have to be in order
            self._receiver.will_send(gateway, start_s, end_s)
            return gateway
        return None

    def _window(self, window: int, channel: int, data_rate: int, kind: int) -> _Window:
        key = (window, channel, data_rate, kind)
        if key not in self._windows:
            region, scenario = self._region, self._network.scenario
            if window == 1:
                rate = region.rx1_data_rate(data_rate, self._network.kinds[kind].mac.rx1_offset)
                frequency_hz = region.rx1_frequency_hz(self._network.channels[channel])
            else:
                rate, frequency_hz = region.rx2_data_rate, region.rx2_frequency_hz
            band = region.sub_band(frequency_hz)
            most_dbm = self._network.gateway_radio.max_power_dbm + scenario.gateway_antenna_dbi
            needed = sensitivities_dbm(self._network.kinds[kind].radio)[modulation(region.downlink_rate(rate))]
            self._windows[key] = _Window(
                data_rate=rate,
                needed_dbm=float(needed) - scenario.device_antenna_dbi,
                band=band.name,
                eirp_dbm=min(band.max_eirp_dbm, most_dbm),
            )
        return self._windows[key]
