"""What may follow what in a slot, as one transition table.

    EMPTY      nothing was ever here
    RECEIVING  chunks arrive; whatever was here before no longer counts
    STAGED     complete, and its hash is right; not yet opened
    VERIFIED   signature, contents and version were accepted
    TRIAL      runs, and is watched; the other slot is kept to go back to
    CONFIRMED  ran well, or is the first; runs, or is what to go back to
    REJECTED   refused, or failed its trial; not run again

An illegal event raises and changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

from tamiyo_runtime.contracts.errors import UsageError


class SlotState(StrEnum):
    """What a slot holds."""

    EMPTY = "empty"
    RECEIVING = "receiving"
    STAGED = "staged"
    VERIFIED = "verified"
    TRIAL = "trial"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"


class SlotEvent(StrEnum):
    """What happens to a slot."""

    BEGIN = "begin"  # a transfer into it starts
    COMPLETE = "complete"  # every chunk is there and the whole has the right hash
    PASS = "pass"  # noqa: S105  it was opened and accepted
    REFUSE = "refuse"  # it was opened and is not what it should be
    INSTALL = "install"  # it becomes the first bundle of the device: there is nothing to go back to
    SWITCH = "switch"  # it runs from now on, on trial
    CONFIRM = "confirm"  # the trial went well
    FAIL = "fail"  # it is given up for the other slot


RUNNABLE = frozenset({SlotState.TRIAL, SlotState.CONFIRMED})

TRANSITIONS: dict[SlotState, dict[SlotEvent, SlotState]] = {
    SlotState.EMPTY: {SlotEvent.BEGIN: SlotState.RECEIVING},
    SlotState.RECEIVING: {SlotEvent.BEGIN: SlotState.RECEIVING, SlotEvent.COMPLETE: SlotState.STAGED},
    SlotState.STAGED: {
        SlotEvent.BEGIN: SlotState.RECEIVING,
        SlotEvent.PASS: SlotState.VERIFIED,
        SlotEvent.REFUSE: SlotState.REJECTED,
    },
    SlotState.VERIFIED: {
        SlotEvent.BEGIN: SlotState.RECEIVING,
        SlotEvent.REFUSE: SlotState.REJECTED,
        SlotEvent.INSTALL: SlotState.CONFIRMED,
        SlotEvent.SWITCH: SlotState.TRIAL,
    },
    SlotState.TRIAL: {SlotEvent.CONFIRM: SlotState.CONFIRMED, SlotEvent.FAIL: SlotState.REJECTED},
    SlotState.CONFIRMED: {SlotEvent.BEGIN: SlotState.RECEIVING, SlotEvent.FAIL: SlotState.REJECTED},
    SlotState.REJECTED: {SlotEvent.BEGIN: SlotState.RECEIVING},
}


class IllegalMoveError(UsageError):
    """A step that is not possible as things stand; nothing was changed."""


def step(state: SlotState, event: SlotEvent) -> SlotState:
    """The state after an event; raises IllegalMoveError."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise IllegalMoveError(
            f"a slot that is {state} cannot {event}", hint="tamiyo update status STATE_DIR shows how things stand"
        ) from None
