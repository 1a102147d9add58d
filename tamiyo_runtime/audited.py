"""A reporter that also writes down, in the audit log, what somebody may have to answer for.

Sits before telemetry, or before none: what happens to a device is on the device too, whatever the link does.
"""

from __future__ import annotations

from tamiyo_runtime.audit import Auditor, Happened
from tamiyo_runtime.contracts.records import Event, EventRecord, Mode
from tamiyo_runtime.reporter import Reporter

_GRAVE = (Mode.SAFE, Mode.ROLLBACK, Mode.FAULT)


class Audited:
    """Passes everything on to ``reporter``; changes to a grave mode, orders and updates are audited as well."""

    def __init__(self, reporter: Reporter, auditor: Auditor) -> None:
        self._reporter = reporter
        self._auditor = auditor
        self.inference = reporter.inference  # the hot path: no call more than without us
        self.skipped = reporter.skipped
        self.decision = reporter.decision
        self.state = reporter.state
        self.running = reporter.running
        self.pump = reporter.pump

    def event(self, event: EventRecord) -> None:
        """Audit what is grave, pass on everything."""
        kind = _kind_of(event)
        if kind is not None:
            self._auditor.tell(kind, value=event.value or None, detail=event.detail)
        self._reporter.event(event)


def _kind_of(event: EventRecord) -> Happened | None:
    if event.event is Event.MODE:
        return Happened.MODE if event.detail.partition(" ")[0] in _GRAVE else None
    if event.event is Event.ORDER:
        if not event.value:
            return Happened.REFUSED
        return Happened.KEY if event.detail == "keys" else Happened.ORDER
    return Happened.UPDATE if event.event in {Event.UPDATE, Event.RELOAD} else None
