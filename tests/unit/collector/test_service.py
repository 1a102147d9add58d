"""What the collector does with messages, without a broker: what it acknowledges, and that nothing stops it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from collector.service import Collector
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, Numbered


class Line:
    """Stands in for the connection and remembers what went out."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.acked: list[str] = []

    def publish(self, topic: str, payload: bytes, **_: object) -> bool:
        self.published.append(topic)
        return True

    def ack(self, message: Any) -> None:
        self.acked.append(message.topic)


def message(device: str, boot: int) -> Any:
    frame = wire.encode(Batch(boot, "0a0b0c0d", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),)), device=device)
    return SimpleNamespace(topic=f"tamiyo/v1/f/{device}/t", payload=frame)


def test_a_message_that_the_store_cannot_take_does_not_hold_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = Collector("mqtt://127.0.0.1:1", tmp_path / "c.db", "f")
    line = Line()
    monkeypatch.setattr(collector, "_connection", line)
    know = collector.store._know

    def poisoned(device: str, now_s: float) -> None:
        if device == "bad":
            raise OverflowError("no database holds that")
        know(device, now_s)

    monkeypatch.setattr(collector.store, "_know", poisoned)
    for device in ("a", "bad", "b"):
        collector._take(message(device, 1))
    assert line.published == []  # the line is not quiet yet
    collector._turn(True)
    assert [entry.device for entry in collector.store.ledger()] == ["a", "b"]
    assert line.published == ["tamiyo/v1/f/a/ack", "tamiyo/v1/f/b/ack"]
    assert line.acked == ["tamiyo/v1/f/a/t", "tamiyo/v1/f/bad/t", "tamiyo/v1/f/b/t"]
    ((topic, reason, _),) = collector.store.quarantine()
    assert (topic, "OverflowError" in reason) == ("tamiyo/v1/f/bad/t", True)
    collector.store.close()
