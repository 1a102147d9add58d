"""Single samples, up to a rate: noted on the path of an inference, made into records later."""

from __future__ import annotations

import math

from tamiyo_runtime.contracts.records import Sample
from tamiyo_runtime.link import Link

LIMITED_PER_S = 1.0
"""At most, where single samples wait for a contact."""


def rate_per_s(link: Link, wanted_per_s: float, now_s: float) -> float:
    """How many a second to record: none on a link that never carries them, few on one that does so now and then."""
    if link.carries_raw:
        return wanted_per_s
    return min(wanted_per_s, LIMITED_PER_S) if math.isfinite(link.changes_at_s(now_s)) else 0.0


class SampleTap:
    """Takes at most ``per_s`` inferences a second. Call `add` when ``t_ms`` has reached ``next_ms``."""

    __slots__ = ("_gap_ms", "_noted", "next_ms")

    def __init__(self, per_s: float) -> None:
        self._gap_ms = 1000.0 / per_s if per_s > 0 else math.inf
        self._noted: list[tuple[int, str, int, float, int, float]] = []
        self.next_ms = 0.0 if per_s > 0 else math.inf

    def add(
        self, t_ms: int, configuration: str, *, answer: int, confidence: float, latency_us: int, energy_uj: float
    ) -> None:
        """Note one inference. ``confidence`` in 0..1."""
        self._noted.append((t_ms, configuration, answer, confidence, latency_us, energy_uj))
        self.next_ms = max(self.next_ms + self._gap_ms, t_ms - self._gap_ms)

    def take(self) -> list[Sample]:
        """What was noted since the last time."""
        noted, self._noted = self._noted, []
        return [
            Sample(
                t_ms=t_ms,
                configuration=configuration,
                answer=answer,
                confidence_permille=round(1000 * confidence),
                latency_us=latency_us,
                energy_uj=round(energy_uj),
            )
            for t_ms, configuration, answer, confidence, latency_us, energy_uj in noted
        ]
