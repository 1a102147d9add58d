"""A mosquitto with client certificates, configured as docs/broker.md says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.service import Collector
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import MonotonicClock
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.telemetry_opening import open_telemetry
from tamiyo_runtime.transport.connection import Connection
from tests.pki import Authority

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
PAGE = Path(__file__).parents[1] / "docs" / "broker.md"
PATIENCE_S = 20.0
CLOCK = MonotonicClock()


@dataclass
class Fleet:
    """A running broker and the authority behind it."""

    authority: Authority
    url: str

    def device(self, name: str, folder: Path) -> Telemetry:
        return open_telemetry(
            spool=folder / f"{name}.spool",
            url=self.url,
            fleet="test",
            device=name,
            bundle="0a0b0c0d",
            link=Ethernet(),
            clock=CLOCK,
            access=self.authority.issue(name),
        )

    def collector(self, folder: Path) -> Collector:
        return Collector(self.url, folder / "store.db", "test", self.authority.issue("collector"))

    def client(self, name: str, hears: Callable[[Any], None] = lambda _: None, topics: tuple[str, ...] = ()) -> Any:
        access = self.authority.issue(name)
        connection = Connection(self.url, f"x-{name}", subscriptions=topics, on_message=hears, access=access)
        connection.start()
        assert connection.wait_connected(PATIENCE_S), connection.last_error
        return connection


def run_broker(folder: Path, authority: Authority, *, days: int = 30) -> Iterator[Fleet]:
    """Mosquitto with the files of the page, moved into ``folder`` and to a free port."""
    authority.issue("broker", days=days, host=True)
    config, rights = re.findall(r"```text\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (authority.folder / "acl").write_text(rights)
    (authority.folder / "acl").chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for old, new in (
        ("listener 8883", f"listener {port} 127.0.0.1"),
        ("/etc/mosquitto/tamiyo", str(authority.folder)),
        ("/var/lib/mosquitto/", f"{folder}/"),
    ):
        assert old in config
        config = config.replace(old, new)
    if os.geteuid() == 0:
        config += "user root\n"
    (folder / "mosquitto.conf").write_text(config)
    assert MOSQUITTO is not None
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen([MOSQUITTO, "-c", str(folder / "mosquitto.conf")], stdout=log, stderr=log)
    try:
        eventually(lambda: _listens(port) or child.poll() is not None, "it does not listen")
        assert child.poll() is None, (folder / "log").read_text()
        yield Fleet(authority, f"mqtts://127.0.0.1:{port}")
    finally:
        child.terminate()
        child.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)
