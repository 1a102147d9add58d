"""Each kind of record as a row of non-negative integers, and back. Used by `wire` only.

What a contract already guarantees is not sent: a window's number of inferences is the sum of its counts; wrong answers
and unlabelled inferences are sent in place of the right and labelled ones because they are small. Codes are
append-only: a record written by version 1 is read for ever. Code 1 is a window as version 1 had it, without a sketch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar

from tamiyo_runtime.contracts.columns import LIMIT, Reader, put_columns, put_varint, unzigzag, zigzag
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import (
    Decision,
    Event,
    EventRecord,
    LossReason,
    Mode,
    Reason,
    Record,
    Sample,
    Tombstone,
    Window,
)
from tamiyo_runtime.contracts.sketch import sketch_from, tokens_of

MAX_STRINGS = 1024
MAX_STRING_BYTES = 1024
MAX_COUNTS = 1 << 14  # configurations named by all windows of a frame together
MAX_TOKENS = 1 << 16  # of the sketches of all windows of a frame together
_LEVEL_BITS = 3
_UNTHROTTLED = 1000  # per mille
_CONFIGURATION = re.compile("c[01]+")

E = TypeVar("E", bound=Enum)

REASONS = dict(enumerate((
    Reason.POLICY, Reason.LATENCY, Reason.ENERGY, Reason.MEMORY, Reason.HYSTERESIS, Reason.UNAVAILABLE,
    Reason.POLICY_FAILED, Reason.NO_POLICY, Reason.SKIP_LATENCY, Reason.SKIP_ENERGY, Reason.THERMAL, Reason.DEADLINE,
    Reason.DRIFT, Reason.SKIP_LATE, Reason.SKIP_THERMAL,
)))  # fmt: skip
MODES = dict(enumerate((Mode.NORMAL, Mode.DEGRADED, Mode.SAFE, Mode.ROLLBACK, Mode.FAULT)))
EVENTS = dict(enumerate((
    Event.START, Event.STOP, Event.MODE, Event.THROTTLE, Event.BUDGET, Event.DEADLINE_MISS, Event.POLICY_FAILURE,
    Event.LINK_LOST, Event.LINK_RESTORED, Event.SOURCE_LOSS, Event.FLASH, Event.DRIFT, Event.RELOAD, Event.ORDER,
    Event.UPDATE, Event.CLOCK, Event.DISK, Event.SPOOL_LOST,
)))  # fmt: skip
LOSSES = dict(enumerate((
    LossReason.SPOOL_FULL, LossReason.EXPIRED, LossReason.TOO_LARGE, LossReason.DISK_FULL, LossReason.DAMAGED,
)))  # fmt: skip
_REASON_CODES = {reason: code for code, reason in REASONS.items()}
_MODE_CODES = {mode: code for code, mode in MODES.items()}
_EVENT_CODES = {event: code for code, event in EVENTS.items()}
_LOSS_CODES = {loss: code for code, loss in LOSSES.items()}


class TooLargeError(SchemaError):
    """The records are fine but too many for one frame."""


class Strings:
    """The string table of a frame: every text once, named by its place.

    Since version 2 a length is doubled, and odd for a configuration's id, whose gates are then bits: ``c0101`` takes
    two bytes in place of six, which a LoRa frame at SF12 needs.
    """

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self._texts = list(texts)
        self._places = {text: place for place, text in enumerate(self._texts)}

    def __len__(self) -> int:
        return len(self._texts)

    def place(self, text: str) -> int:
        """Where ``text`` is, adding it when it is new."""
        return self._places.setdefault(text, len(self._places))

    def text(self, place: int) -> str:
        """The text at that place; raises SchemaError when there is none."""
        require(place < len(self._texts), "frame", f"no string {place} in a table of {len(self._texts)}")
        return self._texts[place]

    def put(self, out: bytearray) -> None:
        """Append the table."""
        if len(self._places) > MAX_STRINGS:
            raise TooLargeError("frame", f"more than {MAX_STRINGS} strings")
        put_varint(out, len(self._places))
        for text in self._places:
            try:
                data = text.encode()
            except UnicodeEncodeError as exc:
                raise SchemaError("frame", f"{text!r} is not text: {exc.reason}") from None
            require(len(data) <= MAX_STRING_BYTES, "frame", f"a string of {len(data)} bytes")
            if _CONFIGURATION.fullmatch(text):
                gates = len(text) - 1
                put_varint(out, 2 * gates + 1)
                out += int(text[1:], 2).to_bytes(-(-gates // 8))
            else:
                put_varint(out, 2 * len(data))
                out += data

    @classmethod
    def read(cls, reader: Reader, version: int) -> Strings:
        """The table at the cursor."""
        texts = []
        for _ in range(reader.varint(below=MAX_STRINGS + 1)):
            size = reader.varint(below=2 * MAX_STRING_BYTES + 2)
            if version > 1 and size & 1:
                gates = size // 2
                bits = int.from_bytes(reader.take(-(-gates // 8)))
                require(0 < gates < MAX_STRING_BYTES and bits < 1 << gates, "frame", "no configuration's id")
                texts.append(f"c{bits:0{gates}b}")
                continue
            data = reader.take(size if version == 1 else size // 2)
            require(len(data) <= MAX_STRING_BYTES, "frame", f"a string of {len(data)} bytes")
            try:
                texts.append(data.decode())
            except UnicodeDecodeError as exc:
                raise SchemaError("frame", f"a string is not UTF-8: {exc.reason}") from None
        require(len(set(texts)) == len(texts), "frame", "a string is given twice")
        return cls(texts)


Extra = Mapping[str, Any]
Row = list[int]
Counts = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Tail:
    """What of a window has no fixed length: counts by configuration, and the tokens of its sketch."""

    counts: Sequence[tuple[int, int]] = ()
    tokens: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """How one kind of record is laid out. ``width`` counts the columns of a row.

    ``build`` takes the row, the tail (windows only), the strings, the batch's boot and the extra fields. The rows of
    windows end with the number of counts; where ``sketched``, they have the number of tokens before it.
    """

    kind: str
    width: int
    row: Callable[[Any, Strings, int], Row]
    build: Callable[[Row, Tail, Strings, int, Extra], Record]
    sketched: bool = False

    def put(self, out: bytearray, records: Sequence[Record], strings: Strings, boot: int) -> None:
        """Append the columns of ``records``, then the tails of windows."""
        rows = [self.row(record, strings, boot) for record in records]
        put_columns(out, list(zip(*rows, strict=True)))
        if self.kind == Window.KIND:
            counts = [pair for record in records for pair in _counts(record, strings)]
            if len(counts) > MAX_COUNTS:
                raise TooLargeError("records", f"{len(counts)} counts are more than {MAX_COUNTS}")
            put_columns(out, list(zip(*counts, strict=True)) if counts else [(), ()])
        if self.sketched:
            tokens = [token for record in records for token in _tokens(record)]
            if len(tokens) > MAX_TOKENS:
                raise TooLargeError("records", f"{len(tokens)} tokens are more than {MAX_TOKENS}")
            put_columns(out, [tokens])

    def read(self, reader: Reader, count: int) -> tuple[list[Row], list[Tail]]:
        """``count`` rows, and the tail of each."""
        rows = [list(row) for row in zip(*reader.columns(self.width, count), strict=True)]
        if self.kind != Window.KIND:
            return rows, [Tail()] * count
        total = sum(row[-1] for row in rows)
        require(total <= MAX_COUNTS, "frame", f"{total} counts are more than {MAX_COUNTS}")
        pairs = list(zip(*reader.columns(2, total), strict=True))
        tokens: list[int] = []
        if self.sketched:
            total = sum(row[-2] for row in rows)
            require(total <= MAX_TOKENS, "frame", f"{total} tokens are more than {MAX_TOKENS}")
            (tokens,) = reader.columns(1, total)
        result, pairs_at, tokens_at = [], 0, 0
        for row in rows:
            pairs_end, tokens_end = pairs_at + row[-1], tokens_at + (row[-2] if self.sketched else 0)
            result.append(Tail(pairs[pairs_at:pairs_end], tokens[tokens_at:tokens_end]))
            pairs_at, tokens_at = pairs_end, tokens_end
        return rows, result


def _counts(record: Record, strings: Strings) -> Counts:
    assert isinstance(record, Window)
    return sorted((strings.place(name), count) for name, count in record.counts.items())


def _member(table: Mapping[int, E], code: int, path: str) -> E:
    if code not in table:
        raise SchemaError(path, f"code {code} is unknown", hint="the sender may be newer: upgrade tamiyo-edge")
    return table[code]


def _first_window_row(record: Window, strings: Strings, boot: int) -> Row:
    """As version 1 wrote it, without a sketch."""
    return [
        record.t_ms,
        record.duration_ms,
        record.skipped,
        record.deadline_misses,
        record.latency_p50_us,
        record.latency_p95_us,
        record.latency_max_us,
        record.energy_uj,
        record.inferences - record.labelled,
        record.labelled - record.correct,
        record.bucket_permille,
        record.throttle_permille,
        len(record.counts),
    ]


def _first_window(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> Window:
    inferences = sum(count for _, count in tail.counts)
    require(inferences < LIMIT and row[8] + row[9] <= inferences, "window", "more unlabelled and wrong than inferences")
    named = {strings.text(place): count for place, count in tail.counts}
    require(len(named) == len(tail.counts), "window.counts", "a configuration is named twice")
    return Window(
        t_ms=row[0],
        duration_ms=row[1],
        inferences=inferences,
        skipped=row[2],
        deadline_misses=row[3],
        latency_p50_us=row[4],
        latency_p95_us=row[5],
        latency_max_us=row[6],
        energy_uj=row[7],
        labelled=inferences - row[8],
        correct=inferences - row[8] - row[9],
        bucket_permille=row[10],
        throttle_permille=row[11],
        counts=named,
        extra=extra,
    )


def _window_row(record: Window, strings: Strings, boot: int) -> Row:
    """Percentiles as steps, throttle from its usual value, how few are labelled or not, and the number of tokens."""
    row = _first_window_row(record, strings, boot)
    row[5:7] = [zigzag(row[5] - row[4]), zigzag(row[6] - row[5])]
    few = min(record.labelled, record.inferences - record.labelled)
    row[8] = 2 * few + (few < record.labelled)  # odd: so many are not labelled
    return [*row[:11], zigzag(row[11] - _UNTHROTTLED), len(_tokens(record)), row[12]]


def _tokens(record: Record) -> list[int]:
    """Of a sketch: its first bucket and level, then its counts. None of no sketch."""
    sketch = record.latency_sketch if isinstance(record, Window) else None
    if sketch is None:
        return []
    first = sketch.buckets[0][0] if sketch.buckets else 0
    return [first << _LEVEL_BITS | sketch.level, *tokens_of(sketch)]


def _window(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> Window:
    p95 = row[4] + unzigzag(row[5])
    few, inferences = row[8] // 2, sum(count for _, count in tail.counts)
    unlabelled = few if row[8] & 1 else inferences - few
    throttle = _UNTHROTTLED + unzigzag(row[11])
    first = [*row[:5], p95, p95 + unzigzag(row[6]), row[7], unlabelled, *row[9:11], throttle, row[13]]
    require(unlabelled >= 0, "window.labelled", "more labelled than inferences")
    require(max(first) < LIMIT, "window", "a value is outside 0..2^63-1")
    window = _first_window(first, tail, strings, boot, extra)
    if not tail.tokens:
        return window
    index, level = divmod(tail.tokens[0], 1 << _LEVEL_BITS)
    return replace(window, latency_sketch=sketch_from(level, index, tail.tokens[1:]))


def _decision_row(record: Decision, strings: Strings, boot: int) -> Row:
    return [
        record.t_ms,
        strings.place(record.proposed),
        strings.place(record.granted),
        _REASON_CODES[record.reason],
        _MODE_CODES[record.mode],
        zigzag(record.latency_left_permille),
        zigzag(record.bucket_permille),
    ]


def _decision(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> Decision:
    return Decision(
        t_ms=row[0],
        proposed=strings.text(row[1]),
        granted=strings.text(row[2]),
        reason=_member(REASONS, row[3], "decision.reason"),
        mode=_member(MODES, row[4], "decision.mode"),
        latency_left_permille=unzigzag(row[5]),
        bucket_permille=unzigzag(row[6]),
        extra=extra,
    )


def _event_row(record: EventRecord, strings: Strings, boot: int) -> Row:
    return [record.t_ms, _EVENT_CODES[record.event], zigzag(record.value), strings.place(record.detail)]


def _event(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> EventRecord:
    return EventRecord(
        t_ms=row[0],
        event=_member(EVENTS, row[1], "event.event"),
        value=unzigzag(row[2]),
        detail=strings.text(row[3]),
        extra=extra,
    )


def _sample_row(record: Sample, strings: Strings, boot: int) -> Row:
    return [
        record.t_ms,
        strings.place(record.configuration),
        record.answer,
        record.confidence_permille,
        record.latency_us,
        record.energy_uj,
    ]


def _sample(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> Sample:
    return Sample(
        t_ms=row[0],
        configuration=strings.text(row[1]),
        answer=row[2],
        confidence_permille=row[3],
        latency_us=row[4],
        energy_uj=row[5],
        extra=extra,
    )


def _tombstone_row(record: Tombstone, strings: Strings, boot: int) -> Row:
    return [
        record.t_ms,
        record.boot ^ boot,  # 0 for the usual case, and never negative
        record.first_seq,
        record.last_seq - record.first_seq,
        _LOSS_CODES[record.reason],
    ]


def _tombstone(row: Row, tail: Tail, strings: Strings, boot: int, extra: Extra) -> Tombstone:
    about, last = boot ^ row[1], row[2] + row[3]
    require(last < LIMIT, "tombstone", "a number is outside 0..2^63-1")
    return Tombstone(
        t_ms=row[0],
        boot=about,
        first_seq=row[2],
        last_seq=last,
        reason=_member(LOSSES, row[4], "tombstone.reason"),
        extra=extra,
    )


LAYOUTS: Mapping[int, Layout] = {
    1: Layout(Window.KIND, 13, _first_window_row, _first_window),
    2: Layout(Decision.KIND, 7, _decision_row, _decision),
    3: Layout(EventRecord.KIND, 4, _event_row, _event),
    4: Layout(Sample.KIND, 6, _sample_row, _sample),
    5: Layout(Tombstone.KIND, 5, _tombstone_row, _tombstone),
    6: Layout(Window.KIND, 14, _window_row, _window, sketched=True),
}
CODE_OF_KIND: Mapping[str, int] = {layout.kind: code for code, layout in LAYOUTS.items()}
"""What is written; of a kind with several codes the last."""
