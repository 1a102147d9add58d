"""Times are placed as well as is known, only ever better, and no clock that is set for a while spoils them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from collector.arrivals import Delivery
from collector.clocks import NTP_ERROR_MS, TOLERANCE_MS, Fix, Sightings, SteadyClock, TimeSource
from collector.store import Store
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, Numbered
from tamiyo_runtime.contracts.skim import skimmed
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality

TRUE_MS = 1_700_000_000_000
HOUR_MS = 3_600_000
BOOT = 7 << 16 | 1

sent_and_delay = st.tuples(st.integers(0, 10**7), st.integers(0, 50_000))


def seen(frames: list[tuple[Stamp, int]], known: Sightings | None = None) -> Sightings:
    """``frames``: stamps, each with the moment it was received."""
    sightings = known or Sightings()
    for stamp, received_ms in frames:
        sightings = sightings.with_frame(stamp, received_ms, 1)
    return sightings


def frame(sent_ms: int, delay_ms: int, told_ms: int | None = None) -> tuple[Stamp, int]:
    quality = TimeQuality.NONE if told_ms is None else TimeQuality.NTP
    return Stamp(sent_ms=sent_ms, offset_ms=told_ms, quality=quality), TRUE_MS + sent_ms + delay_ms


@given(st.lists(sent_and_delay, min_size=1, max_size=10))
def test_without_a_wall_clock_times_are_late_by_the_shortest_delay(frames: list[tuple[int, int]]) -> None:
    fix = seen([frame(*one) for one in frames]).fix()
    assert fix == Fix(TRUE_MS + min(delay for _, delay in frames), TimeSource.RECEIVED)


@given(st.lists(sent_and_delay, min_size=1, max_size=10))
def test_an_estimate_never_gets_worse(frames: list[tuple[int, int]]) -> None:
    sightings, error_ms = Sightings(), float("inf")
    for one in frames:
        sightings = seen([frame(*one)], sightings)
        fix = sightings.fix()
        assert fix is not None
        assert 0 <= fix.offset_ms - TRUE_MS <= error_ms
        error_ms = fix.offset_ms - TRUE_MS


@given(st.data())
def test_order_and_repeats_of_frames_do_not_matter(data: st.DataObject) -> None:
    told = st.none() | st.integers(TRUE_MS - HOUR_MS, TRUE_MS)
    made = data.draw(st.lists(st.builds(lambda one, offset: frame(*one, offset), sent_and_delay, told), min_size=1))
    again = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made)))))
    assert seen(made).fix() == seen(again).fix()


def test_an_offset_found_out_too_late_leaves_what_was_received() -> None:
    right, ahead, quick = frame(0, HOUR_MS, TRUE_MS), frame(1, HOUR_MS, TRUE_MS + 60_000), frame(2, 40)
    assert seen([quick, right, ahead]).fix() == Fix(TRUE_MS, TimeSource.NTP, NTP_ERROR_MS)
    assert seen([right, ahead, quick]).fix() == Fix(TRUE_MS + 40, TimeSource.RECEIVED)


@given(st.lists(st.sampled_from([0, HOUR_MS, -HOUR_MS]), min_size=1, max_size=8), st.integers(0, 1500))
def test_a_devices_wall_clock_that_jumps_an_hour_does_not_spoil_the_estimate(jumps: list[int], delay_ms: int) -> None:
    """Once it has told the right time, or none was told that could be right."""
    frames = [frame(1000 * place, delay_ms, TRUE_MS + jump) for place, jump in enumerate(jumps)]
    for at in range(len(frames) + 1):
        fix = seen([*frames[:at], frame(5, delay_ms, TRUE_MS), *frames[at:]]).fix()
        assert fix == Fix(TRUE_MS, TimeSource.NTP, NTP_ERROR_MS)
    ahead = [one for one, jump in zip(frames, jumps, strict=True) if jump == HOUR_MS]
    if ahead:
        assert seen(ahead).fix() == Fix(TRUE_MS + delay_ms, TimeSource.RECEIVED)


def test_an_unattended_clock_is_used_only_where_there_is_nothing_else() -> None:
    told = Stamp(offset_ms=TRUE_MS - HOUR_MS, quality=TimeQuality.RTC)
    assert seen([(told, TRUE_MS)]).fix() == Fix(TRUE_MS - HOUR_MS, TimeSource.RTC)
    assert seen([(told, TRUE_MS), frame(0, 40)]).fix() == Fix(TRUE_MS + 40, TimeSource.RECEIVED)
    assert Sightings().fix() is None


class Clocks:
    """A machine's two clocks, the wall clock ``off_s`` from the truth."""

    def __init__(self) -> None:
        self.elapsed_s, self.off_s = 50.0, 0.0

    def wall(self) -> float:
        return 1e9 + self.elapsed_s + self.off_s

    def steady(self, *, floor_s: float = 0.0) -> SteadyClock:
        return SteadyClock(self.wall, lambda: self.elapsed_s, floor_s=floor_s, settle_s=600.0)


