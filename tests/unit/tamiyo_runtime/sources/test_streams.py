"""Streams in a session, over real sockets, pipes, terminals and a broker: what arrives runs, what is lost counts."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulators.device import SimulatedBoard
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import Board, HostBoard, VirtualClock
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import Stream, open_source
from tamiyo_runtime.sources.base import Loss
from tamiyo_runtime.sources.inbox import Drop, FlawError, Inbox
from tamiyo_runtime.sources.reader import LineStream
from tamiyo_runtime.sources.tcp import connect
from tamiyo_runtime.summary import SessionSummary, Turn
from tests.tiny import INPUT

LINE = b",".join(b"%d" % value for value in range(16)) + b"\n"


class Recorder(Silent):
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[EventRecord] = []

    def event(self, event: EventRecord) -> None:
        self.events.append(event)

    def seen(self, event: Event) -> list[tuple[int, str]]:
        return [(record.value, record.detail) for record in self.events if record.event is event]


Start = Callable[..., tuple[Session, Recorder]]


@pytest.fixture
def start(tiny_bundle: Bundle) -> Start:
    """A session on a stream, on this machine's clock."""

    def make(
        stream: Any, *, board: Board | None = None, on_turn: Callable[[Turn], None] | None = None, **plan: Any
    ) -> tuple[Session, Recorder]:
        recorder = Recorder()
        session = Session(
            tiny_bundle.manifest,
            Executor(tiny_bundle, "int8"),
            board=board or HostBoard(tiny_bundle.manifest.profile),
            source=open_source(stream, tiny_bundle) if isinstance(stream, str) else stream,
            reporter=recorder,
            plan=Plan(**{"period_s": 0.0, **plan}),
            on_turn=on_turn,
        )
        return session, recorder

    return make


