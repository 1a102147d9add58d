"""Records as a device makes them, for tests of what becomes of records whatever they say."""

from __future__ import annotations

from tamiyo_runtime.contracts.records import Decision, Mode, Reason


def decision(t_ms: int = 0) -> Decision:
    """Less was granted than was proposed, for want of energy."""
    return Decision(
        t_ms=t_ms,
        proposed="c1",
        granted="c0",
        reason=Reason.ENERGY,
        mode=Mode.NORMAL,
        latency_left_permille=1,
        bucket_permille=2,
    )
