"""Radio states of a device, what moves between them, and the energy of each.

After a transfer the radio stays up: it listens all the time at first, then by discontinuous reception (DRX), until the
network releases it to idle (or to RRC_INACTIVE), and later perhaps to the power saving mode. How long since the last
data decides, so the states in between are a list of *phases*. The next transfer is preceded by a promotion, whose
length depends on the phase it finds. States and timers: TS 38.331 and TS 36.331 (RRC), TS 36.304 and TS 24.301 (PSM).

    psm, idle, inactive -> promoting -> connected -> tail -> drx -> inactive -> idle -> psm      phases may be left out
    tail, drx -> connected                                                                      without a promotion

The time in tail and DRX is there because of the transfer before it, and is charged to it: `tail_uj`. Idle and below are
the price of being reachable, charged to nobody: `rest_uj`.

No paging that wakes the device, no failed promotion, no tracking area updates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.cellular.figures import Figure


class State(StrEnum):
    """What the radio does."""

    PSM = "psm"
    IDLE = "idle"
    INACTIVE = "inactive"
    PROMOTING = "promoting"
    CONNECTED = "connected"
    TAIL = "tail"
    DRX = "drx"


_PHASES = (State.TAIL, State.DRX, State.INACTIVE, State.IDLE, State.PSM)  # in the order in which they follow data
CHARGED = frozenset({State.TAIL, State.DRX})
RESTING = frozenset({State.INACTIVE, State.IDLE, State.PSM})
NEXT: Mapping[State, frozenset[State]] = {
    State.PROMOTING: frozenset({State.CONNECTED}),
    State.CONNECTED: frozenset(_PHASES) | {State.CONNECTED},
    State.TAIL: frozenset({State.CONNECTED, State.DRX, *RESTING}),
    State.DRX: frozenset({State.CONNECTED, *RESTING}),
    State.INACTIVE: frozenset({State.PROMOTING, State.IDLE, State.PSM}),
    State.IDLE: frozenset({State.PROMOTING, State.PSM}),
    State.PSM: frozenset({State.PROMOTING}),
}
"""Every legal step; a radio that sends again at once stays connected."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A state until ``until_s`` after the last data; the last phase has ``until_s`` infinite."""

    state: State
    until_s: float
    power_mw: Figure


@dataclass(frozen=True, slots=True)
class Promotion:
    """From a resting state to connected."""

    duration_s: Figure
    power_mw: Figure

    @property
    def energy_uj(self) -> float:
        """Of the whole promotion."""
        return self.duration_s.value * self.power_mw.value * 1e3


@dataclass(frozen=True, slots=True)
class Transfer:
    """The radio is wanted from ``start_s``; promoted, it is connected for ``duration_s``.

    ``air_s`` of that it sends ``megabits``.
    """

    start_s: float
    duration_s: float
    air_s: float = 0.0
    megabits: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.air_s <= self.duration_s < math.inf):
            raise ValueError(f"a transfer of {self.duration_s} s cannot send for {self.air_s} s: 0 <= air <= duration")
        if not (math.isfinite(self.start_s) and 0 <= self.megabits < math.inf):
            raise ValueError(f"no transfer begins at {self.start_s} s and sends {self.megabits} megabits")


@dataclass(frozen=True, slots=True)
class Span:
    """A state for a while."""

    state: State
    start_s: float
    end_s: float
    energy_uj: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """The rules of one network and the powers of one device.

    Connected, the radio draws ``connected_mw``, ``sending_mw`` in its place while it sends, and ``mj_per_megabit`` more
    for what it sends (as fits of power against rate have it: mW per Mb/s).
    """

    phases: tuple[Phase, ...]
    promotions: Mapping[State, Promotion]
    connected_mw: Figure
    sending_mw: Figure
    mj_per_megabit: Figure

    def __post_init__(self) -> None:
        ends = [phase.until_s for phase in self.phases]
        order = [_PHASES.index(phase.state) if phase.state in _PHASES else -1 for phase in self.phases]
        if not self.phases or -1 in order or sorted(set(order)) != order:
            raise ValueError(f"phases are some of {', '.join(_PHASES)}, in that order")
        if sorted(set(ends)) != ends or ends[0] <= 0 or ends[-1] != math.inf:
            raise ValueError(f"phases end at {ends} s: they must rise from above 0, and the last must be infinite")
        resting = {phase.state for phase in self.phases if phase.state in RESTING}
        if not resting or resting - set(self.promotions):
            raise ValueError(f"a promotion is missing: needed are {', '.join(sorted(resting)) or 'a resting phase'}")

    @property
    def connected_s(self) -> float:
        """How long after the last data the network keeps the connection."""
        return max((phase.until_s for phase in self.phases if phase.state in CHARGED), default=0.0)

    def phase_after(self, gap_s: float) -> Phase:
        """The phase that a transfer finds ``gap_s`` after the end of the one before; ``inf`` is before the first."""
        return next(phase for phase in self.phases if gap_s < phase.until_s or phase.until_s == math.inf)

    def promotion_after(self, gap_s: float) -> Promotion | None:
        """What has to happen first; None while the connection lasts."""
        state = self.phase_after(gap_s).state
        return None if state in CHARGED else self.promotions[state]

    def tail_uj(self, gap_s: ArrayLike) -> NDArray[np.float64]:
        """Energy of tail and DRX in the first ``gap_s`` after data, any shape."""
        return self._phases_uj(gap_s, CHARGED)

    def rest_uj(self, gap_s: ArrayLike) -> NDArray[np.float64]:
        """Energy of idle and below in the first ``gap_s`` after data, any shape."""
        return self._phases_uj(gap_s, RESTING)

    def transfer_uj(self, transfer: Transfer) -> float:
        """Energy while connected."""
        listening_mj = self.connected_mw.value * (transfer.duration_s - transfer.air_s)
        sending_mj = self.sending_mw.value * transfer.air_s
        return (listening_mj + sending_mj + self.mj_per_megabit.value * transfer.megabits) * 1e3

    def _phases_uj(self, gap_s: ArrayLike, states: frozenset[State]) -> NDArray[np.float64]:
        gaps = np.asarray(gap_s, dtype=np.float64)
        if not bool(np.all(gaps >= 0)):
            raise ValueError(f"a gap of {gaps.min()} s is below 0")
        total, begins_s = np.zeros(gaps.shape), 0.0
        for phase in self.phases:
            if phase.state in states:
                total += phase.power_mw.value * 1e3 * (np.clip(gaps, begins_s, phase.until_s) - begins_s)
            begins_s = phase.until_s
        return total


