"""ADR, joining, retransmissions and windows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.airtime import HOUR_S
from simulators.lorawan import closed_loop
from simulators.lorawan.adr import SNR_FLOOR_DB, Settings, asks_for_answer, device_settings, network_settings
from simulators.lorawan.device import join_backoff_s, retry_backoff_s
from simulators.lorawan.duty import JoinBudget, account
from simulators.lorawan.eu868 import EU868
from simulators.lorawan.network import resolve
from simulators.lorawan.reception import Verdict
from simulators.lorawan.record import ClosedRun
from simulators.lorawan.region import SubBand
from simulators.lorawan.scenario import Activation, Mac, Scenario, Traffic
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import InputError

ALONE = Scenario(devices=1, duration_s=24 * HOUR_S, traffic=Traffic(period_s=600, payload_bytes=10), radius_m=500)
FAR = replace(ALONE, radius_m=0, gateways_m=((100_000.0, 0.0),))


def run(scenario: Scenario) -> ClosedRun:
    return closed_loop.run(resolve(scenario))


@pytest.mark.parametrize(
    ("now", "snr_db", "expected"),
    [
        # steps = floor((best SNR - needed - 10 dB) / 3), data rate first, then power: The Things Network's description
        (Settings(0, 0), -20 + 10 + 2.9, Settings(0, 0)),
        (Settings(0, 0), -20 + 10 + 3, Settings(1, 0)),
        (Settings(0, 0), -20 + 10 + 15, Settings(5, 0)),
        (Settings(0, 0), -20 + 10 + 18, Settings(5, 1)),
        (Settings(0, 0), 60, Settings(5, 7)),
        (Settings(3, 2), -12.5 + 10 - 0.1, Settings(3, 1)),
        (Settings(3, 2), -12.5 + 10 - 9, Settings(3, 0)),
        (Settings(3, 0), -40, Settings(3, 0)),
    ],
)
def test_the_network_gives_a_step_for_each_3_db_beyond_the_margin(
    now: Settings, snr_db: float, expected: Settings
) -> None:
    needed_db = {0: -20.0, 3: -12.5}[now.data_rate]
    ordered = network_settings(now, best_snr_db=snr_db, needed_snr_db=needed_db, margin_db=10, fastest=5, weakest=7)
    assert ordered == expected


@given(st.integers(0, 5), st.integers(0, 7), st.floats(-60, 60))
def test_the_network_never_slows_a_device_down_and_stays_within_the_region(
    data_rate: int, power_index: int, snr_db: float
) -> None:
    ordered = network_settings(
        Settings(data_rate, power_index), best_snr_db=snr_db, needed_snr_db=-20, margin_db=10, fastest=5, weakest=7
    )
    assert data_rate <= ordered.data_rate <= 5
    assert 0 <= ordered.power_index <= 7


def test_an_unheard_device_asks_at_64_takes_full_power_at_96_and_a_slower_rate_every_32_from_then() -> None:
    # LoRaWAN 1.0.x, 4.3.1.1: ADR_ACK_LIMIT 64, ADR_ACK_DELAY 32
    now, seen = Settings(3, 4), []
    for unheard in range(1, 260):
        now = device_settings(now, unheard=unheard, limit=64, delay=32, slowest=0)
        seen.append(now)
    assert (asks_for_answer(63, 64), asks_for_answer(64, 64)) == (False, True)
    changes = [(number + 1, seen[number]) for number in range(1, len(seen)) if seen[number] != seen[number - 1]]
    assert changes == [(96, Settings(3, 0)), (128, Settings(2, 0)), (160, Settings(1, 0)), (192, Settings(0, 0))]


def test_adr_brings_a_near_device_to_the_fastest_rate_and_least_power_after_20_uplinks() -> None:
    log = run(replace(ALONE, data_rate=0, mac=Mac(adr=True), radius_m=50)).log
    assert log.data_rate[:20].tolist() == [0] * 20
    assert log.data_rate[20:].tolist() == [5] * (log.data_rate.size - 20)
    assert log.power_index[20] > 0
    assert (np.diff(log.power_index) >= 0).all()
    assert (log.verdict == Verdict.RECEIVED).all()


def test_a_device_that_nobody_hears_ends_at_full_power_and_the_slowest_rate() -> None:
    log = run(replace(FAR, data_rate=2, power_index=3, mac=Mac(adr=True, adr_ack_limit=8, adr_ack_delay=4))).log
    assert (log.verdict == Verdict.TOO_WEAK).all()
    first = {key: index for index, key in reversed(list(enumerate(zip(log.data_rate, log.power_index, strict=True))))}
    assert first == {(2, 3): 0, (2, 0): 12, (1, 0): 16, (0, 0): 20}


def test_a_device_that_is_heard_asks_for_a_downlink_and_gets_it() -> None:
    # at the slowest rate with no margin there is nothing to order: the only downlinks are those asked for
    done = run(replace(ALONE, data_rate=5, power_index=7, radius_m=1, mac=Mac(adr=True, adr_ack_limit=8)))
    (downlinks,) = done.downlinks
    assert downlinks.start_s.size == done.log.device.size // 9
    assert set(done.log.data_rate.tolist()) == {5}


def test_a_confirmed_message_is_repeated_eight_times_at_falling_rates_when_nobody_answers() -> None:
    scenario = replace(
        FAR, data_rate=5, duration_s=3000, traffic=Traffic(period_s=3000, payload_bytes=10, confirmed=True)
    )
    done = run(scenario)
    log = done.log
    assert log.data_rate.tolist() == [5, 5, 4, 4, 3, 3, 2, 2]
    assert done.messages.attempts.tolist() == [8]
    assert not done.messages.delivered.any()
    assert not done.messages.acknowledged.any()
    gaps_s = log.start_s[1:] - (log.start_s + log.airtime_s)[:-1]
    assert ((gaps_s >= 3) & (gaps_s <= 5)).all()  # the second window opens after 2 s, then 2 s plus or minus 1 s
    assert np.unique(np.round(gaps_s, 6)).size == 7


def test_a_confirmed_message_is_answered_in_the_first_window_and_sent_once() -> None:
    done = run(replace(ALONE, data_rate=5, traffic=Traffic(period_s=600, payload_bytes=10, confirmed=True)))
    assert done.messages.acknowledged.all()
    assert done.messages.attempts.tolist() == [1] * done.messages.number.size
    (downlinks,) = done.downlinks
    assert downlinks.start_s == pytest.approx(done.log.start_s + done.log.airtime_s + 1)
    # an acknowledgement is 12 bytes without CRC
    assert downlinks.end_s - downlinks.start_s == pytest.approx(EU868.downlink[5].airtime_s(12, crc=False))


def test_when_the_band_of_the_first_window_is_spent_the_second_answers_at_869_525() -> None:
    busy = replace(ALONE, devices=60, data_rate=0, traffic=Traffic(period_s=300, payload_bytes=10, confirmed=True))
    done = run(replace(busy, duration_s=HOUR_S, mac=Mac(attempts=1)))
    ends = set(np.round(done.log.start_s + done.log.airtime_s, 6).tolist())
    starts = done.downlinks[0].start_s
    first = sum(round(start - 1, 6) in ends for start in starts.tolist())
    second = sum(round(start - 2, 6) in ends for start in starts.tolist())
    assert first > 0
    assert second > first


@pytest.mark.parametrize("data_rate", [0, 5])
def test_listening_and_waiting_add_up_to_the_windows_that_were_open(data_rate: int) -> None:
    busy = replace(
        ALONE, devices=60, data_rate=data_rate, traffic=Traffic(period_s=60, payload_bytes=10, confirmed=True)
    )
    done = run(replace(busy, duration_s=1800, mac=Mac(attempts=1)))
    ends = np.sort(np.round(done.log.start_s + done.log.airtime_s, 6))
    starts, lengths_s = done.downlinks[0].start_s, done.downlinks[0].end_s - done.downlinks[0].start_s
    second = np.isin(np.round(starts - 2, 6), ends)
    assert 0 < second.sum() < second.size
    unanswered = done.log.device.size - starts.size
    until_s = unanswered * windows(EU868, data_rate).until_closed_s + np.where(second, 2, 1).sum() + lengths_s.sum()
    listened_s = unanswered * (windows(EU868, data_rate).first_s + windows(EU868, data_rate).second_s)
    listened_s += lengths_s.sum() + second.sum() * windows(EU868, data_rate).first_s
    assert sum(device.received_s for device in done.devices) == pytest.approx(listened_s)
    assert sum(device.received_s + device.waited_s for device in done.devices) == pytest.approx(until_s)


def test_joining_takes_a_request_of_23_bytes_and_an_accept_five_seconds_later() -> None:
    done = run(replace(ALONE, data_rate=5, mac=Mac(activation=Activation.JOIN)))
    log = done.log
    assert log.joins.tolist() == [True] + [False] * (log.joins.size - 1)
    assert log.airtime_s[0] == pytest.approx(EU868.uplink[5].airtime_s(23))
    (downlinks,) = done.downlinks
    assert downlinks.start_s == pytest.approx([log.start_s[0] + log.airtime_s[0] + 5])
    assert downlinks.end_s - downlinks.start_s == pytest.approx([EU868.downlink[5].airtime_s(33, crc=False)])
    assert log.start_s[1] >= downlinks.end_s[0]


def test_join_requests_back_off_and_keep_to_their_budget_when_nobody_answers() -> None:
    scenario = replace(FAR, data_rate=0, duration_s=40 * HOUR_S, mac=Mac(activation=Activation.JOIN))
    log = run(scenario).log
    assert log.joins.all()
    since_s = log.start_s - log.start_s[0]
    assert log.airtime_s[since_s < HOUR_S].sum() <= 36
    assert log.airtime_s[(since_s >= HOUR_S) & (since_s < 11 * HOUR_S)].sum() <= 36
    assert log.airtime_s[(since_s >= 11 * HOUR_S) & (since_s < 35 * HOUR_S)].sum() <= 8.7
    assert log.joins.size > 20


@given(st.lists(st.tuples(st.floats(0, 7200), st.floats(0.05, 3)), min_size=1, max_size=200))
def test_no_period_of_the_join_budget_holds_more_than_it_allows(requests: list[tuple[float, float]]) -> None:
    budget, now_s, sent = JoinBudget(), 100.0, []
    for wait_s, airtime_s in requests:
        now_s = budget.ready_at_s(airtime_s, now_s + wait_s)
        assert budget.ready_at_s(airtime_s, now_s) == now_s
        budget.spend(airtime_s, now_s)
        sent.append((now_s, airtime_s))
    first_s = sent[0][0]
    edges = [0, HOUR_S, 11 * HOUR_S, *(11 * HOUR_S + day * 24 * HOUR_S for day in range(1, 60))]
    for number, (begin, end) in enumerate(pairwise(edges)):
        used_s = sum(airtime_s for at_s, airtime_s in sent if begin <= at_s - first_s < end)
        assert used_s <= (36 if number < 2 else 8.7) + 1e-9


@given(st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_back_offs_stay_within_their_bounds(attempt: int, draw: float) -> None:
    assert 0 <= join_backoff_s(attempt, draw) <= min(3600, 10 * 2**attempt)
    assert 1 <= retry_backoff_s(Mac(), draw) <= 3


def test_windows_last_eight_symbols_and_the_radio_waits_between() -> None:
    after = windows(EU868, 5)
    assert (after.first_s, after.second_s) == pytest.approx((8 * 1.024e-3, 8 * 32.768e-3))
    assert after.until_closed_s == pytest.approx(2 + 8 * 32.768e-3)
    assert windows(EU868, 5, joins=True).until_closed_s == pytest.approx(6 + 8 * 32.768e-3)


def test_nobody_gets_figures_of_windows_that_are_not_modelled() -> None:
    with pytest.raises(InputError, match="windows for FSK"):
        windows(EU868, 7)


def test_the_network_counts_with_the_snr_that_the_data_sheet_asks_for() -> None:
    # SX1276 data sheet, table 13
    assert SNR_FLOOR_DB == {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}


def test_a_frame_that_a_band_never_has_room_for_is_refused_with_what_fits() -> None:
    narrow = SubBand(name="863.0", low_hz=863_000_000, high_hz=865_000_000, duty_cycle=0.0001, max_eirp_dbm=16)
    with pytest.raises(InputError, match=r"2\.793 s does not fit the 0\.36 s") as refused:
        account(narrow, EU868.airtime_s(0, 51))
    assert "0.324 s" in str(refused.value.hint)
