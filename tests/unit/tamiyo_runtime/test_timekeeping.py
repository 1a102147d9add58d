"""What a wall clock is worth: by the kernel's word, by a chip that agrees, or nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.stamp import TimeQuality
from tamiyo_runtime.meters import MonotonicClock, VirtualClock
from tamiyo_runtime.timekeeping import (
    FakeWallClock,
    KernelClock,
    LinuxWallClock,
    NoWallClock,
    WallReading,
    ask_kernel,
    parse_timex,
    timekeeper,
)

# ``struct timex`` as adjtimex(2) filled it, with 5 (TIME_ERROR) as its answer: x86-64, Linux, nobody setting the clock.
UNSYNCHRONISED = bytes.fromhex(
    "0000000000000000000000000000000000000000000000000024f400000000000024f400000000004000000000000000020000000000000001"
    "000000000000000000f4010000000022920c6b00000000ac210900000000001027000000000000" + "00" * 96
)
NOW_S = 1_790_000_000.25


def timex(*, status: int, error_us: int, long_bytes: int) -> bytes:
    """As timex.h lays it out: modes, offset, freq, maxerror, esterror, status."""
    form = "=I4x4qi" if long_bytes == 8 else "=I4ii"
    return struct.pack(form, 0, 0, 0, error_us, 0, status) + bytes(160)


def test_a_kernel_whose_clock_nobody_sets_says_so() -> None:
    assert parse_timex(5, UNSYNCHRONISED, long_bytes=8) == KernelClock(synchronised=False, error_us=16_000_000)


@pytest.mark.parametrize("long_bytes", [4, 8])
def test_a_clock_held_by_a_network_is_known_from_the_status_on_32_and_64_bits(long_bytes: int) -> None:
    held = timex(status=0x2001, error_us=1500, long_bytes=long_bytes)  # STA_PLL, STA_NANO
    assert parse_timex(0, held, long_bytes=long_bytes) == KernelClock(synchronised=True, error_us=1500)
    lost = timex(status=0x2041, error_us=16_000_000, long_bytes=long_bytes)
    assert not parse_timex(0, lost, long_bytes=long_bytes).synchronised
    assert not parse_timex(5, held, long_bytes=long_bytes).synchronised


def test_this_machine_answers_or_forbids_it() -> None:
    answer = ask_kernel()
    assert answer is None or answer.error_us >= 0


def chip(root: Path, seconds: int, name: str = "rtc0") -> Path:
    folder = root / "sys/class/rtc" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "since_epoch").write_text(f"{seconds}\n")
    return root


def wall(root: Path, *, synchronised: bool | None = None, now_s: float = NOW_S) -> LinuxWallClock:
    answer = None if synchronised is None else KernelClock(synchronised=synchronised, error_us=1000)
    return LinuxWallClock(root, kernel=lambda: answer, wall_s=lambda: now_s, clock=VirtualClock(1000.0))


@pytest.mark.parametrize(
    ("synchronised", "chip_s", "quality"),
    [
        (True, None, TimeQuality.NTP),
        (True, 0, TimeQuality.NTP),
        (False, int(NOW_S) + 3, TimeQuality.RTC),
        (None, int(NOW_S) - 3, TimeQuality.RTC),
        (False, 946_684_800, TimeQuality.NONE),  # a chip whose battery is empty: 2000-01-01
        (False, int(NOW_S) + 3600, TimeQuality.NONE),  # a chip that tells another hour
        (False, None, TimeQuality.NONE),
        (None, None, TimeQuality.NONE),
    ],
)
def test_quality_is_the_best_that_something_vouches_for(
    tmp_path: Path, synchronised: bool | None, chip_s: int | None, quality: TimeQuality
) -> None:
    if chip_s is not None:
        chip(tmp_path, chip_s)
    assert wall(tmp_path, synchronised=synchronised).read() == WallReading(
        offset_ms=round((NOW_S - 1000.0) * 1000), quality=quality
    )


def test_a_chip_that_agrees_on_a_time_long_past_vouches_for_nothing(tmp_path: Path) -> None:
    """Both start at 1970 on a board without a battery."""
    assert wall(chip(tmp_path, 12), now_s=12.0).read().quality is TimeQuality.NONE


def test_the_second_of_two_chips_may_be_the_one_with_a_battery(tmp_path: Path) -> None:
    chip(tmp_path, 7, "rtc0")
    assert wall(chip(tmp_path, int(NOW_S), "rtc1")).read().quality is TimeQuality.RTC


def test_a_clock_that_a_network_has_set_does_not_become_worthless_without_it(tmp_path: Path) -> None:
    answers = iter([KernelClock(synchronised=True, error_us=1), KernelClock(synchronised=False, error_us=16_000_000)])
    clock = LinuxWallClock(tmp_path, kernel=lambda: next(answers), wall_s=lambda: NOW_S, clock=VirtualClock())
    assert [clock.read().quality, clock.read().quality] == [TimeQuality.NTP, TimeQuality.RTC]


def test_the_run_of_a_machine_has_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "proc/sys/kernel/random"
    folder.mkdir(parents=True)
    (folder / "boot_id").write_text("de1abd26-903a-46b1-87c0-6bd8f406d2f6\n")
    assert wall(tmp_path).machine == "de1abd26-903a-46b1-87c0-6bd8f406d2f6"
    assert wall(tmp_path / "elsewhere").machine == ""


def test_a_simulated_board_has_no_wall_clock() -> None:
    assert isinstance(timekeeper(MonotonicClock()), LinuxWallClock)
    assert isinstance(timekeeper(VirtualClock()), NoWallClock)
    assert timekeeper(VirtualClock()).read() == WallReading()


def test_a_fake_remembers_what_it_said() -> None:
    fake = FakeWallClock(offset_ms=10)
    fake.read()
    fake.set_by(-3_600_000)
    assert [fake.read(), *fake.history][0].offset_ms == 10 - 3_600_000
    assert [reading.offset_ms for reading in fake.history] == [10, 10 - 3_600_000]
