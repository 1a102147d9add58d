"""A fleet on a broker with client certificates, configured as docs/broker.md says: who may say and hear what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.home_assistant import ENTITIES
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.transport import Address, Channel, announcement
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.connection import SESSION_EXPIRY_S
from tamiyo_runtime.transport.topics import RETAINED
from tests import tiny
from tests.pki import Authority
from tests.secure_broker import CLOCK, MOSQUITTO, PATIENCE_S, Fleet, eventually, run_broker

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed; type: sudo apt-get install mosquitto"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("broker")
    yield from run_broker(folder, Authority(folder / "pki"))


def event(number: int) -> EventRecord:
    return EventRecord(t_ms=number, event=Event.START, value=number)


def test_telemetry_crosses_a_broker_that_asks_for_certificates(fleet: Fleet, tmp_path: Path) -> None:
    with fleet.collector(tmp_path) as collector:
        telemetry = fleet.device("board-1", tmp_path)
        for number in range(100):
            telemetry.event(event(number))
        assert telemetry.flush(CLOCK.now_s(), PATIENCE_S)
        telemetry.close()
        eventually(lambda: [device.state for device in collector.store.devices()] == ["stopped"], "no farewell")
        (entry,) = collector.store.ledger()
        assert (entry.device, entry.sent, entry.stored, entry.balanced) == ("board-1", 100, 100, True)


def test_a_device_can_speak_for_itself_only(fleet: Fleet, tmp_path: Path) -> None:
    with fleet.collector(tmp_path) as collector:
        states = lambda: {device.device: device.state for device in collector.store.devices()}  # noqa: E731
        for device, channel in (("board-2", Channel.STATE), ("board-1", Channel.ACK)):
            thief = fleet.client("board-1")
            assert thief.publish(Address("test", device).topic(channel), b'{"state":"stolen"}')
            eventually(lambda: "refuses" in thief.last_error, "the broker took it")  # noqa: B023 - used at once
            assert "Not authorized" in thief.last_error
            thief.stop()
        honest = fleet.client("board-1")
        mine = announcement.write({"state": "mine"}, "board-1")
        assert honest.publish(Address("test", "board-1").topic(Channel.STATE), mine)
        eventually(lambda: states().get("board-1") == "mine", "its own topic was refused")
        assert "board-2" not in states()
        honest.stop()


def test_a_device_hears_its_own_acks_only(fleet: Fleet) -> None:
    heard: list[str] = []
    curious = fleet.client("board-3", lambda message: heard.append(message.topic), ("#",))
    operator = fleet.client("collector")
    for name in ("board-4", "board-3"):  # in this order: when the second has come, the first would have
        assert operator.publish(Address("test", name).topic(Channel.ACK), b"ack")
    eventually(lambda: bool(heard), "it heard nothing")
    assert heard == ["tamiyo/v1/test/board-3/ack"]
    curious.stop()
    operator.stop()


def test_a_device_hears_its_own_orders_and_chunks_only_and_asks_for_itself(fleet: Fleet) -> None:
    heard: set[str] = set()
    asked: set[str] = set()
    to_devices, from_devices = (Channel.ORDER, Channel.CHUNK), (Channel.REPORTED, Channel.WANT)
    curious = fleet.client("board-6", lambda m: heard.add(m.topic), tuple(f"tamiyo/v1/test/+/{c}" for c in to_devices))
    operator = fleet.client(
        "operator", lambda m: asked.add(m.topic), tuple(f"tamiyo/v1/test/+/{c}" for c in from_devices)
    )

    def send(sender: Any, name: str, channel: Channel) -> None:
        topic, retain = Address("test", name).topic(channel), channel in RETAINED
        eventually(lambda: bool(sender.publish(topic, b"hello", retain=retain)), "it stayed away")

    for name in ("board-7", "board-6"):  # in this order: when the second has come, the first would have
        for channel in to_devices:
            send(operator, name, channel)
    for channel in from_devices:
        send(curious, "board-6", channel)
    eventually(lambda: len(heard) == 2 and len(asked) == 2, "they were not heard")
    assert heard == {"tamiyo/v1/test/board-6/chunk", "tamiyo/v1/test/board-6/order"}
    assert asked == {"tamiyo/v1/test/board-6/reported", "tamiyo/v1/test/board-6/want"}
    late: list[bytes] = []
    back = fleet.client("board-7", lambda m: late.append(m.payload), ("tamiyo/v1/test/board-7/order",))
    eventually(lambda: late == [b"hello"], "the order was not kept for whoever was away")
    for connection in (curious, operator, back):
        connection.stop()


@pytest.mark.parametrize(
    ("thief", "channel"),
    [
        ("board-8", Channel.ORDER),
        ("collector", Channel.ORDER),
        ("homeassistant", Channel.CHUNK),
        ("board-9", Channel.WANT),
        ("operator", Channel.REPORTED),
    ],
)
def test_nobody_but_the_operator_sends_orders_and_nobody_but_the_device_asks(
    fleet: Fleet, thief: str, channel: Channel
) -> None:
    client = fleet.client(thief)
    assert client.publish(Address("test", "board-8").topic(channel), b"believe me")
    eventually(lambda: "refuses" in client.last_error, "the broker took it")
    client.stop()


def test_with_mqtt_5_frames_say_what_they_are_and_expire_and_a_lost_device_leaves_its_will(
    fleet: Fleet, tmp_path: Path
) -> None:
    heard: dict[str, Any] = {}

    def hear(message: Any) -> None:
        heard[message.topic.rpartition("/")[2] + ("!" if b"offline" in message.payload else "")] = message

    listener = fleet.client("collector", hear, tuple(f"tamiyo/v1/test/board-5/{c}" for c in ("birth", "state", "e")))
    telemetry = fleet.device("board-5", tmp_path)
    telemetry.event(event(1))
    eventually(lambda: bool(telemetry.pump(CLOCK.now_s()) or "e" in heard), "no frame came")
    properties = heard["e"].properties
    assert properties.ContentType == "application/vnd.tamiyo.batch"
    assert 0 < properties.MessageExpiryInterval <= SESSION_EXPIRY_S
    assert heard["birth"].properties.ContentType == "application/json"
    assert not hasattr(heard["birth"].properties, "MessageExpiryInterval")
    connection = telemetry.transport._connection  # type: ignore[attr-defined]  # pull the plug
    connection._stopping.set()
    connection._client.socket().close()
    eventually(lambda: "state!" in heard, "no will")
    listener.stop()
    telemetry.close()


def collect(url: str, store: Path, access: Access, *more: str) -> int:
    words = [("--broker-ca", access.ca), ("--broker-cert", access.cert), ("--broker-key", access.key)]
    given = [str(word) for option, value in words if value for word in (option, value)]
    return int(main(["collect", "--broker", url, "--store", str(store), "--for", "0.3", *given, *more]))


def test_the_collect_command_takes_certificates_from_options_and_the_environment(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = fleet.authority.issue("collector")
    assert collect(fleet.url, tmp_path / "s.db", access) == 0
    for name, path in (("CA", access.ca), ("CERT", access.cert), ("KEY", access.key)):
        monkeypatch.setenv(f"TAMIYO_BROKER_{name}", str(path))
    assert collect(fleet.url, tmp_path / "s.db", Access()) == 0


@pytest.mark.parametrize("case", ["another authority", "no certificate", "foreign certificate", "another host"])
def test_who_is_not_believed_is_told_why_with_exit_2(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    good, other = fleet.authority.issue("collector"), Authority(tmp_path / "other", "other").issue("collector")
    url, access, words = {
        "another authority": (fleet.url, other, "self-signed certificate in certificate chain"),
        "no certificate": (fleet.url, Access(ca=good.ca), "pass --broker-cert and --broker-key"),
        "foreign certificate": (fleet.url, Access(ca=good.ca, cert=other.cert, key=other.key), "it refuses"),
        "another host": (fleet.url.replace("127.0.0.1", "localhost"), good, "certificate is not valid for 'localhost'"),
    }[case]
    assert collect(url, tmp_path / "s.db", access) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s.db").exists()


def test_a_broker_whose_certificate_has_expired_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fleet in run_broker(tmp_path, Authority(tmp_path / "pki"), days=-1):
        assert collect(fleet.url, tmp_path / "s.db", fleet.authority.issue("collector")) == 2
        assert "certificate has expired" in capsys.readouterr().err


def test_the_run_command_delivers_by_tls_and_refuses_a_broker_of_another_authority(
    fleet: Fleet, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, bundle = tiny.make(), tmp_path / "tiny.tamiyo"
    write_bundle(bundle, made.manifest, made.files, SigningKey.default(), overwrite=False)
    access, other = fleet.authority.issue("board-6"), Authority(tmp_path / "other", "other").issue("board-6")

    def run(ca: Path | None, *more: str, device: str = "board-6") -> int:
        words = ["--broker", fleet.url, "--broker-ca", ca, "--broker-cert", access.cert, "--broker-key", access.key]
        words += ["--device-id", device, "--fleet", "test", "--state-dir", tmp_path / "state"]
        return int(main(["run", *map(str, [bundle, *words]), "--samples", "20", "--period-ms", "15", *more]))

    assert run(other.ca) == 2
    assert "is not accepted" in capsys.readouterr().err
    with fleet.collector(tmp_path) as collector:
        assert run(access.ca) == 0
        (entry,) = [entry for entry in collector.store.ledger() if entry.device == "board-6"]
        assert entry.balanced
        assert run(access.ca, "--home-assistant") == 0
    shown: dict[str, Any] = {}
    home = fleet.client(
        "homeassistant",
        lambda message: shown.update({message.topic: json.loads(message.payload)}),
        ("homeassistant/#", "tamiyo/v1/test/board-6/ha", "tamiyo/v1/test/board-6/state"),
    )
    eventually(lambda: len(shown) == len(ENTITIES) + 2, f"Home Assistant sees {sorted(shown)}")
    home.stop()
    card = shown["homeassistant/sensor/board-6/configuration/config"]
    assert shown[card["state_topic"]]["inferences"] > 0
    assert shown[card["availability_topic"]]["state"] == "stopped"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    monkeypatch.setattr("tamiyo_runtime.cli.delivering.FLUSH_S", 0.1)
    assert run(other.ca) == 0  # a service does its work without
    told = capsys.readouterr()
    assert "warning: the certificate of the broker" in told.err
    assert re.search(r"records stay in .*\(.*certificate verify failed", told.out)
    monkeypatch.setattr("tamiyo_runtime.cli.delivering.FLUSH_S", 1.0)
    assert run(access.ca, device="board-7") == 0
    assert "refuses what tamiyo-test-board-7 sends: Not authorized" in capsys.readouterr().out
