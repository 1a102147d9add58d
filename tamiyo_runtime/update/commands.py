"""Signed orders to a device or a fleet, and what may be said to them: bytes, a record and a time in, a decision out.

An order is one DSSE envelope around a canonical JSON document. It is obeyed when all of this holds, looked at in this
order: signed by a key that counts for commands; of the form below, without a field that is not; for this device or its
fleet; within its time; with a counter above every one that this signer used before; and possible. Nothing here reads a
clock or a file, and nothing raises, whatever the bytes are.

The time is the later of the clock and the latest time that this device ever saw, so a clock that was set back, or a
device that lost its clock, does not bring an expired order back to life. What is accepted raises that latest time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import canonical_json, check_schema, check_tame, load, parse_json, require
from tamiyo_runtime.contracts.errors import SchemaError, SignatureError
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.update.record import MAX_REVOKED, Offer, Record, Role, TrustedKey, require_sha256

SCHEMA = "tamiyo.command/1"
PAYLOAD_TYPE = "application/vnd.tamiyo.command+json"
LIMIT_BYTES = 16 << 10
LONGEST_S = 366 * 86400
"""An order may not be good for longer than a year: one that was lost and found again should not count."""

_LATEST_S = 1 << 40
_NOT_ORDERED = ("memory_bytes", "airtime_s_per_hour", "link_bytes_per_day")  # `tamiyo run` takes them from the bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """Keys to trust from now on, and fingerprints never to trust again. A revoked key cannot be added again."""

    add: tuple[TrustedKey, ...] = ()
    revoke: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require(bool(self.add or self.revoke), "keys", "neither adds nor revokes a key")
        for key_id in self.revoke:
            require_sha256(key_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """An order. One of ``device`` and ``fleet`` says who, one of the five fields at the end what.

    ``counter`` rises with every order of a signer. ``not_before_s`` and ``expires_s``: seconds since 1970, the second
    one no longer within. ``lift_budget`` goes back to the bundle's own budget; ``stage_percent`` changes the share of
    the fleet that takes the bundle offered before.
    """

    schema: str
    counter: int
    not_before_s: int
    expires_s: int
    device: str | None = None
    fleet: str | None = None
    budget: Budget | None = None
    lift_budget: bool | None = None
    policy: bool | None = None
    bundle: Offer | None = None
    stage_percent: int | None = None
    keys: KeyChange | None = None

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA)
        require(0 < self.counter < 1 << 53, "counter", f"must be in [1, 2^53), got {self.counter}")
        require(0 <= self.not_before_s < self.expires_s < _LATEST_S, "expires_s", "must be after not_before_s")
        require(self.expires_s - self.not_before_s <= LONGEST_S, "expires_s", "more than a year after not_before_s")
        require((self.device is None) != (self.fleet is None), "device", "give the device or the fleet")
        require(len(self.orders) == 1, "command", f"one order, not {len(self.orders)}")
        require(self.lift_budget is not False, "lift_budget", "false says nothing")
        if self.budget is not None:
            require(not self.budget.extra, "budget", f"unknown field '{min(self.budget.extra, default='')}'")
            for name in _NOT_ORDERED:
                require(getattr(self.budget, name) is None, "budget", f"{name} cannot be ordered")
        if self.stage_percent is not None:
            legal = 0 <= self.stage_percent <= 100
            require(legal, "stage_percent", f"must be in [0, 100], got {self.stage_percent}")

    @property
    def orders(self) -> tuple[str, ...]:
        """Names of the orders that are given."""
        names = ("budget", "lift_budget", "policy", "bundle", "stage_percent", "keys")
        return tuple(name for name in names if getattr(self, name) is not None)

    def sign(self, key: SigningKey) -> bytes:
        """The envelope."""
        return key.sign(canonical_json(self), payload_type=PAYLOAD_TYPE)


class Refusal(StrEnum):
    """Why an order is not obeyed."""

    SIGNATURE = "signature"  # none, not matching, or by a key that does not count for commands
    FORM = "form"  # signed, and not an order
    TARGET = "target"  # for somebody else
    TIME = "time"  # not yet, or no longer
    COUNTER = "counter"  # this one, or a later one, was obeyed before
    IMPOSSIBLE = "impossible"  # as things stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is said to an order. ``record`` is the one to keep: the old one when the order is refused.

    ``signer``: fingerprint of the trusted key that signed it, None when none did.
    """

    record: Record
    command: Command | None = None
    signer: str | None = None
    refusal: Refusal | None = None
    problem: str = ""

    @property
    def repeated(self) -> bool:
        """Whether this is the last order of its signer once more, as a broker sends it at every connection."""
        if self.refusal is not Refusal.COUNTER or self.command is None:
            return False
        return self.record.counters.get(str(self.signer)) == self.command.counter


