"""A link between real sockets. What it decides live is what it decides computed; nothing here judges by wall clock."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from simulators.links import open_link
from simulators.links.lora import LoRaLink
from simulators.relay import Decision, Direction, LinkMedium, Outage, Relay
from simulators.relay.record import SCHEMA, Header, Record
from simulators.relay.replay import Replay
from tests.sockets import PATIENCE_S, Echo, eventually, hear

UP, DOWN = Direction.UP, Direction.DOWN


class Log:
    """What a relay tells."""

    def __init__(self) -> None:
        self.all: list[Decision | Outage] = []

    @property
    def decisions(self) -> list[Decision]:
        return [one for one in list(self.all) if isinstance(one, Decision)]

    @property
    def outages(self) -> list[Outage]:
        return [one for one in list(self.all) if isinstance(one, Outage)]


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def open_relay(echo: Echo, link: str, log: Log, **options: float) -> Relay:
    return Relay(echo.address, medium=LinkMedium(open_link(link)), tell=log.all.append, **options)  # type: ignore[arg-type]


def client(relay: Relay) -> socket.socket:
    return socket.create_connection((relay.host, relay.port), timeout=PATIENCE_S)


def talk(relay: Relay, messages: Sequence[bytes]) -> None:
    with client(relay) as connection:
        for message in messages:
            connection.sendall(message)
            assert hear(connection, len(message)) == message


def again(link: str, made: Sequence[Decision]) -> list[Decision]:
    medium = LinkMedium(open_link(link))
    return [medium.decide(one.at_s, one.direction, one.waiting_bytes) for one in made]


@pytest.mark.parametrize(
    ("link", "speed"),
    [
        ("lte?seed=4", 20.0),
        ("5g?seed=1", 20.0),
        ("nb-iot?seed=1", 100.0),
        ("lora-eu868?loss_probability=0.3&seed=2", 2000.0),
        ("lora-eu868+contact?period_s=60&length_s=5", 500.0),
        ("ethernet", 1.0),
    ],
)
def test_what_is_decided_live_is_what_is_computed_from_the_seed_and_the_arrivals(
    echo: Echo, link: str, speed: float
) -> None:
    log, messages = Log(), [bytes([number]) * (37 * number) for number in range(1, 15)]
    with open_relay(echo, link, log, speed=speed) as relay:
        threads = [threading.Thread(target=talk, args=(relay, messages[place::3])) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        figures = relay.figures()
    made = log.decisions
    assert made == again(link, made)
    assert {one.direction for one in made} == {UP, DOWN}
    total = sum(map(len, messages))
    assert figures.bytes_up == figures.bytes_down == total
    assert sum(one.size_bytes for one in made) == 2 * total
    assert figures.cut == figures.refused == 0


def test_nothing_arrives_before_the_link_says_so(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "nb-iot?seed=3", log, speed=10.0) as relay:
        begun_s = time.monotonic()
        talk(relay, [b"x" * 100] * 3)
        took_s = time.monotonic() - begun_s
        moment = relay.moment()
    decided_s = sum(one.delay_s for one in log.decisions)
    assert len(log.decisions) == 6
    assert took_s * 10.0 > decided_s  # each waits for the one before
    assert moment is not None
    assert moment.last == log.decisions[-1]
    assert moment.now_s >= moment.last.arrives_s


def test_a_record_replayed_to_real_sockets_decides_as_computed(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "lte?seed=4", log, speed=20.0) as relay:
        talk(relay, [b"x" * 500] * 10)
    header = Header(schema=SCHEMA, link="lte?seed=4", label="lte", speed=20.0)
    record = Record(header=header, decisions=tuple(log.decisions), outages=tuple(log.outages))
    live, offline = Log(), Replay(record)
    with Relay(echo.address, medium=Replay(record), speed=20.0, tell=live.all.append) as relay:
        talk(relay, [b"y" * 700] * 10)
    assert live.decisions == [offline.decide(one.at_s, one.direction, one.waiting_bytes) for one in live.decisions]
    assert len(live.decisions) >= 20


def test_an_outage_freezes_connections_and_they_go_on_after_it(echo: Echo) -> None:
    link = "lte?seed=3"  # begins in an outage of 9 s
    (first,) = LinkMedium(open_link(link)).outages(0.0, 1.0)
    log = Log()
    with open_relay(echo, link, log, speed=4.0) as relay, client(relay) as connection:
        connection.sendall(b"hello")
        eventually(lambda: relay.moment().outage == first)  # type: ignore[union-attr]
        assert relay.figures().bytes_up == 0
        assert hear(connection, 5) == b"hello"
        eventually(lambda: relay.moment().outage is None)  # type: ignore[union-attr]
        assert relay.figures().cut == 0
    assert log.decisions[0].start_s == first.ends_s
    assert log.outages[0] == first


def test_an_outage_that_is_long_enough_cuts_what_is_there_once_and_lets_newcomers_in(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "lte?seed=3", log, speed=10.0, cut_after_s=4.0) as relay:
        with client(relay) as connection:
            connection.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        talk(relay, [b"again"])
        assert relay.figures().cut == 1
    with open_relay(echo, "lte?seed=3", log, speed=50.0, cut_after_s=9.0) as relay:  # not longer than it lasts
        talk(relay, [b"patience"])
        assert relay.figures().cut == 0


def test_a_piece_that_the_air_never_lets_through_ends_its_connection_and_no_other(echo: Echo) -> None:
    log = Log()
    medium = LinkMedium(LoRaLink(loss_probability=1.0))
    relay = Relay(echo.address, medium=medium, speed=1e6, tell=log.all.append)
    with relay, client(relay) as quiet, client(relay) as unlucky:
        unlucky.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            unlucky.recv(1)
        quiet.settimeout(0.05)
        with pytest.raises(TimeoutError):
            quiet.recv(1)
    assert [one.lost for one in log.decisions] == [True]


def test_one_side_may_end_and_go_on_listening_over_a_link(echo: Echo) -> None:
    log, said = Log(), bytes(range(256)) * 40
    with open_relay(echo, "lte?seed=4", log, speed=20.0) as relay, client(relay) as connection:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)
        assert hear(connection, len(said)) == said
        assert connection.recv(1) == b""
        eventually(lambda: relay.figures().open == 0)


def test_many_connections_share_one_link_and_each_gets_its_own_bytes(echo: Echo) -> None:
    log, wrong = Log(), []
    with open_relay(echo, "lte?seed=4", log, speed=200.0) as relay:

        def one(number: int) -> None:
            said = number.to_bytes(2, "big") * 700
            with client(relay) as connection:
                connection.sendall(said)
                if hear(connection, len(said)) != said:
                    wrong.append(number)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert relay.figures().connections == 60
        assert relay.figures().bytes_down == 60 * 1400
    assert wrong == []
    assert log.decisions == again("lte?seed=4", log.decisions)


def test_who_is_first_come_is_first_served_piece_by_piece(echo: Echo) -> None:
    """A bulk transfer over a slow link does not keep a short message waiting until it ends."""
    log = Log()
    with open_relay(echo, "lora-eu868", log, speed=2000.0) as relay, client(relay) as bulk, client(relay) as short:
        bulk.sendall(b"b" * 222 * 60)
        eventually(lambda: len(log.decisions) > 3)
        before = len(log.decisions)
        short.sendall(b"s")
        assert hear(short, 1) == b"s"
        assert len(log.decisions) - before < 20  # of the 60 pieces up and as many down


def test_a_slow_link_holds_a_fast_sender_back_and_its_buffers_are_bounded(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "lora-eu868", log, speed=1.0) as relay, client(relay) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        connection.settimeout(0.3)
        taken = 0
        with contextlib.suppress(TimeoutError):
            while taken < 64 << 20:
                taken += connection.send(b"x" * (1 << 14))
        assert taken < 1 << 20
        assert relay.figures().bytes_up < 1 << 14


def test_a_reader_that_does_not_read_holds_nobody_else_up_and_its_bytes_stay_where_they_are(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "ethernet", log) as relay, client(relay) as lazy, client(relay) as brisk:
        lazy.settimeout(0.5)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 256 << 20:
                sent += lazy.send(b"x" * (1 << 16))
        assert sent < 64 << 20  # kernels' buffers on the way there and back, the server's, and a few MiB here
        brisk.sendall(b"hello")
        assert hear(brisk, 5) == b"hello"
        lazy.settimeout(PATIENCE_S)
        assert len(hear(lazy, sent)) == sent


def test_a_server_that_refuses_is_counted_and_the_client_told(echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    log = Log()
    with open_relay(echo, "lte?seed=4", log, speed=20.0) as relay:
        relay.retarget(address)
        with contextlib.suppress(ConnectionResetError), client(relay) as connection:
            assert connection.recv(1) == b""
        eventually(lambda: relay.figures().refused == 1)
        relay.retarget(echo.address)
        talk(relay, [b"back"])


def test_a_client_that_breaks_off_leaves_nothing_behind(echo: Echo) -> None:
    log = Log()
    with open_relay(echo, "lte?seed=4", log, speed=20.0) as relay:
        for _ in range(20):
            connection = client(relay)
            connection.sendall(b"x" * 1000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.close()
        eventually(lambda: relay.figures().open == 0)
        talk(relay, [b"fine"])
