"""Faults as values: how they are written, whom they strike, what they do to boards, clocks, sources and memories."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.clocks import Sightings, TimeSource
from simulators.device import SimulatedBoard
from simulators.devices import only, parse_device
from simulators.faults.bits import BitFlips, weights_of
from simulators.faults.clock import Drift, DriftingClock, true_s
from simulators.faults.kinds import Order, faults, parse_order, rig_of
from simulators.faults.outage import Outage, PowerLost, apart
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IncompatibleError, TamiyoError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.selftest import replay
from tamiyo_runtime.sources import open_source
from tests import tiny
from tests.unit.simulators.test_device import STEADY, cost


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    made = tiny.make()
    return Bundle(
        name="tiny", size_bytes=0, manifest=made.manifest, digest="0" * 64, signer=None, files=dict(made.files)
    )


class TestNotation:
    def test_a_fault_is_written_with_its_time_and_its_options(self) -> None:
        assert parse_order("brown-out@10s+2s") == Order(kind="brown-out", at_s=10.0, for_s=2.0)
        assert parse_order("sensor:stuck@1.5h") == Order(kind="sensor", what="stuck", at_s=5400.0)
        assert parse_order("brown-out@1d+2min?boot_s=5").options == {"boot_s": 5.0}
        assert parse_order("clock-drift?ppm=-50").options == {"ppm": -50.0}

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("brownout@1s+1s", UnknownNameError, "brownout"),
            ("brown-out", UsageError, "needs a start and a length"),
            ("brown-out@1s", UsageError, "needs a start and a length"),
            ("brown-out@1week+1s", UsageError, "'1week' is no time"),
            ("brown-out@1s+1s?boot=3", UnknownNameError, "option of brown-out"),
            ("brown-out:dark@1s+1s", UsageError, "takes no :dark"),
            ("clock-drift", UsageError, "by how much"),
            ("clock-drift?ppm=fast", UsageError, "ppm=fast is no number"),
            ("clock-drift@3s?ppm=1", UsageError, "from the start to the end"),
            ("clock-drift?ppm=1e9", UsageError, r"--fault clock-drift\?ppm=1e9: ppm: .* no clock any more"),
            ("clock-drift?temperature_c=1e200", UsageError, "temperature_c: must be in"),
            ("clock-drift?ppm=1&ppm=2", UsageError, "ppm is given twice"),
            ("brown-out@1s+1s?boot_s=1e308", UsageError, "boot_s: must be in"),
            ("bit-flips?bits=1e12", UsageError, "bits: must be in"),
            ("sensor:darkness", UnknownNameError, "darkness"),
            ("bit-flips?bits=0", UsageError, "no number of bits"),
            ("bit-flips?bits=1.5", UsageError, "no number of bits"),
            ("!", UsageError, "is no fault"),
        ],
    )
    def test_a_mistake_is_named_and_what_is_right_hinted_at(self, text: str, error: type, message: str) -> None:
        with pytest.raises(error, match=message) as caught:
            rig_of([text])
        assert isinstance(caught.value, TamiyoError)

    def test_a_board_has_one_clock_only(self) -> None:
        with pytest.raises(UsageError, match="drifts already"):
            rig_of(["clock-drift?ppm=1", "clock-drift?ppm=2"])

    def test_every_kind_is_listed(self) -> None:
        assert faults.names() == ("bit-flips", "brown-out", "clock-drift", "sensor")

    def test_faults_are_not_for_real_boards(self) -> None:
        with pytest.raises(UsageError, match="for simulated boards"):
            parse_device("host", only(STEADY), rig=rig_of(["clock-drift?ppm=1"]))


class TestOutage:
    def test_a_board_loses_its_power_at_its_time_and_once(self) -> None:
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, outages=[Outage(at_s=10.0, for_s=2.0, boot_s=5.0)])
        board.run(lambda: None, cost(1000.0))
        clock.sleep_until(10.5)
        with pytest.raises(PowerLost, match=r"from 10.0 s until 12.0 s") as caught:
            board.status()
        assert board.power_up(caught.value) == pytest.approx(5.0 * 3000 * 1e3)
        assert clock.now_s() == 17.0
        board.status()

    def test_it_is_lost_in_the_middle_of_an_inference_as_well(self) -> None:
        board = SimulatedBoard(STEADY, clock=VirtualClock(), outages=[Outage(at_s=0.5, for_s=0.0)])
        with pytest.raises(PowerLost):
            board.run(lambda: None, cost(1000.0))

    def test_a_boot_that_the_next_outage_cuts_short_begins_again(self) -> None:
        outages = [Outage(at_s=10.0, for_s=2.0, boot_s=20.0), Outage(at_s=15.0, for_s=1.0, boot_s=20.0)]
        clock = VirtualClock()
        board = SimulatedBoard(STEADY, clock=clock, outages=outages)
        clock.advance(10.5)
        with pytest.raises(PowerLost) as caught:
            board.status()
        boot_uj = board.power_up(caught.value)
        assert clock.now_s() == pytest.approx(16.0 + 20.0, abs=1e-5)
        assert boot_uj == pytest.approx((3.0 + 20.0) * 3000 * 1e3)
        board.status()

    def test_outages_that_overlap_are_one(self) -> None:
        first, within, over = (
            Outage(at_s=10.0, for_s=20.0, boot_s=1.0), Outage(at_s=15.0, for_s=1.0, boot_s=2.0),
            Outage(at_s=29.0, for_s=5.0, boot_s=3.0),
        )  # fmt: skip
        later = Outage(at_s=40.0, for_s=1.0)
        assert apart([later, within, over, first]) == [Outage(at_s=10.0, for_s=24.0, boot_s=3.0), later]

    def test_no_handler_of_failures_handles_it(self) -> None:
        assert not issubclass(PowerLost, Exception)

    def test_a_hot_board_has_cooled_when_it_comes_back(self) -> None:
        from tests.unit.simulators.test_device import PI

        board = SimulatedBoard(PI, clock=VirtualClock(), outages=[Outage(at_s=600.0, for_s=3600.0, boot_s=0.0)])
        with pytest.raises(PowerLost) as caught:
            board.run(lambda: None, cost(700e3))
        board.power_up(caught.value)
        assert board.status().temperature_c == pytest.approx(25.0, abs=0.1)


class TestClock:
    @given(st.floats(-500, 500), st.lists(st.floats(0, 1e5), min_size=1, max_size=8))
    def test_a_device_waits_by_its_own_clock_and_the_world_goes_by_its_own(
        self, ppm: float, steps: list[float]
    ) -> None:
        clock = DriftingClock(Drift(ppm=ppm))
        for index, seconds in enumerate(steps):
            if index % 2:
                clock.advance(seconds)
            else:
                clock.sleep_until(clock.now_s() + seconds)
        assert clock.now_s() == pytest.approx(true_s(clock) * (1 + ppm * 1e-6), abs=1e-6)

    def test_a_crystal_is_slow_when_it_is_hot_and_when_it_is_cold(self) -> None:
        assert Drift(ppm=10.0).total_ppm == 10.0
        assert Drift(ppm=0.0, temperature_c=-20.0).total_ppm == pytest.approx(-0.034 * 45**2)
        assert Drift(ppm=0.0, temperature_c=70.0).total_ppm == Drift(ppm=0.0, temperature_c=-20.0).total_ppm

    def test_a_day_at_50_ppm_is_four_seconds(self) -> None:
        clock = rig_of(["clock-drift?ppm=50"]).clock()
        clock.advance(86_400.0)
        assert clock.now_s() - true_s(clock) == pytest.approx(4.32)

    def test_the_physics_of_a_board_go_by_the_worlds_time(self) -> None:
        clock = DriftingClock(Drift(ppm=50_000.0))
        board = SimulatedBoard(STEADY, clock=clock, outages=[Outage(at_s=10.0, for_s=1.0, boot_s=0.0)])
        clock.sleep_until(10.2)  # of the device, which is 9.7 s of the world's
        board.status()
        clock.sleep_until(10.6)
        with pytest.raises(PowerLost):
            board.status()


class TestCollector:
    """What a collector makes of the times of a device whose clock drifts: see `collector.clocks`."""

    @pytest.mark.parametrize(
        "fault", ["clock-drift?ppm=0", "clock-drift?ppm=50", "clock-drift?ppm=-50", "clock-drift?temperature_c=-20"]
    )
    def test_records_of_a_day_are_placed_within_its_drift_and_a_delay(self, fault: str) -> None:
        rig, random = rig_of([fault]), np.random.default_rng(1)
        clock, booted_ms, sightings, made = rig.clock(), 1_700_000_000_000, Sightings(), []
        shortest_ms = math.inf
        for _ in range(144):  # a frame each ten minutes
            clock.advance(600.0)
            made.append((clock.now_s(), true_s(clock)))
            delay_s = random.uniform(0.3, 4.0)
            shortest_ms = min(shortest_ms, delay_s * 1e3)
            stamp = Stamp(sent_ms=int(clock.now_s() * 1e3))
            received_ms = booted_ms + int((true_s(clock) + delay_s) * 1e3)
            sightings = sightings.with_frame(stamp, received_ms, epoch=0)
        fix = sightings.fix()
        assert fix.source is TimeSource.RECEIVED
        drifted_ms = abs(rig.drift.total_ppm) * 1e-6 * 86_400e3
        errors = [fix.offset_ms + device_s * 1e3 - (booted_ms + world_s * 1e3) for device_s, world_s in made]
        assert max(map(abs, errors)) <= drifted_ms + (4000 if drifted_ms else shortest_ms) + 2
        assert max(errors) - min(errors) == pytest.approx(drifted_ms * 143 / 144, abs=1)

    def test_what_a_fast_clock_tells_is_not_refuted_while_its_wall_clock_is_followed(self) -> None:
        clock, sightings = rig_of(["clock-drift?ppm=100"]).clock(), Sightings()
        for _ in range(144):
            clock.advance(600.0)
            told_ms = 1_700_000_000_000 + round((true_s(clock) - clock.now_s()) * 1e3)  # NTP holds the wall clock
            stamp = Stamp(sent_ms=int(clock.now_s() * 1e3), offset_ms=told_ms, quality=TimeQuality.NTP)
            received_ms = 1_700_000_000_000 + int((true_s(clock) + 1.0) * 1e3)
            sightings = sightings.with_frame(stamp, received_ms, epoch=0)
        fix = sightings.fix()
        worst_ms = 100e-6 * 86_400e3  # of a record made when the offset was another
        assert abs(fix.offset_ms - 1_700_000_000_000) <= worst_ms + 1000


class TestSensor:
    def test_a_stuck_sensor_repeats_the_last_sample_within_its_time(self, bundle: Bundle) -> None:
        clock = VirtualClock()
        source = open_source("bundle", bundle)
        stuck = rig_of(["sensor:stuck@2s+3s"]).disturbed(source, bundle.manifest.input, clock=clock, seed=0)
        seen, good = [], list(source)
        for sample in stuck:
            seen.append(sample)
            clock.advance(1.0)
        assert len(stuck) == len(good) == len(seen)
        assert "stuck (simulated)" in stuck.label
        for index, sample in enumerate(seen):
            expected = good[1] if 2 <= index < 5 else good[index]
            np.testing.assert_array_equal(sample.value, expected.value)
            assert sample.label == good[index].label

    def test_any_fault_of_a_sample_may_be_given_a_time_and_noise_is_the_same_again(self, bundle: Bundle) -> None:
        def values(seed: int) -> np.ndarray:
            rig, clock = rig_of(["sensor:noise-25-%-of-the-range"]), VirtualClock()
            source = rig.disturbed(open_source("bundle", bundle), bundle.manifest.input, clock=clock, seed=seed)
            return np.stack([sample.value for sample in source])

        np.testing.assert_array_equal(values(1), values(1))
        np.testing.assert_array_equal(values(-1), values(2**64 - 1))
        assert not np.array_equal(values(1), values(2))

    def test_a_stream_has_no_sensor_to_break(self, bundle: Bundle) -> None:
        stream = open_source("generator?seed=1", bundle)
        with pytest.raises(UsageError, match="is a stream"):
            rig_of(["sensor:dark"]).disturbed(stream, bundle.manifest.input, clock=VirtualClock(), seed=0)


class TestBits:
    def test_so_many_bits_of_the_weights_differ_and_nothing_else(self, bundle: Bundle) -> None:
        faulty = rig_of(["bit-flips?bits=9"]).in_memory(bundle, seed=4)
        flipped = 0
        for name in bundle.names:
            before, after = (np.frombuffer(one.read(name), np.uint8) for one in (bundle, faulty))
            changed = np.flatnonzero(before != after)
            flipped += int(np.unpackbits(before ^ after).sum())
            if len(changed):
                spans = weights_of(bundle.read(name))
                assert all(any(start <= at < start + size for start, size in spans) for at in changed.tolist())
        assert flipped == 9

    def test_the_same_seed_flips_the_same_bits(self, bundle: Bundle) -> None:
        flips = BitFlips(bits=5)
        graphs = {name: bundle.read(name) for name in bundle.names if name.endswith(".tflite")}
        assert flips.flipped(graphs, 1) == flips.flipped(graphs, 1) != flips.flipped(graphs, 2)

    def test_the_self_test_notices_what_a_signature_cannot(self, bundle: Bundle) -> None:
        faulty = rig_of(["bit-flips?bits=200"]).in_memory(bundle, seed=0)
        checks = [check for check in replay(faulty) if check.name.startswith("int8")]
        assert [check.ok for check in checks] == [False] * 4
        Executor(faulty)  # it loads all the same

    def test_without_a_graph_of_that_format_there_is_nothing_to_flip(self, bundle: Bundle) -> None:
        files = {name: bundle.read(name) for name in bundle.names if not name.endswith(".tflite")}
        bare = Bundle(name="x", size_bytes=0, manifest=bundle.manifest, digest="", signer=None, files=files)
        with pytest.raises(IncompatibleError, match="no TFLite graph"):
            BitFlips(bits=1).in_memory(bare, 0)
