"""How the clock of a device stands to the wall clock: what a batch says of it, and the few bytes that takes.

A byte of flags: quality of the wall clock (2 bits), whether the time of sending follows (4), whether the offset follows
(8), whether there is a stamp at all (16). Then the time of sending as zigzag distance from the latest ``t_ms`` of the
batch, and the offset, zigzag. That is 1 byte where nothing is known, 3 or 4 as a rule, and 6 more with the offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.columns import LIMIT, Reader, put_varint, unzigzag, zigzag
from tamiyo_runtime.contracts.document import require

_HAS_SENT, _HAS_OFFSET, _HAS_STAMP = 4, 8, 16


class TimeQuality(StrEnum):
    """What a device's wall clock is worth."""

    NONE = "none"  # it has no idea, or cannot tell
    RTC = "rtc"  # set from a battery-backed clock, or once from a network and unattended since: drifts by seconds a day
    NTP = "ntp"  # held by a network's time


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """How a boot's clock stood when a batch of it was made, so that its times can be placed on the wall clock.

    ``sent_ms``: that clock, when the batch was made; None when that clock no longer runs (the machine was started anew
    since). ``offset_ms``: Unix time in ms at the clock's zero as the device has it, so that a record was made at
    ``offset_ms + t_ms``; None with `TimeQuality.NONE`, and otherwise in batches until one of them is acked. What the
    device has told of a boot holds until it tells something else.

    How to place the times of a boot: by the highest ``offset_ms`` told with quality ntp; where there is none, by the
    least ``received_ms - sent_ms`` of all its batches, first deliveries and repeats alike: a batch is never received
    before it was made, so that is the true offset plus the shortest delay there was (a LoRa frame's time on air; some
    ms on a cable); where there is none of that either, by the highest told with quality rtc. Where nothing is known,
    records are no younger than their batch's arrival. One offset serves a whole boot, since its clock is never set; a
    better one that comes later holds for the earlier records too. A told offset that exceeds the least ``received_ms -
    sent_ms`` by more than the two clocks may differ is wrong, and does not count.
    """

    sent_ms: int | None = None
    offset_ms: int | None = None
    quality: TimeQuality = TimeQuality.NONE

    def __post_init__(self) -> None:
        require(self.sent_ms is None or self.sent_ms >= 0, "sent_ms", f"must not be negative, got {self.sent_ms}")
        require(
            self.offset_ms is None or self.quality is not TimeQuality.NONE,
            "offset_ms",
            "a clock of no quality has none",
        )


QUALITIES = dict(enumerate((TimeQuality.NONE, TimeQuality.RTC, TimeQuality.NTP)))
_QUALITY_CODES = {quality: code for code, quality in QUALITIES.items()}


@dataclass(frozen=True, slots=True)
class CodedStamp:
    """A stamp as it is on the wire. ``sent`` is counted from the latest ``t_ms`` of the batch."""

    flags: int = 0
    sent: int = 0
    offset_ms: int = 0

    @classmethod
    def of(cls, stamp: Stamp | None, latest_ms: int) -> CodedStamp:
        """The coded form of a stamp, or of none."""
        if stamp is None:
            return cls()
        flags = _HAS_STAMP | _QUALITY_CODES[stamp.quality]
        flags |= 0 if stamp.sent_ms is None else _HAS_SENT
        flags |= 0 if stamp.offset_ms is None else _HAS_OFFSET
        return cls(flags, 0 if stamp.sent_ms is None else stamp.sent_ms - latest_ms, stamp.offset_ms or 0)

    @classmethod
    def read(cls, reader: Reader) -> CodedStamp:
        """The stamp at the cursor; raises SchemaError."""
        flags = reader.varint(below=2 * _HAS_STAMP)
        sensible = bool(flags & _HAS_STAMP) and flags & 3 in QUALITIES
        require(not flags or sensible, "frame.stamp", f"{flags} makes no sense")
        sent = unzigzag(reader.varint()) if flags & _HAS_SENT else 0
        return cls(flags, sent, unzigzag(reader.varint()) if flags & _HAS_OFFSET else 0)

    def put(self, out: bytearray) -> None:
        """Append it; raises SchemaError for what has no place in 63 bits."""
        out.append(self.flags)
        if self.flags & _HAS_SENT:
            put_varint(out, zigzag(self.sent))
        if self.flags & _HAS_OFFSET:
            put_varint(out, zigzag(self.offset_ms))

    def decoded(self, latest_ms: int) -> Stamp | None:
        """The stamp; raises SchemaError for one that cannot be."""
        if not self.flags:
            return None
        sent_ms = latest_ms + self.sent
        require(sent_ms < LIMIT, "frame.stamp", f"{sent_ms} ms is outside 0..2^63-1")
        return Stamp(
            sent_ms=sent_ms if self.flags & _HAS_SENT else None,
            offset_ms=self.offset_ms if self.flags & _HAS_OFFSET else None,
            quality=QUALITIES[self.flags & 3],
        )
