"""The mode table: worse at once, better after eight in a row, illegal signals change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.modes import RECOVERY, TRANSITIONS, IllegalSignalError, ModeState, Signal, step

SERVING = [Signal.GRANTED, Signal.REDUCED, Signal.BARE, Signal.ALARMED, Signal.STARVED]
ORDER = [Mode.NORMAL, Mode.DEGRADED, Mode.SAFE, Mode.FAULT]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("signal", Signal)
def test_every_signal_in_every_mode_is_either_in_the_table_or_refused(mode: Mode, signal: Signal) -> None:
    state = ModeState(mode)
    if signal in TRANSITIONS[mode]:
        assert isinstance(step(state, signal), ModeState)
        return
    with pytest.raises(IllegalSignalError, match=f"'{signal}' in mode '{mode}'"):
        step(state, signal)
    assert state == ModeState(mode)


@given(st.lists(st.sampled_from(SERVING), max_size=60))
def test_serving_never_gets_better_by_fewer_than_eight_signals_nor_worse_by_more_than_one(
    signals: list[Signal],
) -> None:
    state = ModeState()
    for place, signal in enumerate(signals):
        target, before = TRANSITIONS[state.mode][signal], state.mode
        state = step(state, signal)
        if ORDER.index(target) > ORDER.index(before):
            assert state.mode is target
        elif state.mode is not before:
            recent = [TRANSITIONS[before][past] for past in signals[place - RECOVERY + 1 : place + 1]]
            assert len(recent) == RECOVERY
            assert all(ORDER.index(past) < ORDER.index(before) for past in recent)
            assert state.mode is max(recent, key=ORDER.index)


def test_recovery_goes_to_the_worst_of_the_better_modes_seen() -> None:
    state = ModeState(Mode.FAULT)
    for signal in [Signal.GRANTED] * (RECOVERY - 1) + [Signal.REDUCED]:
        state = step(state, signal)
    assert state == ModeState(Mode.DEGRADED)


def test_a_relapse_starts_the_count_again() -> None:
    state = ModeState(Mode.SAFE)
    for signal in [Signal.GRANTED] * (RECOVERY - 1) + [Signal.BARE] + [Signal.GRANTED] * (RECOVERY - 1):
        state = step(state, signal)
        assert state.mode is Mode.SAFE
    assert step(state, Signal.GRANTED).mode is Mode.NORMAL


def test_a_broken_configuration_is_rolled_back_to_safe_or_ends_in_fault() -> None:
    broken = step(ModeState(), Signal.BROKEN)
    assert broken.mode is Mode.ROLLBACK
    assert step(broken, Signal.RESTORED).mode is Mode.SAFE
    assert step(broken, Signal.LOST).mode is Mode.FAULT
    with pytest.raises(IllegalSignalError):
        step(broken, Signal.GRANTED)
