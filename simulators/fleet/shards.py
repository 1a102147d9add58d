"""A field's windows shared among processes. The result is that of one process, bit for bit.

Each process takes a stretch of windows. What it must know of the time before are the demodulators that are held as its
stretch begins, and it finds them by following them from a while before. When the stretch before is done that is
compared with what was really held, and a stretch that began with something else is run again.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise

from simulators.fleet.lora import LoraField, lora_field
from simulators.fleet.result import Packets
from simulators.fleet.scenario import Scenario
from simulators.fleet.tally import Tally
from simulators.fleet.windows import Carried, Windows

_STRETCHES_A_WORKER = 4
_mine: list[Windows] = []  # of the process it is in: the field, worked out once


def run_field(
    field: LoraField,
    *,
    workers: int = 1,
    length_s: float | None = None,
    on_share: Callable[[float], None] | None = None,
    on_packets: Callable[[Packets], None] | None = None,
) -> Tally:
    """The whole run of a field. ``on_share``: of its windows that are done; packets come in order, from one process."""
    windows = Windows.of(field, length_s)
    done = 0

    def went(count: int) -> None:
        nonlocal done
        done += count
        if on_share is not None:
            on_share(done / windows.count)

    if workers == 1 or windows.count == 1 or on_packets is not None:
        tally = windows.tally()
        carried = windows.start(0)
        windows.run(0, windows.count, carried, tally, on_window=lambda: went(1), on_packets=on_packets)
        return tally
    return _shared(windows, workers, went)


def _shared(windows: Windows, workers: int, went: Callable[[int], None]) -> Tally:
    total, held = windows.tally(), windows.start(0)
    stretches = list(_stretches(windows.count, workers))
    field = windows.field
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_ready,
        initargs=(field.scenario, field.name, windows.length_s),
    )
    try:
        for (first, end), (before, after, tally) in zip(stretches, pool.map(_stretch, stretches), strict=True):
            if before.same_paths(held):
                total.add(tally)
                held = after
            else:
                held = windows.run(first, end, Carried(held.held_until_s, before.device, before.start_s), total)
            went(end - first)
    finally:
        pool.shutdown(cancel_futures=True)
    return total


def _stretches(count: int, workers: int) -> Iterator[tuple[int, int]]:
    parts = min(count, workers * _STRETCHES_A_WORKER)
    yield from pairwise(count * part // parts for part in range(parts + 1))


def _ready(scenario: Scenario, name: str, length_s: float) -> None:
    _mine[:] = [Windows.of(lora_field(scenario, name), length_s)]


def _stretch(ends: tuple[int, int]) -> tuple[Carried, Carried, Tally]:
    (windows,) = _mine
    before, tally = windows.start(ends[0]), windows.tally()
    return before, windows.run(*ends, before, tally), tally
