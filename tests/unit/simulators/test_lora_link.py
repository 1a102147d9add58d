from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.airtime import CreditAccount
from simulators.links.lora import LIMIT_S_PER_HOUR, MAX_PAYLOAD_BYTES, LoRaLink
from tamiyo_runtime.link import Link, links

NAMES = ("lora-eu868", *(f"lora-eu868-sf{factor}" for factor in MAX_PAYLOAD_BYTES))
waits = st.floats(0, 900)


def make(name: str = "lora-eu868") -> LoRaLink:
    link = links.get(name)()
    assert isinstance(link, LoRaLink)
    return link


def test_the_link_and_its_data_rates_are_registered() -> None:
    assert set(NAMES) <= set(links.names())
    assert make().spreading_factor == 7
    assert [make(f"lora-eu868-sf{sf}").max_payload_bytes() for sf in range(7, 13)] == [222, 222, 115, 51, 51, 51]


def test_the_label_says_that_it_is_simulated() -> None:
    link: Link = make("lora-eu868-sf9")
    assert "simulated" in link.label
    assert "SF9" in link.label


@pytest.mark.parametrize(("factor", "airtime_s"), [(7, 0.3689), (9, 0.6769), (10, 0.6984), (12, 2.7935)], ids=str)
def test_a_full_frame_takes_what_published_tables_say(factor: int, airtime_s: float) -> None:
    # application payload of 222, 115, 51 and 51 bytes with 13 bytes of LoRaWAN overhead
    link = make(f"lora-eu868-sf{factor}")
    assert link.airtime_s(link.max_payload_bytes()) == pytest.approx(airtime_s, abs=1e-4)


@given(st.sampled_from(NAMES), st.lists(st.tuples(waits, st.floats(0, 1)), min_size=1, max_size=120))
def test_no_hour_wherever_it_begins_exceeds_the_duty_cycle(name: str, sends: list[tuple[float, float]]) -> None:
    link, now_s = make(name), 0.0
    for wait_s, share in sends:
        size = round(share * link.max_payload_bytes())
        now_s = link.ready_at_s(size, now_s + wait_s)
        link.transmit(size, now_s)
        assert 0 <= link.level(now_s) <= 1
    assert link.worst_hour_s() <= LIMIT_S_PER_HOUR + 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_a_greedy_sender_reaches_the_sustainable_rate_within_the_limit(name: str) -> None:
    link, now_s, sent = make(name), 0.0, 0
    size = link.max_payload_bytes()
    while now_s < 20 * 3600:
        now_s = link.ready_at_s(size, now_s)
        link.transmit(size, now_s)
        sent += size
    assert sent / now_s == pytest.approx(link.sustainable_bytes_per_s(), rel=0.02)
    assert 0.9 * LIMIT_S_PER_HOUR < link.worst_hour_s() <= LIMIT_S_PER_HOUR + 1e-6
    assert link.worst_hour_s() <= link.cap_s_per_hour + 1e-6


@given(waits, st.integers(0, 222), st.integers(0, 40))
def test_ready_at_is_exact(wait_s: float, size: int, before: int) -> None:
    link = make()
    now_s = wait_s
    for _ in range(before):
        now_s = link.ready_at_s(222, now_s)
        link.transmit(222, now_s)
    ready_at_s = link.ready_at_s(size, now_s)
    assert ready_at_s >= now_s
    assert link.ready_at_s(size, ready_at_s) == ready_at_s
    if ready_at_s > now_s:
        with pytest.raises(ValueError, match="not before"):
            link.transmit(size, ready_at_s - 1e-3)
    link.transmit(size, ready_at_s)


def test_the_radio_listens_before_it_sends_again() -> None:
    link = make()
    first = link.transmit(20, 100.0)
    # RX2 opens 2 s after the uplink and lasts eight symbols at SF12
    assert link.ready_at_s(20, 100.0) == pytest.approx(100.0 + first.airtime_s + 2 + 8 * 32.768e-3)


def test_a_payload_over_the_maximum_is_refused() -> None:
    for call in (make().airtime_s, lambda size: make().ready_at_s(size, 0), lambda size: make().transmit(size, 0)):
        with pytest.raises(ValueError, match="do not fit"):
            call(223)


def test_an_uplink_of_20_bytes_costs_about_10_mj_of_sending_and_10_mj_of_listening() -> None:
    link = make()
    sending_uj = 44 * 3.3 * link.airtime_s(20) * 1e3
    assert sending_uj == pytest.approx(10_000, rel=0.05)
    assert link.energy_uj(20) - sending_uj == pytest.approx(10_000, rel=0.05)
    assert link.transmit(20, 0).energy_uj == link.energy_uj(20)


def test_airtime_used_adds_up_what_was_sent_in_a_window() -> None:
    link = make()
    first = link.transmit(100, 0.0)
    second = link.transmit(200, 10.0)
    assert link.airtime_used_s(0, 60) == pytest.approx(first.airtime_s + second.airtime_s)
    assert link.airtime_used_s(5, 60) == pytest.approx(second.airtime_s)
    assert link.level(10.0) == pytest.approx(1 - second.airtime_s / 3.6 - max(0, first.airtime_s - 0.09) / 3.6)


def test_frames_are_lost_as_often_as_asked_and_alike_with_one_seed() -> None:
    def outcomes(seed: int) -> list[bool]:
        link = LoRaLink(loss_probability=0.3, seed=seed)
        now_s, result = 0.0, []
        for _ in range(2000):
            now_s = link.ready_at_s(1, now_s)
            result.append(link.transmit(1, now_s).delivered)
        return result

    once = outcomes(1)
    assert once == outcomes(1)
    assert once != outcomes(2)
    assert once.count(False) == pytest.approx(600, abs=4 * (2000 * 0.3 * 0.7) ** 0.5)
    assert all(LoRaLink().transmit(1, 0).delivered for _ in range(5))
    assert not LoRaLink(loss_probability=1).transmit(1, 0).delivered
    with pytest.raises(ValueError, match="not in"):
        LoRaLink(loss_probability=1.5)


def test_the_original_account_of_loramac_node_can_be_had() -> None:
    link = LoRaLink(account=CreditAccount.loramac_node(LIMIT_S_PER_HOUR))
    now_s = 0.0
    while now_s < 3600:
        now_s = link.ready_at_s(222, now_s)
        link.transmit(222, now_s)
    assert link.worst_hour_s() > 1.8 * LIMIT_S_PER_HOUR
