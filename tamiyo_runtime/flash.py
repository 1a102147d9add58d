"""A budget for what telemetry writes to flash, kept by summing up more before anything is written.

Every commit costs pages, however little is in it, so writing is dear by the commit and hardly by the record. What one
window costs, its ack and what else is recorded meanwhile included, is measured from window to window; a window is then
made as long as the budget takes to pay for one. Decisions, events and tombstones are always written: they are few, and
windows make room for them. No record is dropped for the budget's sake.
"""

from __future__ import annotations

from tamiyo_runtime.contracts.document import require

_LONGEST_S = 3600.0
_NEWEST = 0.3  # weight of the last window's cost in the mean


class FlashBudget:
    """``bytes_per_day``: of the spool's own writes as its `FlashMeter` counts them."""

    def __init__(self, bytes_per_day: float) -> None:
        require(bytes_per_day > 0, "flash-mb-per-day", f"must be above 0, got {bytes_per_day / 1e6:g}")
        self._bytes_per_s = bytes_per_day / 86400.0
        self._cost_bytes: float | None = None
        self._seen_bytes = 0

    def window_closed(self, written_bytes: int) -> None:
        """Note what has been written so far, since the spool was opened."""
        cost, self._seen_bytes = written_bytes - self._seen_bytes, written_bytes
        known = self._cost_bytes
        self._cost_bytes = cost if known is None else known + _NEWEST * (cost - known)

    def window_s(self) -> float:
        """How long a window must be at least; an hour at most, 0 while nothing is known."""
        return min(_LONGEST_S, (self._cost_bytes or 0.0) / self._bytes_per_s)
