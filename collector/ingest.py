"""From a message of a topic to something the store can keep. Pure and total: no message raises."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from collector.arrivals import Announcement, Arrival, Delivery, Rejected
from collector.coverage import Coverage
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.records import Ack
from tamiyo_runtime.contracts.skim import Skim, skim
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.topics import Channel, parse

_parse = lru_cache(4096)(parse)  # a fleet says everything on a few topics, again and again


def arrival(topic: str, payload: bytes, received_s: float, *, fleet: str, epoch: int | None = 0) -> Arrival:
    """What that message is. The device's name comes from the topic, which a broker with rights can vouch for."""
    try:
        address, channel = _parse(topic)
        if address.fleet != fleet:
            return Rejected(topic, f"fleet {address.fleet!r} is not {fleet!r}", payload, received_s)
        if channel in (Channel.TELEMETRY, Channel.EVENTS):
            return Delivery(address.device, skim(payload, device=address.device), received_s, epoch)
        if channel not in (Channel.BIRTH, Channel.STATE):
            return Rejected(topic, f"nobody says {channel.value} to a collector", payload, received_s)
        said = announcement.read(payload, address.device, path=channel.value)
        if channel is Channel.BIRTH:
            return Announcement(address.device, said, None, received_s)
        return Announcement(address.device, None, said, received_s)
    except UsageError as exc:
        return Rejected(topic, exc.message, payload, received_s)


def acks(frames: Iterable[Skim]) -> list[Ack]:
    """The acks that say these frames of one device are stored, one a boot, or several when one cannot hold it."""
    stored: dict[int, Coverage] = {}
    for frame in frames:
        coverage = stored.setdefault(frame.boot, Coverage())
        for first, last in frame.spans:
            coverage.add(first, last)
    return [
        Ack(boot, tuple(ranges[start : start + wire.MAX_ACK_RANGES]))
        for boot, coverage in stored.items()
        for ranges in [coverage.spans]
        for start in range(0, len(ranges), wire.MAX_ACK_RANGES)
    ]
