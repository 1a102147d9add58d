"""A record, and where a transfer is, as the message that tells an operator of it."""

from __future__ import annotations

from collections.abc import Mapping

from tamiyo_runtime.update.fetch import Fetch
from tamiyo_runtime.update.health import Verdict
from tamiyo_runtime.update.messages import SHORT, OrderReport, Reported, SlotReport, cut_text
from tamiyo_runtime.update.record import Record


def report(
    record: Record,
    *,
    fetch: Fetch | None,
    verdict: Verdict | None,
    order: OrderReport | None,
    refused: Mapping[str, int],
    trouble: str | None,
    applied: bool,
) -> Reported:
    """How things stand."""
    received, chunks = fetch.progress if fetch is not None else (0, 0)
    offer = record.offer
    return Reported(
        slots={
            name: SlotReport(
                state=slot.state,
                sha256=slot.sha256,
                name=slot.name,
                version=slot.version,
                reason=None if slot.reason is None else cut_text(slot.reason),
            )
            for name, slot in sorted(record.slots.items())
        },
        running=record.running,
        offer=None if offer is None else offer.sha256,
        reaches=offer is not None and offer.reaches(record.device),
        received=received,
        chunks=chunks,
        verdict=verdict,
        order=order,
        counters={key_id[:SHORT]: counter for key_id, counter in record.counters.items()},
        rejected=tuple(sha256[:SHORT] for sha256 in record.rejected),
        refused=dict(refused),
        trouble=None if trouble is None else cut_text(trouble),
        applied=applied,
    )
