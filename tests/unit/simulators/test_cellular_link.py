from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.cellular.channel import fleet
from simulators.cellular.presets import PRESETS
from simulators.cellular.rrc import CHARGED
from simulators.links import open_link
from simulators.links.cellular import NETWORKS, CellularLink, Coverage
from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError
from tamiyo_runtime.link import Link, Transmission, links

DOCS = Path(__file__).parents[3] / "docs" / "cellular.md"
names = st.sampled_from(sorted(NETWORKS))


def make(name: str, **options: float) -> CellularLink:
    link = links.get(name)(**options)
    assert isinstance(link, CellularLink)
    return link


def sent(link: Link, sizes: list[int], waits: list[float]) -> list[tuple[float, Transmission]]:
    now_s, result = 0.0, []
    for size, wait_s in zip(sizes, waits, strict=True):
        now_s = link.ready_at_s(size, now_s + wait_s)
        result.append((now_s, link.transmit(size, now_s)))
    return result


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_a_link_that_says_that_it_is_simulated(name: str) -> None:
    link: Link = open_link(name)
    assert "(simulated, " in link.label
    assert NETWORKS[name] in link.label
    assert link.level(5.0) == 1.0
    assert link.way(5.0) is link
    assert link.carries_raw == (name not in ("lte-m", "nb-iot"))
    assert link.max_payload_bytes() == PRESETS[NETWORKS[name]].payload_bytes


@settings(max_examples=40)
@given(names, st.integers(0, 50), st.lists(st.tuples(st.integers(0, 1200), st.floats(0, 300)), min_size=1, max_size=20))
def test_transfers_keep_their_order_their_floor_and_their_seed(
    name: str, seed: int, sends: list[tuple[int, float]]
) -> None:
    link = make(name, seed=seed, distance_m=200)
    sizes, waits = [size for size, _ in sends], [wait_s for _, wait_s in sends]
    done = sent(link, sizes, waits)
    assert done == sent(make(name, seed=seed, distance_m=200), sizes, waits)
    access, core = link.preset.access, link.preset.core
    free_s = 0.0
    for now_s, one in done:
        assert now_s >= free_s - 1e-9
        floor_s = (access.grant_ms + access.tti_ms + access.station_ms + core.floor_ms) * 1e-3
        assert one.latency_s >= floor_s - 1e-9
        assert one.airtime_s == 0  # no duty cycle
        assert one.energy_uj >= 0
        free_s = now_s + floor_s - core.floor_ms * 1e-3
    assert 0 < link.air_s < sum(one.latency_s for _, one in done)


@given(names, st.integers(0, 20), st.lists(st.floats(0, 400), min_size=1, max_size=12))
@settings(max_examples=40)
def test_energy_is_at_most_what_an_isolated_transfer_costs(name: str, seed: int, waits: list[float]) -> None:
    link = make(name, seed=seed, distance_m=200)
    radio = link.preset.radio
    most_uj = float(radio.tail_uj(radio.connected_s)) + max(one.energy_uj for one in radio.promotions.values())
    for _, one in sent(link, [100] * len(waits), waits):
        highest_mw = max(radio.sending_mw.value, radio.connected_mw.value)
        assert one.energy_uj <= most_uj + 1e3 * (highest_mw * one.latency_s + radio.mj_per_megabit.value) + 1


@pytest.mark.parametrize("name", NETWORKS)
def test_a_transfer_in_the_tail_of_another_is_faster_and_cheaper(name: str) -> None:
    link = make(name, seed=1)
    radio = link.preset.radio
    first = link.transmit(100, link.ready_at_s(100, 0.0))
    second = link.transmit(100, link.ready_at_s(100, first.latency_s + 0.05))
    promotion = radio.promotions[radio.phases[-1].state]
    assert first.energy_uj - second.energy_uj >= 0.8 * promotion.energy_uj
    assert first.latency_s >= promotion.duration_s.value
    tail_uj = sum(
        float(radio.tail_uj(phase.until_s)) for phase in radio.phases if phase.state in CHARGED and phase.until_s < 1e9
    )
    assert second.energy_uj <= tail_uj + first.energy_uj


@pytest.mark.parametrize("name", NETWORKS)
def test_a_greedy_sender_reaches_the_sustainable_rate(name: str) -> None:
    link = make(name, seed=3, speed_m_s=10 if name not in ("lte-m", "nb-iot") else 0)  # enough shadows to average
    size, now_s, carried, horizon_s = link.max_payload_bytes(), 0.0, 0, 120.0 if link.carries_raw else 1000.0
    link.transmit(1, link.ready_at_s(1, 0.0))
    while now_s < horizon_s:
        now_s = link.ready_at_s(size, now_s)
        link.transmit(size, now_s)
        carried += size
    assert carried / now_s == pytest.approx(link.sustainable_bytes_per_s(), rel=0.2)


