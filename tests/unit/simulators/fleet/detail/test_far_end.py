"""The far end of one device: real frames in, real acks out, at their time."""

from __future__ import annotations

import math

import pytest

from simulators.fleet.detail.far_end import FarEnd
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, Numbered
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.transport.topics import Channel


class Slow:
    """A link whose frames take three seconds."""

    answer_s = 1.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    def arrived_s(self) -> float:
        return self.clock.now_s() + 3.0


def frame(*numbers: int, device: str = "a") -> bytes:
    records = tuple(Numbered(seq, EventRecord(t_ms=1000 + seq, event=Event.MODE)) for seq in numbers)
    return wire.encode(Batch(7, "", records), device=device)


def test_an_ack_names_what_came_and_is_there_when_the_window_opens() -> None:
    clock = VirtualClock(10.0)
    far_end = FarEnd("a", Slow(clock), clock)
    assert far_end.next_s(10.0) == math.inf
    assert far_end.publish(Channel.TELEMETRY, frame(0, 1, 4))
    assert far_end.next_s(10.0) == 14.0
    clock.sleep_until(13.9)
    assert far_end.receive() == []
    clock.sleep_until(14.0)
    (ack,) = far_end.receive()
    assert wire.decode_ack(ack, device="a").ranges == ((0, 1), (4, 4))
    assert far_end.receive() == []
    assert [(one.seq, one.t_ms, one.arrived_s) for one in far_end.arrivals] == [
        (0, 1000, 13.0),
        (1, 1001, 13.0),
        (4, 1004, 13.0),
    ]


def test_what_comes_again_is_acked_again_and_counted_once() -> None:
    clock = VirtualClock()
    far_end = FarEnd("a", Slow(clock), clock)
    far_end.publish(Channel.TELEMETRY, frame(0, 1))
    far_end.publish(Channel.EVENTS, frame(1, 2))
    clock.sleep_until(60.0)
    assert [wire.decode_ack(ack, device="a").ranges for ack in far_end.receive()] == [((0, 1),), ((1, 2),)]
    assert [one.seq for one in far_end.arrivals] == [0, 1, 2]
    assert far_end.duplicates == 1


def test_the_frame_of_another_device_is_no_frame() -> None:
    clock = VirtualClock()
    far_end = FarEnd("a", Slow(clock), clock)
    assert far_end.connected()
    assert far_end.trouble() is None
    with pytest.raises(SchemaError, match="another device"):
        far_end.publish(Channel.TELEMETRY, frame(0, device="b"))
    assert far_end.arrivals == []