def _piped(chunks: list[bytes], *, drop: Drop = Drop.WAIT, size: int = 64) -> LineStream:
    """What a pipe delivers whose writer writes so and ends."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb", buffering=0) as stream, contextlib.suppress(BrokenPipeError):
            for chunk in chunks:
                stream.write(chunk)

    threading.Thread(target=write, daemon=True).start()
    inbox = Inbox("a pipe", drop=drop, size=size)
    return LineStream(inbox, INPUT, lambda: os.fdopen(reader, "rb", buffering=0), again=False)


def test_every_line_of_a_pipe_is_run_and_the_session_ends_where_it_ends(start: Start) -> None:
    session, recorder = start(_piped([LINE * 300, LINE[:-1]]))
    summary = session.run()
    assert (summary.samples, summary.lost, summary.stopped_early) == (301, {}, False)
    assert recorder.seen(Event.SOURCE_LOSS) == []


def test_bad_lines_are_counted_by_reason_and_told_and_the_session_goes_on(start: Start) -> None:
    bad = [b"1,2,3\n", LINE.replace(b"3,", b"x,", 1), LINE.replace(b"3,", b"nan,", 1), LINE.replace(b"3,", b"99,", 1)]
    session, recorder = start(_piped([LINE, *bad, b"z" * 5000 + b"\n", LINE, b"1,2\n", LINE]))
    summary = session.run()
    assert summary.samples == 3
    assert summary.lost == {"wrong_count": 2, "not_numbers": 1, "not_finite": 1, "out_of_range": 1, "too_long": 1}
    value, detail = recorder.seen(Event.SOURCE_LOSS)[-1]
    assert value == 6
    assert detail.startswith("not_finite 1, not_numbers 1, out_of_range 1")


@pytest.mark.parametrize("chunks", [[b"t=21.5\n" * 50], [b"t=21.5\n" * 3]])
def test_a_stream_whose_first_lines_are_all_bad_ends_the_session_with_the_line_and_the_reason(
    start: Start, chunks: list[bytes]
) -> None:
    session, recorder = start(_piped(chunks))
    with pytest.raises(InputError, match=r"is a sample: it holds something that is no number: 't=21\.5'") as caught:
        session.run()
    assert caught.value.exit_code == 2
    assert recorder.seen(Event.STOP)[0][1].startswith("source: a pipe: none of the first")


def test_a_stream_that_ends_without_a_line_is_a_mistake(start: Start) -> None:
    with pytest.raises(InputError, match="a pipe ended without a sample"):
        start(_piped([]))[0].run()


def test_a_message_does_not_repeat_control_characters_or_endless_lines(start: Start) -> None:
    with pytest.raises(InputError) as caught:
        start(_piped([b"\x1b[2J" + b"evil" * 500 + b"\n"]))[0].run()
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 250


def test_so_many_samples_are_taken_and_no_more(start: Start) -> None:
    assert start(_piped([LINE * 5000]), samples=7)[0].run().samples == 7


def test_a_session_that_waits_for_a_line_ends_when_it_is_told_to_and_uses_no_processor(start: Start) -> None:
    reader, writer = os.pipe()
    stream = LineStream(Inbox("a silent pipe"), INPUT, lambda: os.fdopen(reader, "rb", buffering=0), again=False)
    turns: list[Turn] = []
    session, recorder = start(stream, on_turn=turns.append)
    threading.Timer(1.0, session.stop).start()
    started_s, busy_s = time.monotonic(), time.process_time()
    summary = session.run()
    assert time.process_time() - busy_s < 0.3  # of a second in which nothing came
    assert time.monotonic() - started_s < 3.0
    assert (summary.samples, summary.stopped_early) == (0, True)
    assert recorder.seen(Event.STOP) == [(0, "stopped")]
    assert len(turns) >= 3  # telemetry and watchdog had their turns
    os.close(writer)


@pytest.mark.parametrize(("drop", "kept"), [(Drop.OLDEST, [7, 8, 9]), (Drop.NEWEST, [0, 1, 2])])
def test_a_full_queue_drops_as_it_says_and_counts(drop: Drop, kept: list[int]) -> None:
    inbox = Inbox("x", size=3, drop=drop)
    for number in range(10):
        inbox.put(np.array(number))
    inbox.finish()
    taken = []
    while not inbox.ended():
        sample = inbox.take(0.0)
        assert sample is not None
        taken.append(int(sample.value))
    assert taken == kept
    assert (inbox.intake().received, dict(inbox.intake().lost)) == (10, {Loss.QUEUE_FULL: 7})


def test_what_comes_too_fast_is_lost_but_no_sign_of_a_bad_stream() -> None:
    inbox = Inbox("x")
    for _ in range(100):
        inbox.refuse(FlawError(Loss.TOO_FAST, "too fast"))
    assert inbox.take(0.0) is None
    assert dict(inbox.intake().lost) == {Loss.TOO_FAST: 100}


class Server:
    """A TCP server that says the given things, one connection each, and counts connections."""

    def __init__(self, *talks: bytes, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port = self._socket.getsockname()[1]
        self._talks = talks
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for talk in self._talks:
            connection, _ = self._socket.accept()
            self.connections += 1
            with connection:
                connection.sendall(talk)
        self._socket.close()


def _tcp(port: int) -> LineStream:
    """As `TcpSource` opens it, with shorter waits."""
    inbox = Inbox(f"tcp://127.0.0.1:{port}")
    return LineStream(inbox, INPUT, lambda: connect("127.0.0.1", port), again=True, backoff_cap_s=0.05)


def test_a_lost_tcp_connection_is_made_again_and_a_half_line_is_not_run(start: Start) -> None:
    server = Server(LINE * 2 + LINE[:9], b"", LINE * 3)
    session, _ = start(_tcp(server.port), samples=5)
    summary = session.run()
    assert (summary.samples, summary.lost) == (5, {"cut_off": 1})
    assert server.connections == 3


def test_a_tcp_server_may_start_later_than_the_device(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    states = set()
    session, _ = start(_tcp(port), samples=1, on_turn=lambda turn: states.add(turn.intake.state))  # type: ignore[union-attr]  # a stream
    threading.Timer(0.6, lambda: Server(LINE, port=port)).start()
    assert session.run().samples == 1
    assert any(state.startswith("not connected: ") for state in states)


def test_the_tcp_source_takes_lines_from_its_address(start: Start) -> None:
    server = Server(LINE * 4)
    session, _ = start(f"tcp://127.0.0.1:{server.port}", samples=4)
    assert session.run().samples == 4


@contextlib.contextmanager
def _terminal() -> Iterator[tuple[int, Path]]:
    controller, device = os.openpty()
    path = Path(os.ttyname(device))
    try:
        yield controller, path
    finally:
        os.close(controller)
        os.close(device)


def test_a_serial_port_is_read_raw_from_the_first_whole_line_on(start: Start) -> None:
    with _terminal() as (controller, path):

        def send() -> None:
            time.sleep(0.3)  # opening throws away what was there before
            os.write(controller, b"14,15\r\n" + LINE.replace(b"\n", b"\r\n") * 3)

        threading.Thread(target=send, daemon=True).start()
        session, _ = start(f"serial://{path}?baud=57600", samples=3)
        summary = session.run()
    assert (summary.samples, summary.lost) == (3, {})


def test_over_a_virtual_clock_a_live_stream_is_paced_by_the_plan(start: Start, tiny_bundle: Bundle) -> None:
    board = SimulatedBoard(tiny_bundle.manifest.profile, clock=VirtualClock())
    session, _ = start(_piped([LINE * 50]), board=board, period_s=0.1)
    summary = session.run()
    assert summary.samples == 50
    assert summary.duration_s == pytest.approx(4.9, abs=0.1)


def test_a_generator_is_paced_by_the_plan_and_drift_costs_accuracy(start: Start, tiny_bundle: Bundle) -> None:
    def run(text: str) -> SessionSummary:
        board = SimulatedBoard(tiny_bundle.manifest.profile, clock=VirtualClock())
        return start(text, board=board, samples=200, period_s=0.1)[0].run()

    clean, drifting = run("generator?noise=0"), run("generator?noise=0&drift=.01")
    assert clean.accuracy == 1.0
    assert drifting.accuracy is not None
    assert drifting.accuracy < 0.95
    assert clean.duration_s == pytest.approx(19.9, abs=0.1)


@pytest.mark.broker
def test_an_mqtt_topic_brings_json_and_float32_and_is_limited(start: Start, tmp_path: Path) -> None:
    paho = pytest.importorskip("paho.mqtt.client")
    from tamiyo_runtime.transport.broker import start_broker

    values = np.arange(16, dtype="<f4")
    with start_broker("auto", tmp_path / "broker") as broker:
        address = broker.url.removeprefix("mqtt://")
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.connect(address.split(":")[0], int(address.split(":")[1]))
        client.loop_start()
        sent = threading.Event()

        def publish(turn: Turn) -> None:
            assert turn.intake is not None
            if turn.intake.received + sum(turn.intake.lost.values()) == 34:
                session.stop()
            elif turn.intake.state == "connected" and not sent.is_set():
                sent.set()
                for payload in (json.dumps(values.tolist()).encode(), b"junk", values.tobytes(), bytes(64 << 10)):
                    client.publish("hall/3/raw", payload, qos=1)
                for _ in range(30):
                    client.publish("hall/3/raw", values.tobytes(), qos=1)

        session, _ = start(f"mqtt://{address}/hall/+/raw?rate=20&queue=100", on_turn=publish)
        give_up = threading.Timer(20.0, session.stop)
        give_up.start()
        summary = session.run()
        give_up.cancel()
        client.disconnect()
        client.loop_stop()
    assert 18 <= summary.samples <= 22
    assert summary.lost["wrong_count"] == 1
    assert summary.lost["too_long"] == 1
    assert summary.samples + summary.lost["too_fast"] == 32


def test_conformance_every_stream_can_be_closed_twice_and_unstarted(tiny_bundle: Bundle) -> None:
    for text in ("stdin", "tcp://127.0.0.1:1", "generator", "mqtt://127.0.0.1:1/x"):
        stream: Any = open_source(text, tiny_bundle)
        checked: Stream = stream
        checked.close()
        checked.close()
        assert checked.intake().lost == {}
