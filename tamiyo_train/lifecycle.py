"""The life of a seed: one table, and nothing else decides what may follow what.

    DORMANT -germinate-> GERMINATED -probe_passed-> TRAINING -advance-> BLENDING -blended-> SHADOWING
            -shadowed-> PROBATIONARY -fossilise-> FOSSILISED
    GERMINATED, TRAINING, BLENDING, SHADOWING, PROBATIONARY -cull-> CULLED -embargo-> EMBARGOED -release-> DORMANT
    FOSSILISED -retire-> CULLED

A fossilised seed is part of the network: no panic culls it. It is retired only when it no longer earns its place, and
never where the network would be worse without it. An event the table does not list raises `IllegalEventError` and
changes nothing; every transition that happens is handed to the auditor before the new state can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from tamiyo_runtime.contracts.errors import TamiyoError


class State(StrEnum):
    """Where a slot's seed is in its life."""

    DORMANT = "dormant"
    GERMINATED = "germinated"
    TRAINING = "training"
    BLENDING = "blending"
    SHADOWING = "shadowing"
    PROBATIONARY = "probationary"
    FOSSILISED = "fossilised"
    CULLED = "culled"
    EMBARGOED = "embargoed"


class Event(StrEnum):
    """What can happen to a seed."""

    GERMINATE = "germinate"
    PROBE_PASSED = "probe_passed"
    ADVANCE = "advance"
    BLENDED = "blended"
    SHADOWED = "shadowed"
    FOSSILISE = "fossilise"
    CULL = "cull"
    RETIRE = "retire"
    EMBARGO = "embargo"
    RELEASE = "release"


LIVE: frozenset[State] = frozenset(
    {State.GERMINATED, State.TRAINING, State.BLENDING, State.SHADOWING, State.PROBATIONARY}
)
"""States in which a seed exists and can still be culled."""

TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.DORMANT, Event.GERMINATE): State.GERMINATED,
        (State.GERMINATED, Event.PROBE_PASSED): State.TRAINING,
        (State.TRAINING, Event.ADVANCE): State.BLENDING,
        (State.BLENDING, Event.BLENDED): State.SHADOWING,
        (State.SHADOWING, Event.SHADOWED): State.PROBATIONARY,
        (State.PROBATIONARY, Event.FOSSILISE): State.FOSSILISED,
        **{(state, Event.CULL): State.CULLED for state in State if state in LIVE},
        (State.FOSSILISED, Event.RETIRE): State.CULLED,
        (State.CULLED, Event.EMBARGO): State.EMBARGOED,
        (State.EMBARGOED, Event.RELEASE): State.DORMANT,
    }
)


class IllegalEventError(TamiyoError):
    """An event that the present state does not allow: a defect of the caller."""

    def __init__(self, slot: int | str, state: State, event: Event) -> None:
        legal = ", ".join(sorted(e for s, e in TRANSITIONS if s is state))
        super().__init__(f"slot {slot}: '{event}' is not allowed while {state}", hint=f"allowed: {legal}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step of a life, as it is audited. ``step`` is the training step at which it happened.

    ``path``: where the slot is, "2" for slot 2 of the host, "2.0" for the first slot inside the seed in slot 2.
    """

    slot: int
    path: str
    step: int
    before: State
    event: Event
    after: State
    reason: str


def allowed(state: State, event: Event) -> bool:
    """Whether the table lists the event for that state."""
    return (state, event) in TRANSITIONS


def follow(state: State, event: Event, *, slot: int | str) -> State:
    """The state after the event; raises IllegalEventError."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalEventError(slot, state, event) from None


class LifeCycle:
    """The state of one slot. It changes through `fire` only, and through `rewind` when a snapshot is restored."""

    def __init__(self, slot: int, audit: Callable[[Transition], None], *, state: State = State.DORMANT) -> None:
        self.slot = slot
        self.path = str(slot)
        self._audit = audit
        self._state = state

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    def fire(self, event: Event, *, step: int, reason: str) -> Transition:
        """Follow the table and audit; raises IllegalEventError and changes nothing when it does not list the event."""
        transition = Transition(
            slot=self.slot,
            path=self.path,
            step=step,
            before=self._state,
            event=event,
            after=follow(self._state, event, slot=self.path),
            reason=reason,
        )
        self._audit(transition)
        self._state = transition.after
        return transition

    def rewind(self, state: State, *, path: str | None = None) -> None:
        """Return to a state recorded in a snapshot; the governor audits the rollback as a whole, before it happens."""
        self._state = state
        self.path = self.path if path is None else path


def table() -> str:
    """The transition table in Markdown: a row a state, the events it allows and where they lead."""
    rows = ["| state | event | next state |", "| --- | --- | --- |"]
    for state in State:
        rows += [
            f"| {state.name} | {event} | {after.name} |" for (s, event), after in TRANSITIONS.items() if s is state
        ]
    return "\n".join(rows)
