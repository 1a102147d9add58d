"""What a link will do, without a network: the decisions on pieces that are offered in an even rhythm."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulators.relay.medium import Decision, Direction, Medium, Outage
from tamiyo_runtime.contracts.document import require, require_finite

_MOST = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """``size_bytes`` upwards every ``every_s``, or when the piece before has started, whichever is later.

    Raises SchemaError for figures out of range.
    """

    seconds: float
    every_s: float = 1.0
    size_bytes: int = 200

    def __post_init__(self) -> None:
        require_finite(seconds=self.seconds, every_s=self.every_s)
        require(self.seconds > 0, "seconds", f"must be above 0, got {self.seconds}")
        require(self.every_s > 0, "every_s", f"must be above 0, got {self.every_s}")
        require(
            self.seconds / self.every_s <= _MOST, "every_s", f"{self.seconds / self.every_s:.3g} probes are too many"
        )
        require(self.size_bytes > 0, "size_bytes", f"must be above 0, got {self.size_bytes}")


def foretell(medium: Medium, probe: Probe) -> Iterator[Decision | Outage]:
    """Decisions and outages of the first ``seconds``, in the order in which a relay would record them."""
    last_s, free_s, seen_s, slot = -math.inf, 0.0, 0.0, 0
    while True:
        at_s = max(slot * probe.every_s, free_s, math.nextafter(last_s, math.inf))
        end_s = min(at_s, probe.seconds)
        yield from medium.outages(seen_s, end_s)
        if at_s >= probe.seconds:
            return
        waiting = probe.size_bytes
        while waiting and at_s < probe.seconds:
            decision = medium.decide(at_s, Direction.UP, waiting)
            yield decision
            waiting -= decision.size_bytes
            last_s, free_s, seen_s = at_s, decision.start_s, end_s
            at_s = max(decision.start_s, math.nextafter(at_s, math.inf))
        slot = max(slot + 1, math.ceil(free_s / probe.every_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A trace in figures. Delays: from being offered to arriving, of pieces that arrived; None where none did."""

    pieces: int
    lost: int
    repeats: int
    bytes_per_s: float
    delay_p50_s: float | None
    delay_p95_s: float | None
    delay_max_s: float | None
    outages: int
    outage_share: float


def outlook(trace: Sequence[Decision | Outage], seconds: float) -> Outlook:
    """Of the first ``seconds``; the rate is that of bytes that had arrived by then."""
    decisions = [one for one in trace if isinstance(one, Decision)]
    outages = [one for one in trace if isinstance(one, Outage)]
    delays = sorted(one.delay_s for one in decisions if not one.lost)
    arrived = sum(one.size_bytes for one in decisions if not one.lost and one.arrives_s <= seconds)
    return Outlook(
        pieces=len(decisions),
        lost=sum(one.lost for one in decisions),
        repeats=sum(one.tries - 1 for one in decisions),
        bytes_per_s=arrived / seconds,
        delay_p50_s=_quantile(delays, 0.5),
        delay_p95_s=_quantile(delays, 0.95),
        delay_max_s=_quantile(delays, 1.0),
        outages=len(outages),
        outage_share=sum(min(one.ends_s, seconds) - one.begins_s for one in outages) / seconds,
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least that share is not above."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