def decide(envelope: bytes, record: Record, clock_s: int) -> Decision:
    """Say what becomes of an order. ``clock_s``: the device's clock, seconds since 1970, 0 without one."""
    if len(envelope) > 2 * LIMIT_BYTES:
        return Decision(record=record, refusal=Refusal.SIGNATURE, problem=f"{len(envelope)} bytes are no order")
    try:
        payload, signer = record.trust(Role.COMMAND).verify(envelope, payload_type=PAYLOAD_TYPE)
    except SignatureError as exc:
        return Decision(record=record, refusal=Refusal.SIGNATURE, problem=exc.message)
    try:
        command = parse(payload)
    except SchemaError as exc:
        return Decision(record=record, signer=signer.id, refusal=Refusal.FORM, problem=exc.message)
    now_s = max(clock_s, record.latest_s)
    refusal, problem = _objection(command, record, signer.id, now_s)
    if refusal is not None:
        return Decision(record=record, command=command, signer=signer.id, refusal=refusal, problem=problem)
    try:
        changed = _carry_out(command, record)
        kept = replace(
            changed,
            counters={**_of_trusted(changed), signer.id: command.counter},
            latest_s=min(max(now_s, command.not_before_s), _LATEST_S),
        )
    except SchemaError as exc:  # the record refuses to become what was ordered, as with no key left
        impossible = Refusal.IMPOSSIBLE
        return Decision(record=record, command=command, signer=signer.id, refusal=impossible, problem=exc.message)
    return Decision(record=kept, command=command, signer=signer.id)


def parse(payload: bytes) -> Command:
    """An order from its document; raises SchemaError for whatever is not exactly one."""
    data = parse_json(payload, path="command", limit_bytes=LIMIT_BYTES)
    check_tame(data, path="command")
    if isinstance(data, Mapping) and isinstance(data.get("schema"), str):
        check_schema(data["schema"], SCHEMA, path="command.schema")
    return load(Command, data, path="command")


def _objection(command: Command, record: Record, signer: str, now_s: int) -> tuple[Refusal | None, str]:
    if command.device is not None and command.device != record.device:
        return Refusal.TARGET, f"for device '{command.device}', this is '{record.device}'"
    if command.fleet is not None and command.fleet != record.fleet:
        return Refusal.TARGET, f"for fleet '{command.fleet}', this device is in '{record.fleet}'"
    if now_s < command.not_before_s:
        return Refusal.TIME, f"good in {command.not_before_s - now_s} s"
    if now_s >= command.expires_s:
        return Refusal.TIME, f"expired {now_s - command.expires_s} s ago"
    last = record.counters.get(signer, 0)
    if command.counter <= last:
        return Refusal.COUNTER, f"counter {command.counter}; {last} of this signer was obeyed before"
    return None, ""


def _carry_out(command: Command, record: Record) -> Record:
    if command.budget is not None:
        return replace(record, budget=command.budget)
    if command.lift_budget:
        return replace(record, budget=None)
    if command.policy is not None:
        return replace(record, policy=command.policy)
    if command.bundle is not None:
        return _take_on(command.bundle, record)
    if command.keys is not None:
        return _change_keys(command.keys, record)
    require(record.offer is not None, "stage_percent", "no bundle was offered")
    assert record.offer is not None
    return replace(record, offer=replace(record.offer, stage_percent=command.stage_percent or 0))


def _take_on(offer: Offer, record: Record) -> Record:
    """The record with another offer. ``again`` lets a file off once: if it fails again, it is rejected again."""
    pardoned = offer.sha256 if offer.again else None
    rejected = tuple(sha256 for sha256 in record.rejected if sha256 != pardoned)
    return replace(record, offer=replace(offer, again=None), rejected=rejected)


def _change_keys(change: KeyChange, record: Record) -> Record:
    """The record with other keys. A key that is there already gets the roles of the new entry."""
    revoked = (*record.revoked, *(key_id for key_id in change.revoke if key_id not in record.revoked))
    require(len(revoked) <= MAX_REVOKED, "revoke", f"more than {MAX_REVOKED} keys are revoked")
    kept = {key.key.id: key for key in record.keys}
    for key in change.add:
        require(key.key.id not in revoked, "add", f"key {key.key.short_id} is revoked")
        kept[key.key.id] = key
    return replace(record, keys=tuple(key for key_id, key in kept.items() if key_id not in revoked), revoked=revoked)


def _of_trusted(record: Record) -> dict[str, int]:
    """Counters of keys that are no longer trusted need not be kept: revoked keys never come back."""
    trusted = {key.key.id for key in record.keys}
    return {key_id: counter for key_id, counter in record.counters.items() if key_id in trusted}
