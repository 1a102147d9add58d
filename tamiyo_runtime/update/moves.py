"""The record after each step of an update: pure functions that raise and change nothing when a step is not possible."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tamiyo_runtime.contracts.errors import DowngradeError, InputError
from tamiyo_runtime.update.record import KEPT_REJECTED, Record, Slot, other_slot
from tamiyo_runtime.update.states import IllegalMoveError, SlotEvent, SlotState, step

MAX_STARTS = 3
"""How often a bundle on trial may be started without being confirmed: a device that crashes on it comes back alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a verified bundle says of itself; ``signer`` is a key's fingerprint, ``public`` the key in hexadecimal."""

    name: str
    version: int
    signer: str
    public: str | None = None


def begin(record: Record, *, sha256: str, size_bytes: int, again: bool = False) -> Record:
    """A transfer into the idle slot starts. ``again``: also of a file that was rejected here.

    Raises IllegalMoveError during a trial, InputError for a file that runs already or was rejected.
    """
    if record.on_trial:
        raise IllegalMoveError(
            "a bundle is on trial, and the other slot is what to go back to",
            hint="first: tamiyo update confirm STATE_DIR, or tamiyo update rollback STATE_DIR",
        )
    if record.running is not None and record.slots[record.running].sha256 == sha256:
        raise InputError("this bundle runs already", hint="tamiyo update status STATE_DIR")
    if sha256 in record.rejected and not again:
        raise InputError("this bundle was rejected on this device before", hint="pass --again to try it once more")
    slot = record.slots[record.idle]
    return _put(
        record, record.idle, Slot(state=step(slot.state, SlotEvent.BEGIN), sha256=sha256, size_bytes=size_bytes)
    )


def complete(record: Record) -> Record:
    """Every chunk is there, and the whole has the right hash."""
    return _move(record, record.idle, SlotEvent.COMPLETE)


def accept(record: Record, identity: Identity) -> Record:
    """The staged bundle was opened and is good.

    Raises DowngradeError when a higher version by the same signer was confirmed here before: the rule of
    ``tamiyo_runtime.installed``, with the version counted at its confirmation, so that a trial can be taken back.
    """
    highest = record.highest(identity.signer, identity.name)
    if identity.version < highest:
        raise DowngradeError(
            f"version {identity.version} of '{identity.name}'; version {highest} by the same signer was confirmed here",
            hint="export the older network under a higher version: tamiyo export --bundle-version N",
        )
    slot = record.slots[record.idle]
    state = step(slot.state, SlotEvent.PASS)
    known = replace(
        slot,
        state=state,
        name=identity.name,
        version=identity.version,
        signer=identity.signer,
        public=identity.public,
    )
    return _put(record, record.idle, known)


def refuse(record: Record, reason: str) -> Record:
    """The staged bundle was opened and is not what it should be."""
    return _reject(_move(record, record.idle, SlotEvent.REFUSE), record.idle, reason)


def switch(record: Record) -> Record:
    """What was verified runs from now on: on trial, or for good when it is the device's first."""
    new, first = record.idle, record.running is None
    slot = record.slots[new]
    slot = replace(slot, state=step(slot.state, SlotEvent.INSTALL if first else SlotEvent.SWITCH))
    switched = replace(record, slots={**record.slots, new: slot}, running=new, starts=0)
    return _raise_version(switched, slot) if first else switched


def confirm(record: Record) -> Record:
    """The trial went well; from now on no lower version of this bundle is taken."""
    if not record.on_trial or record.running is None:
        raise IllegalMoveError("nothing is on trial", hint="tamiyo update status STATE_DIR shows how things stand")
    return _raise_version(_move(record, record.running, SlotEvent.CONFIRM), record.slots[record.running])


def fail(record: Record, reason: str, *, allow_downgrade: bool = False) -> Record:
    """Give up what runs and go back to the other slot.

    Raises IllegalMoveError when there is nothing to go back to, DowngradeError when what runs was confirmed, so that
    going back means running an older version, and ``allow_downgrade`` is False.
    """
    running = record.running
    if running is None or record.slots[other_slot(running)].state is not SlotState.CONFIRMED:
        raise IllegalMoveError("the other slot holds nothing to go back to", hint="apply another bundle instead")
    back = record.slots[other_slot(running)]
    older = back.version is not None and back.version < record.highest(str(back.signer), str(back.name))
    if older and not allow_downgrade:
        raise DowngradeError(
            f"the other slot holds version {back.version} of '{back.name}'; a later one was confirmed here",
            hint="if the older one is meant, pass --allow-downgrade",
        )
    slot = replace(record.slots[running], state=step(record.slots[running].state, SlotEvent.FAIL), reason=reason)
    slots = {**record.slots, running: slot}
    return replace(
        record, slots=slots, running=other_slot(running), starts=0, rejected=_rejected(record, str(slot.sha256))
    )


def started(record: Record) -> Record:
    """The runtime is about to start: counts on a trial; beyond ``MAX_STARTS`` it goes back instead."""
    if not record.on_trial:
        return record
    if record.starts >= MAX_STARTS:
        return fail(record, f"started {record.starts} times without being confirmed")
    return replace(record, starts=record.starts + 1)


def _move(record: Record, name: str, event: SlotEvent) -> Record:
    slot = record.slots[name]
    return _put(record, name, replace(slot, state=step(slot.state, event)))


def _put(record: Record, name: str, slot: Slot) -> Record:
    return replace(record, slots={**record.slots, name: slot})


def _reject(record: Record, name: str, reason: str) -> Record:
    slot = replace(record.slots[name], reason=reason)
    return replace(_put(record, name, slot), rejected=_rejected(record, str(slot.sha256)))


def _rejected(record: Record, sha256: str) -> tuple[str, ...]:
    return (*(item for item in record.rejected if item != sha256), sha256)[-KEPT_REJECTED:]


def _raise_version(record: Record, slot: Slot) -> Record:
    signer, name, version = str(slot.signer), str(slot.name), slot.version or 1
    if version <= record.highest(signer, name):
        return record
    return replace(record, versions={**record.versions, signer: {**record.versions.get(signer, {}), name: version}})
