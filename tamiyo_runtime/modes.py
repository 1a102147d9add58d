"""How the runtime is doing, as one transition table (docs/codes.md shows it).

Getting worse is immediate; getting better takes ``RECOVERY`` signals in a row, so that a device at the edge of its
budget does not report a change at every sample. An illegal signal raises and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.explained import Explained
from tamiyo_runtime.contracts.records import Mode

RECOVERY = 8


class Signal(Explained):
    """What happened to a sample, or to a configuration."""

    GRANTED = "granted", "ran as proposed"
    REDUCED = "reduced", "ran less than proposed"
    BARE = "bare", "ran the bare host though more was proposed"
    ALARMED = "alarmed", "a monitor alarms, so the bare host runs"
    STARVED = "starved", "nothing has run for a while"
    BROKEN = "broken", "a configuration failed: it crashed, or answered no number"
    RESTORED = "restored", "the bare host runs in its place"
    LOST = "lost", "the bare host failed as well"


class IllegalSignalError(TamiyoError):
    """A signal that cannot occur in the present mode: a defect of the caller."""


_SERVING = {
    Signal.GRANTED: Mode.NORMAL,
    Signal.REDUCED: Mode.DEGRADED,
    Signal.BARE: Mode.SAFE,
    Signal.ALARMED: Mode.SAFE,
    Signal.STARVED: Mode.FAULT,
    Signal.BROKEN: Mode.ROLLBACK,
}
TRANSITIONS: dict[Mode, dict[Signal, Mode]] = {
    Mode.NORMAL: _SERVING,
    Mode.DEGRADED: _SERVING,
    Mode.SAFE: _SERVING,
    Mode.FAULT: _SERVING,
    Mode.ROLLBACK: {Signal.RESTORED: Mode.SAFE, Signal.LOST: Mode.FAULT},
}
_SEVERITY = {Mode.NORMAL: 0, Mode.DEGRADED: 1, Mode.SAFE: 2, Mode.ROLLBACK: 3, Mode.FAULT: 4}


@dataclass(frozen=True, slots=True)
class ModeState:
    """The mode, and how many signals in a row have spoken for ``better``, the best mode that all of them allow."""

    mode: Mode = Mode.NORMAL
    better: Mode = Mode.NORMAL
    streak: int = 0


def step(state: ModeState, signal: Signal) -> ModeState:
    """The state after a signal; raises IllegalSignalError."""
    try:
        target = TRANSITIONS[state.mode][signal]
    except KeyError:
        raise IllegalSignalError(f"signal '{signal}' in mode '{state.mode}'") from None
    if state.mode is Mode.ROLLBACK or _SEVERITY[target] > _SEVERITY[state.mode]:
        return ModeState(target)
    if target is state.mode:
        return state if state.streak == 0 else ModeState(target)
    better = target if state.streak == 0 else max(target, state.better, key=_SEVERITY.__getitem__)
    if state.streak + 1 >= RECOVERY:
        return ModeState(better)
    return ModeState(state.mode, better, state.streak + 1)
