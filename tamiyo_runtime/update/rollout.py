"""Where a fleet is with an order, from what its devices say: messages in, a table out. No socket, no clock.

A device that is not there is not waited for: the broker keeps the order for it. What a device says moves it and nobody
else, and a message that cannot be read moves nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.topics import Channel, parse
from tamiyo_runtime.update.messages import SHORT, Outcome, Reported, Want
from tamiyo_runtime.update.orders import Sent
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.states import SlotState

MOST_DEVICES = 10_000


class Phase(StrEnum):
    """How far a device is with an order."""

    DEAF = "takes no orders"  # its birth says so: it runs a bundle, not a state folder
    AWAY = "away"
    WAITING = "waiting"  # sent, and nothing said to it yet
    BLIND = "sent, unheard"  # on a link that has no room for answers
    REFUSED = "refused"
    OBEYED = "obeyed"  # and there is nothing more to it
    OUTSIDE = "not in this share"
    FETCHING = "fetching"
    TESTING = "testing"
    TRIAL = "on trial"
    CONFIRMED = "confirmed"
    BACK = "went back"


ENDED = frozenset(Phase) - {Phase.WAITING, Phase.FETCHING, Phase.TESTING, Phase.TRIAL}


@dataclass(slots=True)
class Device:
    """What one device has said. ``hears``: of its birth, None, ``orders`` or ``all``."""

    name: str
    expected: bool = False
    born: bool = False
    hears: str | None = None
    online: bool = False
    reported: Reported | None = None
    sent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One row of the table. ``remark``: why it refused, went back, or waits."""

    device: str
    phase: Phase
    received: int = 0
    chunks: int = 0
    version: int | None = None
    remark: str = ""


class Rollout:
    """A fleet, or the ``named`` devices of it, and an order that changes from stage to stage."""

    def __init__(self, fleet: str, named: tuple[str, ...] = ()) -> None:
        self.refused = 0
        """Messages that could not be read."""
        self.devices = {name: Device(name, expected=True) for name in named}
        self._fleet = fleet
        self._named = frozenset(named)

    def hear(self, topic: str, payload: bytes) -> tuple[str, Want] | None:
        """A message came in; who asks for what, if it is that."""
        try:
            address, channel = parse(topic)
            name = address.device
            if address.fleet != self._fleet or (self._named and name not in self._named):
                return None
            if name not in self.devices and len(self.devices) >= MOST_DEVICES:
                self.refused += 1
                return None
            if channel is Channel.WANT:
                return name, Want.from_bytes(payload, name)
            self._note(name, channel, payload)
        except (InputError, SchemaError):
            self.refused += 1
        return None

    def standings(self, order: Sent) -> list[Standing]:
        """Where everybody is, by name."""
        return [standing(device, order) for _, device in sorted(self.devices.items())]

    def takers(self) -> Iterator[str]:
        """Devices that are there and can take a bundle."""
        return (device.name for device in self.devices.values() if device.online and device.hears == "all")

    def counters(self, signer: str) -> Iterator[int]:
        """What devices have told of the counters of a key."""
        for device in self.devices.values():
            if device.reported is not None and (counter := device.reported.counters.get(signer[:SHORT])) is not None:
                yield counter

    def _note(self, name: str, channel: Channel, payload: bytes) -> None:
        if channel is Channel.REPORTED:
            reported = Reported.from_bytes(payload, name)
            self._device(name).reported = reported
        elif channel in (Channel.BIRTH, Channel.STATE):
            said = announcement.read(payload, name, path=channel.value)
            device = self._device(name)
            if channel is Channel.STATE:
                device.online = said.get("state") == "online"
            else:
                device.born = True
                device.hears = said["update"] if said.get("update") in ("orders", "all") else None

    def _device(self, name: str) -> Device:
        return self.devices.setdefault(name, Device(name))


def standing(device: Device, order: Sent) -> Standing:
    """Where one device is with an order."""
    said = device.reported
    now = said.now if said is not None else None
    row = Standing(device=device.name, phase=Phase.WAITING, version=now.version if now else None)
    if device.born and device.hears is None:
        return replace(row, phase=Phase.DEAF)
    told = said.order if said is not None and said.order is not None and said.order.digest == order.digest else None
    if told is not None and told.outcome is not Outcome.OBEYED:
        return replace(row, phase=Phase.REFUSED, remark=told.problem)
    obeyed = said is not None and any(said.counters.get(s, 0) >= order.command.counter for s in order.signers)
    if said is None or not obeyed:
        if device.hears == "orders":
            return replace(row, phase=Phase.BLIND)
        return row if device.online or device.expected else replace(row, phase=Phase.AWAY)
    if order.offer is None:
        return replace(row, phase=Phase.OBEYED) if said.applied else row
    phase, remark = _with_bundle(said, order.offer.sha256)
    if phase not in ENDED and not device.online and not device.expected:
        phase = Phase.AWAY
    row = replace(row, phase=phase, remark=remark)
    return replace(row, received=said.received, chunks=said.chunks) if phase is Phase.FETCHING else row


def _with_bundle(said: Reported, sha256: str) -> tuple[Phase, str]:
    now, trouble = said.now, said.trouble or ""
    idle = next((slot for name, slot in said.slots.items() if name != said.running), None)
    if now is not None and now.sha256 == sha256:
        return (Phase.CONFIRMED if now.state is SlotState.CONFIRMED else Phase.TRIAL), trouble
    if sha256[:SHORT] in said.rejected:
        reason = idle.reason if idle is not None and idle.sha256 == sha256 else None
        return Phase.BACK, reason or "it failed here before"
    if not said.reaches:
        return Phase.OUTSIDE, ""
    tested = idle is not None and idle.sha256 == sha256 and idle.state in {SlotState.STAGED, SlotState.VERIFIED}
    return (Phase.TESTING if tested else Phase.FETCHING), trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What came of one share of the fleet."""

    percent: int
    phases: Counter[Phase] = field(default_factory=Counter)

    @classmethod
    def of(cls, percent: int, rows: list[Standing]) -> Stage:
        """Count the rows."""
        return cls(percent=percent, phases=Counter(row.phase for row in rows))

    @property
    def share_back(self) -> float:
        """Of those that came to an end with the bundle, how many went back; 0 when none did."""
        back, kept = self.phases[Phase.BACK], self.phases[Phase.CONFIRMED]
        return back / (back + kept) if back + kept else 0.0

    @property
    def tried(self) -> bool:
        """Whether anybody came to an end with the bundle, so that something is known of it."""
        return bool(self.phases[Phase.BACK] or self.phases[Phase.CONFIRMED])

    @property
    def ended(self) -> bool:
        """Whether there is nobody left to wait for."""
        return all(phase in ENDED for phase in self.phases)

    def lost(self, limit: float) -> bool:
        """Whether more than that share goes back even if everybody who is on the way keeps the bundle."""
        on_the_way = sum(count for phase, count in self.phases.items() if phase not in ENDED)
        back, kept = self.phases[Phase.BACK], self.phases[Phase.CONFIRMED]
        return back > limit * (back + kept + on_the_way)


def with_somebody_in(percents: Iterable[int], offer: Offer, takers: Iterable[str]) -> list[int]:
    """The same shares, rising, those that hold nobody widened to the smallest that holds one.

    A share of a small fleet often holds nobody, and says nothing of the bundle then.
    """
    least = min((offer.least_percent(device) for device in takers), default=0)
    return sorted({max(percent, least) for percent in percents})