def test_frames_are_lost_as_often_as_four_tries_fail() -> None:
    link = make("nb-iot")
    lost = sum(not one.delivered for _, one in sent(link, [1200] * 3000, [0.0] * 3000))
    blocks = 11  # (1200 + 68) bytes in blocks of 936 bits
    assert lost == pytest.approx(3000 * (1 - (1 - 1e-4) ** blocks), abs=8)


def test_an_outage_holds_a_payload_back_and_nothing_may_be_sent_before() -> None:
    link = make("5g-mmwave", seed=5)
    held = 0
    for second in range(2000):
        now_s = second + 0.25
        ready_s = link.ready_at_s(10, now_s)
        assert ready_s == now_s or ready_s == int(ready_s) > now_s
        held += ready_s > now_s
        if ready_s > now_s:
            with pytest.raises(ValueError, match=f"not before {ready_s}"):
                link.transmit(10, now_s)
    assert held / 2000 == pytest.approx(link.preset.outages.share, abs=0.015)


def test_weak_signals_take_longer_and_cost_more() -> None:
    links_ = [make("nb-iot", distance_m=m) for m in (100, 4000)]
    near, far = (sent(link, [200], [0.0])[0][1] for link in links_)
    assert links_[1].air_s > 10 * links_[0].air_s
    assert far.latency_s > near.latency_s
    assert far.energy_uj > near.energy_uj


def test_what_cannot_be_sent_or_reached_is_refused_with_what_can() -> None:
    with pytest.raises(ValueError, match="do not fit a payload of 16384 bytes"):
        make("5g").transmit(16385, 0.0)
    for text, message in (
        ("5g?distance_m=-4", r"distance -4 m is not in 10\.\.5000 m"),
        ("5g?distance_m=nan", "distance_m=nan is no number"),
        ("5g?distance_m=near", "near"),
        ("5g?speed_m_s=-1", "at least 0"),
        ("5g-mmwave?distance_m=5000", "no coverage 5000 m away"),
        ("5g?seed=1.5", "seed"),
    ):
        with pytest.raises(UsageError, match=message) as refused:
            open_link(text)
        assert "distance_m=300" in str(refused.value.hint)
    with pytest.raises(UsageError, match="distance_m is given twice"):
        open_link("5g?distance_m=100&distance_m=200")
    with pytest.raises(UnknownNameError, match="option of 5g 'distance'"):
        open_link("5g?distance=3")
    with pytest.raises(UnknownNameError, match="unknown link '6g'"):
        open_link("6g")
    assert "200 m" in open_link("lte?distance_m=200&speed_m_s=0&seed=4").label


def test_a_place_that_one_leaves_too_slowly_to_ever_be_covered_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no coverage 2000 m away: at 1e-05 m/s it is away for \d+ days at a time"):
        open_link("lte?distance_m=2000&speed_m_s=1e-5")
    with pytest.raises(UsageError, match="no coverage 2000 m away: the signal is at most"):
        open_link("lte?distance_m=2000&speed_m_s=1e-12")  # as good as standing still
    link = open_link("lte?distance_m=100&speed_m_s=1e-12")
    assert link.ready_at_s(10, 0.0) < 60


def test_the_documents_list_every_network_and_what_it_carries() -> None:
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    said = {row[1].strip(" `"): row[4].split(";")[0].split() for row in rows if len(row) == 7}
    assert set(said) == set(NETWORKS)
    for name, (figure, unit) in said.items():
        expected = make(name).sustainable_bytes_per_s()
        assert float(figure) * {"kB/s": 1e3, "MB/s": 1e6}[unit] == pytest.approx(expected, rel=0.05), name


def test_a_clock_that_has_run_for_ten_years_changes_nothing() -> None:
    link, fresh = make("nb-iot"), make("nb-iot").transmit(100, 0.0)
    late = link.transmit(100, link.ready_at_s(100, 3e8))
    assert late.energy_uj == pytest.approx(fresh.energy_uj, rel=1e-6)
    assert late.latency_s == pytest.approx(fresh.latency_s, rel=1e-6)


def test_coverage_begins_with_the_first_look() -> None:
    coverage = Coverage(fleet(PRESETS["lte-cat4"], [0]))
    later = [coverage.rung(1000 + step) for step in range(2000)]
    again = Coverage(fleet(PRESETS["lte-cat4"], [0]))
    assert later == [again.rung(step) for step in range(2000)]
    with pytest.raises(ValueError, match="step 999 is before the first, 1000"):
        coverage.rung(999)


@pytest.mark.parametrize("option", ["seed=inf", "seed=nan", "speed_m_s=inf", f"speed_m_s={'9' * 400}", "seed"])
def test_numbers_that_are_none_are_refused(option: str) -> None:
    with pytest.raises(UsageError, match="--link 5g"):
        open_link(f"5g?{option}")