def timeline(radio: Radio, transfers: Sequence[Transfer], until_s: float) -> Iterator[Span]:
    """Everything the radio does from 0 to ``until_s``, state by state; at 0 it has rested for ever.

    Raises ValueError for a transfer that begins before the radio is free, or ends after ``until_s``.
    """
    free_s, rested = 0.0, True
    for transfer in transfers:
        if transfer.start_s < free_s:
            raise ValueError(f"the transfer at {transfer.start_s} s begins before the radio is free at {free_s} s")
        yield from _between(radio, free_s, transfer.start_s, rested)
        now_s = transfer.start_s
        promotion = radio.promotion_after(math.inf if rested else transfer.start_s - free_s)
        if promotion is not None:
            end_s = now_s + promotion.duration_s.value
            yield Span(State.PROMOTING, now_s, end_s, promotion.energy_uj)
            now_s = end_s
        free_s, rested = now_s + transfer.duration_s, False
        yield Span(State.CONNECTED, now_s, free_s, radio.transfer_uj(transfer))
    if free_s > until_s:
        raise ValueError(f"the last transfer ends at {free_s} s, after {until_s} s")
    yield from _between(radio, free_s, until_s, rested)


def _between(radio: Radio, since_s: float, until_s: float, rested: bool) -> Iterator[Span]:
    phases = radio.phases[-1:] if rested else radio.phases
    begins_s = since_s
    for phase in phases:
        end_s = min(until_s, since_s + phase.until_s)
        if end_s > begins_s:
            yield Span(phase.state, begins_s, end_s, phase.power_mw.value * (end_s - begins_s) * 1e3)
        begins_s = max(begins_s, end_s)


class Account:
    """Charges transfers with what they cause as they come, tail included, before it is known how the tail ends.

    A transfer pays its promotion, its connected time and its whole tail; one that comes while the tail of the one
    before still runs is given back what is left of it. So the sum over any schedule is what `timeline` spends on
    everything but rest.
    """

    def __init__(self, radio: Radio) -> None:
        self._radio = radio
        self._whole_uj = float(radio.tail_uj(radio.connected_s))
        self._free_s: float | None = None

    def promotion_s(self, now_s: float) -> float:
        """Time from wanting to send until the radio is connected."""
        promotion = self._radio.promotion_after(self._gap_s(now_s))
        return promotion.duration_s.value if promotion else 0.0

    def charge_uj(self, transfer: Transfer) -> float:
        """Energy that a transfer adds; raises ValueError when it begins before the one before it ended."""
        gap_s, radio = self._gap_s(transfer.start_s), self._radio
        if gap_s < 0:
            raise ValueError(
                f"the transfer at {transfer.start_s} s begins before the radio is free at {self._free_s} s"
            )
        promotion = radio.promotion_after(gap_s)
        if promotion is None:
            self._free_s = transfer.start_s + transfer.duration_s
            return radio.transfer_uj(transfer) + float(radio.tail_uj(gap_s))  # its tail, less what is left of the other
        self._free_s = transfer.start_s + promotion.duration_s.value + transfer.duration_s
        return promotion.energy_uj + radio.transfer_uj(transfer) + self._whole_uj

    def _gap_s(self, now_s: float) -> float:
        return math.inf if self._free_s is None else now_s - self._free_s
