"""What a device keeps to itself: files for nobody else, secrets in no output, samples in no message."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from collector.service import Collector
from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.transport.broker import start_broker
from tests import tiny

PASSWORD = "correct-horse-7Qx"
# Every number of the marked samples: in the sensor's range, and in no other place.
MARKS = (3.1372549, 7.7731177, 11.2234567)


@dataclass
class Place:
    """Where commands run: a home, a state folder, and all that they said."""

    root: Path
    said: list[bytes]

    def command(self, *arguments: object, **environment: str) -> bytes:
        """Run a command in a process of its own, with an umask that takes nothing away."""
        words = [sys.executable, "-m", "tamiyo_runtime.cli.main", *map(str, arguments)]
        environment = {**os.environ, "TAMIYO_HOME": str(self.root / "home"), **environment}
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, umask=0
        ) as process:
            while not (line := Path(f"/proc/{process.pid}/cmdline").read_bytes()):
                assert process.poll() is None
            out = process.communicate(timeout=120)[0]
        assert process.returncode == 0, out.decode()
        self.said += [line, out]
        return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A device after a busy day: keys, an update folder, runs with telemetry, and everything it published."""
    root = tmp_path_factory.mktemp("device")
    here = Place(root, [])
    here.command("key", "new")
    key = SigningKey.load(root / "home" / "keys" / "dev.key")
    made, bundle = tiny.make(variants=("float",), policy=False), root / "tiny.tamiyo"
    write_bundle(bundle, made.manifest, made.files, key, overwrite=False)
    here.command(
        "update",
        "init",
        root / "slots",
        "--device",
        "d",
        "--fleet",
        "default",
        "--key",
        root / "home" / "keys" / "dev.pub",
    )
    here.command("update", "apply", root / "slots", bundle)
    samples = root / "marked.csv"
    row = ",".join(str(MARKS[index % len(MARKS)]) for index in range(16))
    samples.write_text("\n".join([row] * 40) + "\n")
    (root / "password").write_text(PASSWORD)
    for name, published in (("state", here.said), ("slots", here.said)):
        with _listening(root / f"broker-{name}", published) as url:
            what = (root / "slots",) if name == "slots" else (bundle, "--state-dir", root / name)
            here.command(
                *("run", *what, "--source", samples, "--samples", 40, "--period-ms", 0),
                *("--broker", url),
                TAMIYO_BROKER_USER="device",
                TAMIYO_BROKER_PASSWORD_FILE=str(root / "password"),
            )
    return here


class _Listening:
    """A broker with a collector, and everything that goes over it."""

    def __init__(self, folder: Path, published: list[bytes]) -> None:
        self._folder, self._published = folder, published

    def __enter__(self) -> str:
        self._broker = start_broker("auto", self._folder)
        url = self._broker.url
        self._collector = Collector(url, self._folder / "store.db", "default")
        self._collector.start(timeout_s=30)
        client: Any = paho.Client(paho.CallbackAPIVersion.VERSION2)
        heard = threading.Event()
        client.on_message = lambda _client, _data, message: self._published.append(
            message.topic.encode() + b"\0" + message.payload
        )
        client.on_subscribe = lambda *_: heard.set()
        host, _, port = url.removeprefix("mqtt://").partition(":")
        client.connect(host, int(port))
        client.loop_start()
        client.subscribe("#", 1)
        assert heard.wait(30)
        self._client = client
        return url

    def __exit__(self, *_: object) -> None:
        self._client.loop_stop()
        self._client.disconnect()
        self._collector.stop()
        self._broker.stop()


def _listening(folder: Path, published: list[bytes]) -> _Listening:
    return _Listening(folder, published)


def _everything(place: Place) -> Iterator[bytes]:
    """All that was said and published, and all that lies on the disk but the password's and the samples' own files."""
    yield from place.said
    for path in place.root.rglob("*"):
        if path.is_file() and path.name not in {"password", "marked.csv", "dev.key"}:
            yield path.read_bytes()


def _unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and what is in them if they are a compressed frame."""
    yield data
    topic, _, payload = data.partition(b"\0")
    if topic.startswith(b"tamiyo/") and payload[:1] >= b"\x80":  # see `tamiyo_runtime.contracts.wire`
        yield zlib.decompressobj(-15).decompress(payload[1:], 1 << 22)


@pytest.mark.broker
def test_everything_that_a_device_writes_is_for_nobody_else_whatever_the_umask(place: Place) -> None:
    given = {"password", "marked.csv", "tiny.tamiyo"}  # by this test
    seen = 0
    for path in place.root.rglob("*"):
        mode = path.stat().st_mode & 0o777
        if path.name in given:
            continue
        seen += 1
        if path.suffix == ".pub":
            assert not mode & 0o022, path  # public, and nobody else's to replace
        elif path.is_dir():
            assert mode == 0o700, path
        else:
            assert not mode & 0o077, path
    names = {path.name for path in place.root.rglob("*")}
    assert {"device-1.spool", "installed.json", "record", "bundle.tamiyo", "audit", "trusted", "dev.key"} <= names
    assert seen > 15


@pytest.mark.broker
def test_no_secret_is_said_published_logged_kept_or_on_a_command_line(place: Place) -> None:
    secret = (place.root / "home" / "keys" / "dev.key").read_text().splitlines()[1]
    raw = SigningKey.load(place.root / "home" / "keys" / "dev.key").raw
    forms = [PASSWORD.encode(), secret.encode(), raw, raw.hex().encode()]
    for data in _everything(place):
        for text in _unpacked(data):
            assert not [form for form in forms if form in text]


@pytest.mark.broker
def test_no_raw_sample_is_published_spooled_or_logged(place: Place) -> None:
    published = [data for data in place.said if b"\0" in data and data.startswith(b"tamiyo/")]
    assert len(published) > 5
    assert any(b"/t\0" in data or b"/e\0" in data for data in published)  # telemetry is among it
    forms = [form for mark in MARKS for form in _forms(mark)]
    for data in _everything(place):
        for text in _unpacked(data):
            assert not [form for form in forms if form in text]


def _forms(mark: float) -> list[bytes]:
    """A number as text or in binary, scaled as the network sees it or not."""
    return [
        f"{mark:.4f}"[:-1].encode(),
        *(struct.pack(form, value) for form in ("<f", ">f", "<d", ">d") for value in (mark, mark / 16)),
    ]


def test_the_search_would_find_what_it_looks_for() -> None:
    secret = struct.pack("<f", MARKS[0]) + PASSWORD.encode()
    hidden = b"tamiyo/v1/default/d/t\0\xa0" + zlib.compress(secret, 9, -15) + b"check"
    found = b"".join(_unpacked(hidden))
    assert PASSWORD.encode() in found
    assert _forms(MARKS[0])[1] in found