@given(st.lists(st.tuples(st.sampled_from([0.0, 3600.0, -3600.0]), st.floats(1, 299)), max_size=12))
def test_a_collectors_wall_clock_that_jumps_back_and_forth_is_not_followed(steps: list[tuple[float, float]]) -> None:
    clocks = Clocks()
    steady = clocks.steady()
    for off_s, for_s in steps:
        for off in (off_s, 0.0):  # away, and back
            clocks.off_s = off
            assert steady.step_ms() == 0
            clocks.elapsed_s += for_s
            assert steady.step_ms() == 0
            assert abs(steady.unix_s(clocks.elapsed_s) - (1e9 + clocks.elapsed_s)) < 1e-3


def test_a_wall_clock_that_was_set_for_good_is_followed_after_a_while() -> None:
    clocks = Clocks()
    steady = clocks.steady()
    clocks.off_s = -3600.0
    steps = []
    for _ in range(20):
        clocks.elapsed_s += 60.0
        steps.append(steady.step_ms())
    assert [step for step in steps if step] == [-3_600_000]
    assert steady.unix_s(clocks.elapsed_s) == clocks.wall()


def test_small_changes_are_followed_at_once() -> None:
    clocks = Clocks()
    steady = clocks.steady()
    clocks.off_s = 0.4
    assert steady.step_ms() == 0
    assert steady.unix_s(clocks.elapsed_s) == clocks.wall()


def test_a_clock_behind_what_was_already_received_is_no_measure() -> None:
    clocks = Clocks()
    steady = clocks.steady(floor_s=clocks.wall() + 100.0)
    assert not steady.trusted(steady.elapsed_s())
    clocks.elapsed_s += 101.0
    assert steady.trusted(steady.elapsed_s())


def delivery(seq: int, stamp: Stamp | None, received_ms: int, epoch: int | None = 1) -> Delivery:
    event = Numbered(seq, EventRecord(t_ms=1000, event=Event.START))
    return Delivery("d", skimmed(Batch(BOOT, "", (event,), 0, stamp), device="d"), received_ms / 1000, epoch)


def test_records_are_placed_by_the_best_that_any_frame_of_their_boot_told(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery(0, None, TRUE_MS + 9000)])
        ((where, _),) = store.events()
        assert (where.at_s, where.time_source) == (TRUE_MS / 1000 + 9, TimeSource.ARRIVAL)
        store.commit([delivery(1, *frame(2000, 700))])
        assert [(w.at_s, w.time_source) for w, _ in store.events()] == [
            ((TRUE_MS + 700 + 1000) / 1000, TimeSource.RECEIVED)
        ] * 2
        store.commit([delivery(1, *frame(5000, 300)), delivery(0, *frame(5100, 900, TRUE_MS))])  # repeats, both
        assert [(w.at_s, w.time_source) for w, _ in store.events()] == [((TRUE_MS + 1000) / 1000, TimeSource.NTP)] * 2


def test_a_collector_started_with_a_clock_an_hour_behind_changes_no_estimate(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        store.commit([delivery(0, *frame(0, 20))])
        before = store.fixes()
        clock = SteadyClock(lambda: (TRUE_MS - HOUR_MS) / 1000, lambda: 0.0, floor_s=store.latest_s())
        epoch = clock.epoch if clock.trusted(clock.elapsed_s()) else None
        stamp, received_ms = frame(100, 30)
        store.commit([delivery(1, stamp, received_ms - HOUR_MS, epoch)])
        assert store.fixes() == before


def test_what_a_clock_measured_moves_along_when_it_is_set_for_good(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as store:
        stamp, received_ms = frame(0, 20)
        store.commit([delivery(0, stamp, received_ms - HOUR_MS, epoch=5)])
        store.shift_clocks(4, 999)
        store.shift_clocks(5, HOUR_MS)
        assert store.fixes() == {("d", BOOT): Fix(TRUE_MS + 20, TimeSource.RECEIVED)}


def test_what_a_device_told_while_the_collectors_clock_was_behind_counts_later() -> None:
    stamp, received_ms = frame(0, 20, TRUE_MS)
    wrong = Sightings().with_frame(stamp, received_ms - HOUR_MS, 5)
    assert wrong.fix() == Fix(TRUE_MS + 20 - HOUR_MS, TimeSource.RECEIVED)
    right = Sightings(TRUE_MS + 20, wrong.ntp_ms, wrong.rtc_ms, 5)
    assert right.fix() == Fix(TRUE_MS, TimeSource.NTP, NTP_ERROR_MS)
    assert TOLERANCE_MS < HOUR_MS
