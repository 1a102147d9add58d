"""Telemetry records: what a device says of itself. No raw sample is ever part of one.

Records are numbered per boot; (device, boot, seq) names one for ever. Durations and energies are integers in the
unit of the field's name, so that JSON, the compact codec and the collector's store agree to the last digit. Times
(``t_ms``) are on the device's own clock, which is monotonic and starts anywhere; a batch's `Stamp` says how to place
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, ClassVar

from tamiyo_runtime.contracts.document import dump, load, require
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.explained import Explained
from tamiyo_runtime.contracts.sketch import Sketch
from tamiyo_runtime.contracts.stamp import Stamp

SCHEMA = "tamiyo.records/2"


class Priority(IntEnum):
    """Order of sending, and of dropping when the spool is full (the last goes first)."""

    ALARM = 0
    EVENT = 1
    METRIC = 2
    RAW = 3  # single samples: only ever sent over a link that carries them


class Mode(Explained):
    """How the runtime is doing."""

    NORMAL = "normal", "running what was asked for"
    DEGRADED = "degraded", "running less than was asked for, because of a budget"
    SAFE = "safe", "running the bare host only, though more was asked for, or because a monitor alarms"
    ROLLBACK = "rollback", "a configuration failed and is being replaced by the bare host"
    FAULT = "fault", "nothing runs"


class Reason(Explained):
    """Why a configuration was granted, or a sample skipped. One enumeration for records, logs and docs."""

    POLICY = "policy", "as the policy proposed, or more accurate at no more cost"
    LATENCY = "latency", "the proposal would not meet the deadline"
    ENERGY = "energy", "the token bucket does not hold the energy"
    MEMORY = "memory", "does not fit in memory, or in what is left of it"
    HYSTERESIS = "hysteresis", "changed too recently"
    UNAVAILABLE = "unavailable", "the proposed seeds are no configuration of this bundle; the nearest one runs"
    POLICY_FAILED = "policy_failed", "the policy crashed, answered NaN or did not answer in time; the governor chose"
    NO_POLICY = "no_policy", "there is none, or it was switched off; the governor chose"
    SKIP_LATENCY = "skip_latency", "even the bare host would miss the deadline"
    SKIP_ENERGY = "skip_energy", "even the bare host would overdraw the energy budget"
    THERMAL = "thermal", "would heat the board beyond where it slows down"
    DEADLINE = "deadline", "seeds were left out on the way: with them the answer would have been late"
    DRIFT = "drift", "a monitor says that the input, or what the network makes of it, is no longer what it was made for"
    SKIP_LATE = "skip_late", "the sample had waited so long that no answer would have been in time"
    SKIP_THERMAL = "skip_thermal", "the board is too hot for even the bare host"


class Event(Explained):
    """Things that happen, each once when it begins and, where it lasts, once when it ends."""

    START = "start", "a run began; detail: variant, interpreter and board"
    STOP = "stop", "it ended; detail: done, stopped (by a signal), fault, or what the source complained of"
    MODE = "mode", "the mode changed; detail: the new one"
    THROTTLE = "throttle", "the board changed its speed; value: latency multiplier in per mille"
    BUDGET = "budget", "the budget was changed; detail says which limit"
    DEADLINE_MISS = "deadline_miss", "an answer came late; value: us from the arrival of its sample to the answer"
    POLICY_FAILURE = "policy_failure", "the policy began to fail; detail: how"
    LINK_LOST = "link_lost", "the broker is out of reach"
    LINK_RESTORED = "link_restored", "it is back"
    SOURCE_LOSS = "source_loss", "value: samples lost on their way in, since the start; detail: why, and how many each"
    DRIFT = "drift", "value: 1 when a monitor alarms, 0 when it rests again; detail: which one"
    RELOAD = "reload", "another bundle runs; value: its version; detail: its digest, or why it does not run"
    ORDER = "order", "a signed order was obeyed (value: its counter) or refused (0); detail: which, or why"
    UPDATE = "update", "an update went a step on; detail: slot and state"
    CLOCK = "clock", "the wall clock was set; value: by how many ms"
    FLASH = "flash", "the flash budget makes windows longer than they would be; value: seconds of one, 0 when it ends"
    SPOOL_LOST = "spool_lost", "the spool was damaged and set aside: what waited in it is lost; detail: its new name"
    DISK = "disk", "the spool cannot be written, value 1, and is in memory meanwhile; 0 when it can again; detail: why"


class LossReason(Explained):
    """Why records were dropped before they could be delivered."""

    SPOOL_FULL = "spool_full", "the spool was full: least important and oldest first"
    EXPIRED = "expired", "older than records of their class may get"
    TOO_LARGE = "too_large", "no frame of the link can carry it"
    DISK_FULL = "disk_full", "it was in memory, the disk being full, when the process ended"
    DAMAGED = "damaged", "what the disk gave back was no record"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A summary of all inferences in a stretch of time: what a slow link carries instead of samples.

    ``counts`` maps a configuration id to its number of inferences, and the empty id to those of all that a small frame
    had no room to name; ``correct`` counts right answers among
    ``labelled`` ones. Latencies are of the inferences in the window, us. ``latency_sketch`` counts the latencies of all
    of them, so that windows can be merged; None in windows of versions that made none.
    """

    KIND: ClassVar[str] = "window"
    PRIORITY: ClassVar[Priority] = Priority.METRIC

    t_ms: int
    duration_ms: int
    inferences: int
    skipped: int
    deadline_misses: int
    latency_p50_us: int
    latency_p95_us: int
    latency_max_us: int
    energy_uj: int
    labelled: int
    correct: int
    bucket_permille: int
    throttle_permille: int
    counts: Mapping[str, int]
    latency_sketch: Sketch | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_integers(self)
        require(sum(self.counts.values()) == self.inferences, "counts", "must add up to inferences")
        require(
            self.correct <= self.labelled <= self.inferences,
            "correct",
            "correct <= labelled <= inferences is false",
        )
        if self.latency_sketch is not None:
            require(self.latency_sketch.count == self.inferences, "latency_sketch", "must count every inference")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A change of what runs, and why. ``proposed`` is the policy's configuration id, or empty when there was none."""

    KIND: ClassVar[str] = "decision"
    PRIORITY: ClassVar[Priority] = Priority.EVENT

    t_ms: int
    proposed: str
    granted: str
    reason: Reason
    mode: Mode
    latency_left_permille: int
    bucket_permille: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.t_ms >= 0, "t_ms", "must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRecord:
    """Something that happened."""

    KIND: ClassVar[str] = "event"
    PRIORITY: ClassVar[Priority] = Priority.ALARM

    t_ms: int
    event: Event
    value: int = 0
    detail: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.t_ms >= 0, "t_ms", "must not be negative")
        require(len(self.detail.encode()) <= 64, "detail", "must not exceed 64 bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One inference, for links that can carry them: what was decided and what it took, never the input."""

    KIND: ClassVar[str] = "sample"
    PRIORITY: ClassVar[Priority] = Priority.RAW

    t_ms: int
    configuration: str
    answer: int
    confidence_permille: int
    latency_us: int
    energy_uj: int
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_integers(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """Records ``first_seq..last_seq`` of ``boot`` were dropped: loss is never silent. It is itself delivered.

    It may travel in a less urgent class than its own: with what the dropped records would have travelled with.
    """

    KIND: ClassVar[str] = "tombstone"
    PRIORITY: ClassVar[Priority] = Priority.ALARM

    t_ms: int
    boot: int
    first_seq: int
    last_seq: int
    reason: LossReason
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(self.t_ms >= 0, "t_ms", "must not be negative")
        require(
            0 <= self.first_seq <= self.last_seq,
            "first_seq",
            f"{self.first_seq}..{self.last_seq} is no range",
        )
        require(self.boot >= 0, "boot", "must not be negative")


Record = Window | Decision | EventRecord | Sample | Tombstone
KINDS: Mapping[str, type[Record]] = {cls.KIND: cls for cls in (Window, Decision, EventRecord, Sample, Tombstone)}


@dataclass(frozen=True, slots=True)
class Numbered:
    """A record with its sequence number within the boot."""

    seq: int
    record: Record


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one boot on their way to the collector.

    ``bundle``: first 8 hex digits of the manifest's sha256; empty where a frame is too small for it: the birth has it.

    ``created`` counts the records numbered in that boot when the batch was made, so that the collector knows of those
    still on their way; 0 when the sender doesn't say. ``stamp``: see `Stamp`; None when the sender is of a version that
    had none.
    """

    boot: int
    bundle: str
    records: tuple[Numbered, ...]
    created: int = 0
    stamp: Stamp | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """The collector's word, after its commit, that these sequence numbers (inclusive ranges) of ``boot`` are stored."""

    boot: int
    ranges: tuple[tuple[int, int], ...]


def record_to_dict(record: Record) -> dict[str, Any]:
    """The record as plain data, with its ``kind``."""
    return {"kind": record.KIND, **dump(record)}


def record_from_dict(data: Mapping[str, Any], *, path: str = "record") -> Record:
    """The inverse of ``record_to_dict``; raises SchemaError on an unknown kind or a field out of range."""
    rest = dict(data)
    kind = rest.pop("kind", None)
    if kind not in KINDS:
        raise SchemaError(f"{path}.kind", f"{kind!r} is not one of {', '.join(KINDS)}")
    return load(KINDS[kind], rest, path=path)


def _check_integers(record: Any) -> None:
    for name in record.__slots__:
        value = getattr(record, name)
        if isinstance(value, int):
            require(value >= 0, name, f"must not be negative, got {value}")
