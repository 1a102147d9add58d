from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.airtime import HOUR_S, AirtimeLedger, CreditAccount

LIMIT_S = 36.0
frames = st.lists(st.tuples(st.floats(0, 600), st.floats(0.01, 3.5)), min_size=1, max_size=150)
windows = st.floats(1, 10_000)


def play(account: CreditAccount, sequence: list[tuple[float, float]]) -> AirtimeLedger:
    """Sends each frame as soon as the account lets it go, after the wait asked for."""
    ledger, now_s = AirtimeLedger(), 0.0
    for wait_s, airtime_s in sequence:
        now_s = account.ready_at_s(airtime_s, now_s + wait_s)
        account.spend(airtime_s, now_s)
        ledger.add(now_s, airtime_s)
        now_s += airtime_s
    return ledger


@given(frames, windows)
def test_no_window_holds_more_than_the_burst_and_what_was_gained_in_it(
    sequence: list[tuple[float, float]], window_s: float
) -> None:
    account = CreditAccount.strict(LIMIT_S)
    assert play(account, sequence).peak_s(window_s) <= account.burst_s + account.rate * window_s + 1e-6


@given(st.floats(0.05, 0.9), st.floats(0.01, 1.7), st.integers(50, 400))
def test_a_greedy_sender_stays_within_the_limit_in_every_hour(share: float, airtime_s: float, count: int) -> None:
    account = CreditAccount.strict(LIMIT_S, burst_share=share)
    ledger = play(account, [(0.0, airtime_s)] * count)
    assert ledger.peak_s() <= LIMIT_S + 1e-6


def test_the_limit_is_used_and_not_merely_kept() -> None:
    ledger = play(CreditAccount.strict(LIMIT_S), [(0.0, 0.4)] * 200)
    assert ledger.peak_s() > LIMIT_S - 2 * 0.4


def test_loramac_nodes_account_lets_nearly_twice_the_limit_through_in_the_worst_hour() -> None:
    ledger = play(CreditAccount.loramac_node(LIMIT_S), [(0.0, 0.4)] * 300)
    assert 1.9 * LIMIT_S < ledger.peak_s() <= 2 * LIMIT_S + 1e-6


@given(st.floats(0.01, 3.6), st.floats(0, 1e9))
def test_a_frame_may_go_exactly_when_the_account_says_and_not_before(airtime_s: float, start_s: float) -> None:
    account = CreditAccount.strict(LIMIT_S)
    account.spend(3.6, start_s)
    ready_at_s = account.ready_at_s(airtime_s, start_s)
    with pytest.raises(ValueError, match="exceed the credit"):
        account.spend(airtime_s, ready_at_s - 0.01)
    account.spend(airtime_s, ready_at_s)


def test_credit_is_full_at_first_and_never_grows_beyond_the_burst() -> None:
    account = CreditAccount(burst_s=2, rate=0.01)
    assert account.credit_s(1e6) == 2
    account.spend(1.5, 0)
    assert account.credit_s(10) == pytest.approx(0.6)
    assert account.credit_s(1e6) == 2


def test_a_frame_larger_than_the_account_is_refused_for_good() -> None:
    with pytest.raises(ValueError, match="can hold"):
        CreditAccount(burst_s=2, rate=0.01).ready_at_s(2.1, 0)


@pytest.mark.parametrize(("burst_s", "rate"), [(0, 0.01), (1, 0), (1, 1.1)])
def test_an_account_that_makes_no_sense_is_refused(burst_s: float, rate: float) -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        CreditAccount(burst_s=burst_s, rate=rate)


def test_the_ledger_counts_frames_over_the_edge_of_a_window_in_part() -> None:
    ledger = AirtimeLedger()
    ledger.add(10, 2)
    ledger.add(20, 4)
    assert ledger.used_s(0, 100) == 6
    assert ledger.used_s(11, 22) == 1 + 2
    assert ledger.used_s(12, 20) == 0
    assert ledger.used_s(30, 20) == 0
    assert AirtimeLedger().peak_s() == 0
    with pytest.raises(ValueError, match="before the last one ended"):
        ledger.add(23, 1)


@given(frames, windows)
def test_the_peak_is_that_of_the_worst_window_of_a_dense_search(
    sequence: list[tuple[float, float]], window_s: float
) -> None:
    ledger = AirtimeLedger()
    now_s = 0.0
    for wait_s, airtime_s in sequence:
        ledger.add(now_s + wait_s, airtime_s)
        now_s += wait_s + airtime_s + 1e-6
    dense = max(ledger.used_s(since, since + window_s) for since in [now_s * i / 500 for i in range(-100, 500)])
    assert dense <= ledger.peak_s(window_s) + 1e-9 <= window_s + 1e-6


def test_an_hour_is_the_default_window() -> None:
    ledger = AirtimeLedger()
    ledger.add(0, 1)
    ledger.add(HOUR_S - 0.5, 1)
    assert ledger.peak_s() == pytest.approx(1.5)
