"""Summing up inferences into a window, and a window into what a frame can hold."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Window
from tamiyo_runtime.contracts.sketch import SketchBuilder, tokens_of

RESERVOIR = 16384
"""Percentiles are exact up to this many inferences a window; beyond, they are those of a uniform sample this large.

The sketch counts every inference, however many.
"""

OTHERS = ""
"""In a window's counts, where a frame is too small to name every configuration: all that are not named."""

_SKETCH_TOKENS = 16  # about as many bytes: what a window on a link with a limit spends on its sketch at most
_FRAME_BYTES = 32  # what a frame takes beside a window's row: see `wire`
_TIGHT_FRAME_BYTES = 20  # without bundle and stamp
_TIGHT_BYTES = 64


def percentile(ordered: list[int], share: float) -> int:
    """Nearest-rank percentile of an ascending list; 0 when it is empty."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else 0


class WindowBuilder:
    """One window in the making. ``add`` is on the path of every inference: plain attributes, one list, one dict."""

    __slots__ = (
        "_correct",
        "_counts",
        "_energy_uj",
        "_labelled",
        "_latencies",
        "_max",
        "_misses",
        "_rng",
        "_seen",
        "_sketch",
        "_skipped",
    )

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._latencies: list[int] = []
        self._sketch = SketchBuilder()
        self._max = self._seen = self._skipped = self._misses = self._labelled = self._correct = 0
        self._energy_uj = 0.0

    @property
    def empty(self) -> bool:
        """Whether nothing has happened."""
        return not self._seen and not self._skipped

    def add(
        self, configuration: str, latency_us: int, energy_uj: float, correct: bool | None, deadline_missed: bool
    ) -> None:
        """Count one inference."""
        self._counts[configuration] += 1
        self._seen += 1
        self._energy_uj += energy_uj
        self._sketch.add(latency_us)
        if latency_us > self._max:  # noqa: PLR1730 - a call of max() takes four times as long
            self._max = latency_us
        if self._seen <= RESERVOIR:
            self._latencies.append(latency_us)
        elif (place := self._rng.randrange(self._seen)) < RESERVOIR:  # Vitter's algorithm R
            self._latencies[place] = latency_us
        if deadline_missed:
            self._misses += 1
        if correct is not None:
            self._labelled += 1
            self._correct += correct

    def skip(self) -> None:
        """Count one sample that was not run."""
        self._skipped += 1

    def build(self, start_ms: int, end_ms: int, bucket_permille: int, throttle_permille: int) -> Window:
        """The record."""
        ordered = sorted(self._latencies)
        return Window(
            t_ms=start_ms,
            duration_ms=end_ms - start_ms,
            inferences=self._seen,
            skipped=self._skipped,
            deadline_misses=self._misses,
            latency_p50_us=percentile(ordered, 0.50),
            latency_p95_us=percentile(ordered, 0.95),
            latency_max_us=self._max,
            energy_uj=round(self._energy_uj),
            labelled=self._labelled,
            correct=self._correct,
            bucket_permille=bucket_permille,
            throttle_permille=throttle_permille,
            counts=dict(self._counts),
            latency_sketch=self._sketch.build(),
        )


def fitted(window: Window, limit_bytes: int) -> Window:
    """The window in the detail that a frame of that size carries.

    First its sketch gets coarser, then it goes; then the rarest configurations are counted together as `OTHERS`.
    """
    room = limit_bytes - (_TIGHT_FRAME_BYTES if limit_bytes < _TIGHT_BYTES else _FRAME_BYTES)
    bare = replace(window, latency_sketch=None)
    spare = room - len(wire.encode_record(bare))
    if window.latency_sketch is not None:
        sketch = window.latency_sketch.within(min(_SKETCH_TOKENS, max(0, spare)))
        if len(tokens_of(sketch)) < spare:
            return replace(window, latency_sketch=sketch)
    named = sorted(window.counts, key=lambda name: window.counts[name])
    while named and len(wire.encode_record(bare)) > room:
        named = named[1:]
        counts = {name: window.counts[name] for name in window.counts if name in named}
        bare = replace(bare, counts={**counts, OTHERS: window.inferences - sum(counts.values())})
    return bare
