"""A reporter that also writes down, in the audit log, what somebody may have to answer for.

Sits before telemetry, or before none: what happens to a device is on the device too, whatever the link does.
"""

from __future__ import annotations

from tamiyo_runtime.audit import Auditor, Happened
from tamiyo_runtime.contracts.records import Event, EventRecord, Mode
from tamiyo_runtime.reporter import Reporter

_GRAVE = (Mode.SAFE, Mode.ROLLBACK, Mode.FAULT)
_MODE_GAP_MS = 60_000
"""Of one mode, at most a record in this time: a board at the edge of its budget must not wear out its flash."""


class Audited:
    """Passes everything on to ``reporter``; changes to a grave mode, orders and updates are audited as well."""

    def __init__(self, reporter: Reporter, auditor: Auditor) -> None:
        self._reporter = reporter
        self._auditor = auditor
        self._modes: dict[str, tuple[int, int]] = {}  # when last told, on the board's clock; left out since
        self.inference = reporter.inference  # the hot path: no call more than without us
        self.skipped = reporter.skipped
        self.decision = reporter.decision
        self.state = reporter.state
        self.pump = reporter.pump
        self.running = reporter.running

    def event(self, event: EventRecord) -> None:
        """Audit what is grave, pass on everything."""
        if event.event is Event.MODE:
            self._mode(event)
        elif (kind := _kind_of(event)) is not None:
            self._auditor.tell(kind, value=event.value or None, detail=event.detail)
        self._reporter.event(event)

    def _mode(self, event: EventRecord) -> None:
        mode = event.detail.partition(" ")[0]
        if mode not in _GRAVE:
            return
        told_ms, left_out = self._modes.get(mode, (event.t_ms - _MODE_GAP_MS, 0))
        if event.t_ms - told_ms < _MODE_GAP_MS:
            self._modes[mode] = told_ms, left_out + 1
            return
        self._modes[mode] = event.t_ms, 0
        self._auditor.tell(Happened.MODE, detail=event.detail, left_out=left_out or None)


def _kind_of(event: EventRecord) -> Happened | None:
    if event.event is Event.ORDER:
        if not event.value:
            return Happened.REFUSED
        return Happened.KEY if event.detail == "keys" else Happened.ORDER
    return Happened.UPDATE if event.event in {Event.UPDATE, Event.RELOAD} else None
