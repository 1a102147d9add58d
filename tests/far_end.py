"""The other end of a device's telemetry: a real broker that asks for certificates, and the collector as a process."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.pki import Authority

ROOT = Path(__file__).parents[1]
PATIENCE_S = 300
_BROKER = """\
listener {port} 127.0.0.1
allow_anonymous false
require_certificate true
use_identity_as_username true
cafile {folder}/ca.pem
certfile {folder}/broker.pem
keyfile {folder}/broker.key
user root
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A running broker, and the authority whose certificates it takes."""

    name: str
    url: str
    authority: Authority
    folder: Path

    def options(self, folder: str | Path, name: str) -> tuple[str, ...]:
        """Options for a command that has its certificate in a folder."""
        files = (("ca", "ca.pem"), ("cert", f"{name}.pem"), ("key", f"{name}.key"))
        return (
            "--broker",
            self.url,
            *(word for key, file in files for word in (f"--broker-{key}", f"{folder}/{file}")),
        )

    @contextmanager
    def collecting(self) -> Iterator[list[Any]]:
        """Collect while the block runs; afterwards, when all is accounted for, the list holds the ledger's rows."""
        self.authority.issue("collector")
        command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "collect", "--store", str(self.folder / "store.db")]
        options = ["--fleet", self.name, "--until-balanced", "--for", str(PATIENCE_S), "--json"]
        child = subprocess.Popen(
            [*command, *self.options(self.authority.folder, "collector"), *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        rows: list[Any] = []
        try:
            yield rows
            stdout, _ = child.communicate(timeout=PATIENCE_S + 30)
            rows += json.loads(stdout)["ledger"]
        finally:
            child.kill()
            child.wait()


@contextmanager
def broker(folder: Path, name: str = "test") -> Iterator[Fleet]:
    """Mosquitto on a free port of the loopback interface, until the block ends."""
    authority = Authority(folder / "pki", name)
    authority.issue("broker", host=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(_BROKER.format(port=port, folder=authority.folder))
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program is not None
    with (folder / "mosquitto.log").open("wb") as log:
        child = subprocess.Popen([program, "-c", str(config)], stdout=log, stderr=log)
    try:
        deadline_s = time.monotonic() + 10
        while child.poll() is None and time.monotonic() < deadline_s:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        if child.poll() is not None:
            raise RuntimeError(f"the broker ended: {(folder / 'mosquitto.log').read_text()[-300:]}")
        yield Fleet(name, f"mqtts://127.0.0.1:{port}", authority, folder)
    finally:
        child.terminate()
        child.wait()
