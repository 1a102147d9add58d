"""A class A device as the closed loop sees it: what it sends next, with what, and what it makes of answers.

The state is a record; what changes it are small functions of it and of what happened. No clock, no radio.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from simulators.airtime import CreditAccount
from simulators.lorawan.adr import Settings, device_settings
from simulators.lorawan.duty import JoinBudget
from simulators.lorawan.scenario import Mac

_JOIN_BACKOFF_S = 10.0
_JOIN_BACKOFF_MOST_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sent:
    """An uplink as the device chose it: ``index`` counts all of its transmissions."""

    device: int
    index: int
    message: int
    joins: bool
    data_rate: int
    settings: Settings
    airtime_s: float


@dataclass(slots=True)
class Device:
    """State of one device. ``index`` counts transmissions, ``message`` and ``attempt`` say what is being sent,
    ``unheard`` is ADR_ACK_CNT. ``sent_s`` is by TXPower index."""

    number: int
    kind: int
    arrivals: list[float]
    settings: Settings
    joined: bool
    accounts: dict[str, CreditAccount]
    sent_s: list[float]
    index: int = 0
    message: int = 0
    attempt: int = 0
    join_attempt: int = 0
    unheard: int = 0
    deferred_s: float = 0.0
    received_s: float = 0.0
    waited_s: float = 0.0
    free_s: float = 0.0
    join_budget: JoinBudget = field(default_factory=JoinBudget)

    def next_data_rate(self, mac: Mac, slowest: int) -> int:
        """A confirmed message that is not answered goes slower and slower; the next one starts afresh."""
        if not (self.joined and self.attempt and mac.step_down_every):
            return self.settings.data_rate
        return max(slowest, self.settings.data_rate - self.attempt // mac.step_down_every)

    def send(self, data_rate: int, airtime_s: float, now_s: float) -> Sent:
        """Counts a transmission that begins now."""
        sent = Sent(self.number, self.index, self.message, not self.joined, data_rate, self.settings, airtime_s)
        self.index += 1
        self.sent_s[self.settings.power_index] += airtime_s
        if sent.joins:
            self.join_budget.spend(airtime_s, now_s)
        return sent

    def heard(self, ordered: Settings | None) -> None:
        """A downlink came."""
        self.unheard = 0
        if ordered is not None:
            self.settings = ordered

    def went_unheard(self, mac: Mac, slowest: int) -> None:
        """A new data frame was sent and no downlink came; repetitions do not count."""
        if not mac.adr:
            return
        self.unheard += 1
        self.settings = device_settings(
            self.settings, unheard=self.unheard, limit=mac.adr_ack_limit, delay=mac.adr_ack_delay, slowest=slowest
        )

    def next_message(self) -> None:
        """Done with this one, answered or not."""
        self.message += 1
        self.attempt = 0


def join_backoff_s(attempt: int, draw: float) -> float:
    """Wait before the next join request: random and doubling up to an hour, so that a fleet that lost power together
    does not come back together. The specification asks for it and leaves the law open."""
    return draw * min(_JOIN_BACKOFF_MOST_S, _JOIN_BACKOFF_S * 2.0 ** min(attempt, 16))


def retry_backoff_s(mac: Mac, draw: float) -> float:
    """Wait after the second window opened before a confirmed message goes again."""
    return mac.retry_s + (2.0 * draw - 1.0) * mac.retry_spread_s
