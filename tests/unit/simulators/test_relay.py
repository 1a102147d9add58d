"""The relay passes on what it should, as it should, and nothing when it should not. A real client, a real server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from simulators.relay import Conditions, Passage, Relay
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tests.sockets import PATIENCE_S, Echo, eventually, hear


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def relay(echo: Echo) -> Iterator[Relay]:
    with Relay(echo.address, seed=1) as relay:
        yield relay


def client(relay: Relay) -> socket.socket:
    return socket.create_connection((relay.host, relay.port), timeout=PATIENCE_S)


def test_what_is_said_arrives_unchanged_in_both_directions_until_the_end(relay: Relay) -> None:
    said = bytes(range(256)) * 4000
    with client(relay) as connection:
        threading.Thread(target=lambda: (connection.sendall(said), connection.shutdown(socket.SHUT_WR))).start()
        assert hear(connection, len(said)) == said
        assert connection.recv(1) == b""
    eventually(lambda: relay.figures().bytes_down == len(said))
    assert relay.figures().bytes_up == len(said)
    assert relay.figures().connections == 1
    assert relay.figures().damaged == relay.figures().cut == 0


def test_a_cut_resets_what_is_there_and_lets_newcomers_in(relay: Relay) -> None:
    with client(relay) as first, client(relay) as second:
        for connection in (first, second):
            connection.sendall(b"here")
            assert hear(connection, 4) == b"here"
        assert relay.cut() == 2
        for connection in (first, second):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
    with client(relay) as third:
        third.sendall(b"again")
        assert hear(third, 5) == b"again"
    assert relay.figures().cut == 2


def test_nobody_is_let_in_while_it_refuses_and_the_port_stays_the_same(relay: Relay) -> None:
    with client(relay) as connection:
        connection.sendall(b"x")
        assert hear(connection, 1) == b"x"
        relay.refuse()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            client(relay)
    relay.forward()
    assert relay.passage is Passage.FORWARD
    with client(relay) as connection:
        connection.sendall(b"y")
        assert hear(connection, 1) == b"y"


def test_what_is_swallowed_passes_once_the_way_is_free_again(relay: Relay) -> None:
    with client(relay) as before:
        before.sendall(b"a")
        assert hear(before, 1) == b"a"
        relay.swallow()
        with client(relay) as during:
            before.sendall(b"b")
            during.sendall(b"c")
            for connection in (before, during):
                connection.settimeout(0.1)
                with pytest.raises(TimeoutError):
                    connection.recv(1)
                connection.settimeout(PATIENCE_S)
            assert relay.figures().bytes_up == 1
            relay.forward()
            assert hear(before, 1) == b"b"
            assert hear(during, 1) == b"c"


def test_each_direction_is_late_by_its_own_delay(relay: Relay) -> None:
    relay.shape(up=Conditions(delay_ms=120.0, jitter_ms=20.0), down=Conditions(delay_ms=60.0))
    with client(relay) as connection:
        start_s = time.monotonic()
        for number in range(5):
            connection.sendall(bytes([number]))
        assert hear(connection, 5) == bytes(range(5))
        assert time.monotonic() - start_s >= 0.18


def test_a_rate_holds_in_its_direction_only(relay: Relay) -> None:
    relay.shape(down=Conditions(bytes_per_s=50_000.0))
    said = b"z" * 20_000
    with client(relay) as connection:
        start_s = time.monotonic()
        connection.sendall(said)
        eventually(lambda: relay.figures().bytes_up == len(said))
        assert relay.figures().bytes_down < len(said)
        assert hear(connection, len(said)) == said
        assert time.monotonic() - start_s >= 0.9 * len(said) / 50_000.0


def test_damage_turns_single_bits_over_at_its_rate_and_its_seed_decides_which(echo: Echo) -> None:
    said = bytes(20_000)
    heard = []
    for seed in (3, 3, 4):
        with Relay(echo.address, seed=seed) as relay:
            relay.shape(up=Conditions(damage=0.01))
            with client(relay) as connection:
                connection.sendall(said)
                heard.append(hear(connection, len(said)))
            wrong = [byte for byte in heard[-1] if byte]
            assert len(wrong) == relay.figures().damaged
            assert 120 < len(wrong) < 290
            assert all(byte.bit_count() == 1 for byte in wrong)
    assert heard[0] == heard[1] != heard[2]


def test_a_server_that_is_away_looks_like_a_reset_and_can_be_replaced(relay: Relay, echo: Echo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        address = gone.getsockname()
    relay.retarget(address)
    with contextlib.suppress(ConnectionResetError), client(relay) as connection:
        assert connection.recv(1) == b""
    relay.retarget(echo.address)
    with client(relay) as connection:
        connection.sendall(b"x")
        assert hear(connection, 1) == b"x"


def test_a_port_in_use_and_figures_without_meaning_are_refused(relay: Relay, echo: Echo) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        Relay(echo.address, port=relay.port)
    for wrong in ({"delay_ms": -1.0}, {"bytes_per_s": 0.0}, {"damage": 1.5}, {"jitter_ms": float("nan")}):
        with pytest.raises(SchemaError):
            Conditions(**wrong)


def test_it_ends_at_once_with_clients_on_it_and_twice(echo: Echo) -> None:
    relay = Relay(echo.address)
    relay.swallow()
    with client(relay) as connection:
        relay.close()
        relay.close()
        heard = b""
        with contextlib.suppress(ConnectionResetError):  # a goodbye for whom it was just letting in
            heard = connection.recv(1)
        assert heard == b""
