"""Readers of meters, on trees written after the kernel's documentation; none of them was recorded on a device."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tamiyo_runtime.meters import BoardStatus, find_meters, read_status
from tamiyo_runtime.meters.fake import FakeBoard
from tamiyo_runtime.meters.raspberry import Vcgencmd, decode, parse


@pytest.fixture
def fake(tmp_path: Path) -> FakeBoard:
    return FakeBoard(tmp_path / "tree")


def test_where_there_is_nothing_nothing_is_found_and_the_board_is_at_its_rated_speed(tmp_path: Path) -> None:
    meters = find_meters(tmp_path)
    assert (meters.power, meters.thermometer, meters.throttle, meters.speed, meters.memory) == (None,) * 5
    assert meters.problems == ()
    assert read_status(meters) == BoardStatus(slowdown=1.0, temperature_c=None, throttled=False)


def test_the_charge_of_a_battery_is_told_while_it_is_drained(fake: FakeBoard) -> None:
    fake.battery(63, name="AAA", scope="Device")
    assert find_meters(fake.root).battery is None
    fake.battery(80)
    meters = find_meters(fake.root)
    assert meters.battery is not None
    assert meters.battery.label == "battery BAT0"
    assert read_status(meters).battery == 0.8
    fake.battery(81, status="Charging")
    assert read_status(meters).battery is None
    fake.battery(-5)
    assert read_status(meters).battery is None


def test_a_battery_that_tells_nothing_is_none(fake: FakeBoard) -> None:
    fake.set("sys/class/power_supply/BAT0/type", "Battery")
    assert find_meters(fake.root).battery is None


def test_rapl_counts_on_when_its_counter_begins_again(fake: FakeBoard) -> None:
    fake.rapl({"package-0": 900_000}, range_uj=1_000_000)
    meter = find_meters(fake.root).power
    assert meter is not None
    assert meter.label == "RAPL package-0"
    readings = []
    for _ in range(5):
        readings.append(meter.read_uj())  # type: ignore[union-attr]  # a counter
        fake.advance(0.04, power_mw=10_000.0)  # 400,000 uJ
    assert readings == [900_000.0, 1_300_000.0, 1_700_000.0, 2_100_000.0, 2_500_000.0]
    shown = [int(change.text) for change in fake.history if change.path.endswith("energy_uj")]
    assert shown == [900_000, 300_000, 700_000, 100_000, 500_000, 900_000]


def _zone(fake: FakeBoard, folder: str, name: str, energy_uj: int) -> None:
    for attribute, value in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", 10**9)):
        fake.set(f"sys/class/powercap/{folder}/{attribute}", value)


def test_rapl_sums_packages_and_memory_but_not_parts_of_a_package(fake: FakeBoard) -> None:
    _zone(fake, "intel-rapl:0", "package-0", 1000)
    _zone(fake, "intel-rapl:0:0", "core", 7)
    _zone(fake, "intel-rapl:0:1", "dram", 200)
    _zone(fake, "intel-rapl:1", "package-1", 3000)
    _zone(fake, "intel-rapl:1:0", "dram", 400)
    _zone(fake, "intel-rapl-mmio:0", "package-0", 1000)
    meter = find_meters(fake.root).power
    assert meter is not None
    assert meter.read_uj() == 4600.0  # type: ignore[union-attr]  # a counter
    assert meter.scope == "processor and memory, not the rest of the board"


def test_rapl_takes_the_whole_platform_where_it_can(fake: FakeBoard) -> None:
    fake.rapl({"package-0": 5, "psys": 70})
    meter = find_meters(fake.root).power
    assert meter is not None
    assert (meter.label, meter.scope) == ("RAPL psys", "the platform")
    assert meter.read_uj() == 70.0  # type: ignore[union-attr]  # a counter


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_counter_that_only_root_may_read_is_named(fake: FakeBoard) -> None:
    fake.rapl({"package-0": 5})
    (fake.root / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)
    meters = find_meters(fake.root)
    assert meters.power is None
    assert "only root may read" in meters.problems[0]


def test_a_denied_counter_is_a_problem_with_a_remedy(fake: FakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.rapl({"package-0": 5})
    real = os.open

    def deny(path: object, *rest: int) -> int:
        if str(path).endswith("energy_uj"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *rest)  # type: ignore[call-overload]  # a double

    monkeypatch.setattr(os, "open", deny)
    meters = find_meters(fake.root)
    assert meters.power is None
    assert meters.problems[0].endswith("run as root, or chmod a+r it at every start")


@pytest.mark.parametrize(
    ("chip", "stated", "interval"), [("ina219", None, 1.1), ("ina226", None, 35.2), ("ina226", 4, 4)]
)
def test_a_monitor_on_the_supply_tells_power_and_comes_before_rapl(
    fake: FakeBoard, chip: str, stated: int | None, interval: float
) -> None:
    fake.rapl({"package-0": 5})
    fake.ina(chip, power_mw=2345.678, update_interval_ms=stated)
    meter = find_meters(fake.root).power
    assert meter is not None
    assert meter.read_mw() == pytest.approx(2345.678)  # type: ignore[union-attr]  # a sensor
    assert meter.interval_ms == interval
    assert meter.label == f"{chip} (hwmon0)"


def test_of_a_monitor_with_channels_the_boards_input_is_taken(fake: FakeBoard) -> None:
    fake.set("sys/class/hwmon/hwmon0/name", "cpu_thermal")
    fake.set("sys/class/hwmon/hwmon10/name", "ina3221")
    for channel, (label, volts, amperes) in enumerate((("VDD_CPU", 5000, 100), ("VDD_IN", 19_000, 250)), start=1):
        fake.set(f"sys/class/hwmon/hwmon10/in{channel}_label", label)
        fake.set(f"sys/class/hwmon/hwmon10/in{channel}_input", volts)
        fake.set(f"sys/class/hwmon/hwmon10/curr{channel}_input", amperes)
    meter = find_meters(fake.root).power
    assert meter is not None
    assert meter.label == "ina3221 VDD_IN (hwmon10)"
    assert meter.read_mw() == 4750.0  # type: ignore[union-attr]  # a sensor
    fake.set("sys/class/hwmon/hwmon10/curr2_input", "")
    assert meter.read_mw() is None  # type: ignore[union-attr]  # a sensor
    assert "gives no reading" in find_meters(fake.root).problems[0]


def test_the_firmwares_flags_are_now_or_since_the_start() -> None:
    flags = decode(0x50005)
    assert flags.now == ("under-voltage", "throttled")
    assert flags.since_start == ("under-voltage", "throttled")
    assert decode(0x80000).now == ()
    assert decode(0x80000).since_start == ("soft temperature limit",)
    assert not decode(0x1).slows  # low voltage is a warning
    assert decode(0x2).slows
    assert parse("throttled=0x20002\n") == parse("20002") == decode(0x20002)
    assert parse("error") is parse(None) is None


def test_the_program_is_asked_only_now_and_then_and_may_fail(tmp_path: Path) -> None:
    program = tmp_path / "vcgencmd"
    program.write_text(f'#!/bin/sh\necho asked >> {tmp_path}/asked\necho "throttled=0x4"\n')
    program.chmod(0o755)
    now = [0.0]
    gauge = Vcgencmd(str(program), now_s=lambda: now[0])
    for now[0] in (0.0, 1.0, 9.0, 11.0):
        flags = gauge.read()
        assert flags is not None
        assert flags.now == ("throttled",)
    assert (tmp_path / "asked").read_text().count("asked") == 2
    assert Vcgencmd(str(tmp_path / "none")).read() is None


def test_a_pi_that_throttles_is_slower_by_what_its_clock_says(fake: FakeBoard) -> None:
    fake.throttled(0)
    fake.cpufreq(rated_mhz=1500, present_mhz=600)
    fake.thermal([("gpu-thermal", 90.0), ("cpu-thermal", 51.25)])
    meters = find_meters(fake.root)
    # At 600 MHz because nothing runs: that is no slowdown.
    assert read_status(meters) == BoardStatus(slowdown=1.0, temperature_c=51.25, throttled=False)
    fake.throttled(0x60006)
    fake.set("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", 1_000_000)
    assert read_status(meters) == BoardStatus(slowdown=1.5, temperature_c=51.25, throttled=True)
    fake.throttled(0x60000)
    assert not read_status(meters).throttled


def test_a_lowered_limit_is_a_slowdown_and_so_is_a_governor_that_stays_low(fake: FakeBoard) -> None:
    fake.cpufreq(rated_mhz=2000, present_mhz=800, allowed_mhz=1600)
    assert read_status(find_meters(fake.root)) == BoardStatus(slowdown=1.25, temperature_c=None, throttled=True)
    fake.cpufreq(rated_mhz=2000, present_mhz=800, governor="powersave")
    assert read_status(find_meters(fake.root)).slowdown == 2.5
    fake.set("sys/devices/system/cpu/cpufreq/policy0/scaling_driver", "intel_pstate")
    assert read_status(find_meters(fake.root)).slowdown == 1.0


def test_a_rubbish_attribute_is_no_reading_and_no_crash(fake: FakeBoard) -> None:
    fake.cpufreq(rated_mhz=2000, present_mhz=800)
    fake.thermal([("soc-thermal", 40.0)])
    fake.throttled(0)
    meters = find_meters(fake.root)
    for path in {change.path for change in fake.history}:
        fake.set(path, "\x00 no number")
    assert read_status(meters) == BoardStatus(slowdown=1.0, temperature_c=None, throttled=False)


def test_memory_is_that_of_the_machine_and_of_this_process(fake: FakeBoard) -> None:
    fake.memory(total_mib=512, available_mib=200, own_pages=1000)
    gauge = find_meters(fake.root).memory
    assert gauge is not None
    memory = gauge.read()
    assert memory is not None
    assert (memory.total_bytes, memory.available_bytes) == (512 << 20, 200 << 20)
    assert memory.own_bytes == 1000 * os.sysconf("SC_PAGE_SIZE")
    fake.set("proc/meminfo", "MemTotal: many kB")
    assert gauge.read() is None


def test_on_this_machine_looking_for_meters_raises_nothing() -> None:
    meters = find_meters()
    assert read_status(meters).slowdown >= 1.0
    if meters.memory is not None:
        memory = meters.memory.read()
        assert memory is not None
        assert 0 < memory.own_bytes < memory.total_bytes
