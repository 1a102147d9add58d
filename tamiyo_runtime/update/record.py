"""All that a device remembers of its updates, as one document: replaced whole, so its parts never disagree.

An accepted command changes its counter and has its effect in the same write; a power cut leaves both or neither. On
disk the document is followed by its SHA-256, which tells a worn-out card from a document that was never legal.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import canonical_json, check_schema, check_tame, load, parse_json, require
from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.manifest import MAX_VERSION
from tamiyo_runtime.signing import PublicKey, Trust
from tamiyo_runtime.update.states import RUNNABLE, SlotState

SCHEMA = "tamiyo.update/1"
SLOTS = ("a", "b")
MAX_KEYS = 16
MAX_REVOKED = 64
KEPT_REJECTED = 16
LIMIT_BYTES = 256 << 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Role(StrEnum):
    """What a key's signature counts for. Two keys for two roles: one stolen key is then not enough."""

    COMMAND = "command"
    BUNDLE = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """An Ed25519 public key, 32 bytes in hexadecimal, and what it may sign."""

    public: str
    roles: tuple[Role, ...]

    def __post_init__(self) -> None:
        require(_SHA256.fullmatch(self.public) is not None, "public", "must be 32 bytes in hexadecimal")
        require(bool(self.roles) and len(set(self.roles)) == len(self.roles), "roles", "one or more, each once")

    @property
    def key(self) -> PublicKey:
        """The key itself."""
        return PublicKey(bytes.fromhex(self.public))


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A bundle that the fleet is to run: the SHA-256 and size of the file, and the share of devices that take it.

    ``again``: also where it was rejected before. It counts when the order is obeyed, and is not kept in the record.
    """

    sha256: str
    size_bytes: int
    stage_percent: int = 100
    again: bool | None = None

    def __post_init__(self) -> None:
        require_sha256(self.sha256)
        require(self.size_bytes > 0, "size_bytes", "must be above 0")
        require(self.again is not False, "again", "false says nothing")
        require(0 <= self.stage_percent <= 100, "stage_percent", f"must be in [0, 100], got {self.stage_percent}")

    def reaches(self, device: str) -> bool:
        """Whether a device is among the share. A higher share always holds the devices of a lower one."""
        return self.least_percent(device) <= self.stage_percent

    def least_percent(self, device: str) -> int:
        """The smallest share that a device is among, from 1 to 100: a fair draw from the bundle and the name."""
        draw = int.from_bytes(hashlib.sha256(f"{self.sha256} {device}".encode()).digest()[:8], "big")
        return (draw * 100 >> 64) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One slot. ``sha256`` and ``size_bytes`` are those of the file; name, version, signer are known once verified.

    ``public``: the signer's key, in hexadecimal, so that what was verified can be opened after its key was revoked.
    """

    state: SlotState = SlotState.EMPTY
    sha256: str | None = None
    size_bytes: int | None = None
    name: str | None = None
    version: int | None = None
    signer: str | None = None
    reason: str | None = None
    public: str | None = None

    def __post_init__(self) -> None:
        require(self.public is None or _SHA256.fullmatch(self.public) is not None, "public", "must be 32 bytes")
        filled = self.sha256 is not None and self.size_bytes is not None
        require(filled or self.state is SlotState.EMPTY, "sha256", f"a slot that is {self.state} has a file")
        if self.state in RUNNABLE or self.state is SlotState.VERIFIED:
            require(None not in (self.name, self.version, self.signer), "name", f"a slot that is {self.state} has one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The document. What cannot be is refused when it is built, so no step can lead there.

    ``running``: the slot that runs, None before the first bundle. ``starts``: of the bundle on trial. ``versions``:
    the highest version confirmed here, by signer and name. ``rejected``: hashes of files that failed here, latest
    last. ``counters``: the highest counter of an accepted command, by signer. ``latest_s``: the latest time seen, in
    seconds since 1970; the clock is never believed to be before it. ``budget`` None stands for the bundle's own.
    """

    schema: str
    device: str
    fleet: str
    slots: Mapping[str, Slot]
    keys: tuple[TrustedKey, ...]
    running: str | None = None
    starts: int = 0
    versions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    revoked: tuple[str, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    latest_s: int = 0
    budget: Budget | None = None
    policy: bool = True
    offer: Offer | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA)
        for what, name in (("device", self.device), ("fleet", self.fleet)):
            require(_NAME.fullmatch(name) is not None, what, f"{name!r}: letters, digits, '.', '_', '-', 64 at most")
        require(set(self.slots) == set(SLOTS), "slots", f"must be {' and '.join(SLOTS)}")
        trials = [name for name, slot in self.slots.items() if slot.state is SlotState.TRIAL]
        if self.running is None:
            require(not trials, "running", "a trial runs")
            require(not any(s.state in RUNNABLE for s in self.slots.values()), "running", "a slot could run, none does")
        else:
            require(self.running in self.slots, "running", f"no slot {self.running!r}")
            require(self.slots[self.running].state in RUNNABLE, "running", f"slot {self.running} cannot run")
            require(trials in ([], [self.running]), "slots", "only what runs is on trial")
            if trials:
                other = self.slots[other_slot(self.running)]
                require(other.state is SlotState.CONFIRMED, "slots", "a trial has nothing to go back to")
        require(0 < len(self.keys) <= MAX_KEYS, "keys", f"must be 1 to {MAX_KEYS}")
        require(any(Role.COMMAND in key.roles for key in self.keys), "keys", "none may sign commands")
        require(any(Role.BUNDLE in key.roles for key in self.keys), "keys", "none may sign bundles")
        ids = [key.key.id for key in self.keys]
        require(len(set(ids)) == len(ids), "keys", "one is there twice")
        require(not set(ids) & set(self.revoked), "keys", "one is revoked")
        require(len(self.revoked) <= MAX_REVOKED, "revoked", f"more than {MAX_REVOKED}")
        for value in (self.starts, self.latest_s, *self.counters.values()):
            require(0 <= value < 1 << 63, "counters", f"{value} is out of range")
        for names in self.versions.values():
            require(all(0 < v <= MAX_VERSION for v in names.values()), "versions", "one is out of range")

    @property
    def idle(self) -> str:
        """The slot that may be written."""
        return SLOTS[0] if self.running is None else other_slot(self.running)

    @property
    def on_trial(self) -> bool:
        """Whether what runs is on trial."""
        return self.running is not None and self.slots[self.running].state is SlotState.TRIAL

    def trust(self, role: Role) -> Trust:
        """The keys that count for a role."""
        return Trust.of(*(key.key for key in self.keys if role in key.roles))

    def trust_of(self, name: str) -> Trust:
        """The key that a slot's bundle was verified with; whichever count for bundles while none was."""
        public = self.slots[name].public
        return self.trust(Role.BUNDLE) if public is None else Trust.of(PublicKey(bytes.fromhex(public)))

    def highest(self, signer: str, name: str) -> int:
        """The highest version of a signer's bundle that was confirmed here; 1 when none is known."""
        return self.versions.get(signer, {}).get(name, 1)

    def to_bytes(self) -> bytes:
        """The document and, on a line of its own, its SHA-256."""
        document = canonical_json(self)
        return document + b"\n" + hashlib.sha256(document).hexdigest().encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes) -> Record:
        """The inverse; raises IntegrityError, or SchemaVersionError when a later tamiyo wrote it."""
        hint = "restore the state folder from a copy, or make a new one: tamiyo update init"
        document, _, digest = raw.rpartition(b"\n")[0].rpartition(b"\n")
        if hashlib.sha256(document).hexdigest().encode() != digest:
            raise IntegrityError("the record of updates is damaged: its hash does not match", hint=hint)
        try:
            data = parse_json(document, path="record", limit_bytes=LIMIT_BYTES)
            check_tame(data, path="record")
            if isinstance(data, Mapping) and isinstance(data.get("schema"), str):
                check_schema(data["schema"], SCHEMA)  # before anything a later version may change
            return load(cls, data, path="record")
        except SchemaVersionError:
            raise
        except SchemaError as exc:
            raise IntegrityError(f"the record of updates is damaged ({exc.message})", hint=hint) from exc


def other_slot(name: str) -> str:
    """``b`` for ``a`` and the reverse."""
    return SLOTS[1 - SLOTS.index(name)]


def require_sha256(text: str) -> None:
    """Raise SchemaError unless a text is a SHA-256 in hexadecimal."""
    require(_SHA256.fullmatch(text) is not None, "sha256", "must be 64 hexadecimal digits")


def new_record(device: str, fleet: str, keys: tuple[TrustedKey, ...]) -> Record:
    """The record of a device that has no bundle yet."""
    return Record(schema=SCHEMA, device=device, fleet=fleet, slots={name: Slot() for name in SLOTS}, keys=keys)
