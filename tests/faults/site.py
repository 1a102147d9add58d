"""A broker, a collector and a device as processes of their own, each of which can be killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from collector.store import Store
from simulators.relay import Relay
from tamiyo_runtime.transport import Address, Channel, announcement
from tamiyo_runtime.transport.broker import BrokerHandle, start_broker
from tamiyo_runtime.transport.connection import Connection
from tests.faults.device import DIARY, FLEET, STORE
from tests.faults.diary import Verdict, judge, read

ROOT = Path(__file__).parents[2]
PATIENCE_S = 90.0


def eventually(condition: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


class Site:
    """``device_options``: of `tests.faults.device`. ``relayed``: device and collector go through a relay each.

    ``launcher``: what stands between the interpreter and the name of a module.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        device_options: Sequence[str] = (),
        relayed: bool = False,
        launcher: Sequence[str] = ("-m",),
    ) -> None:
        self.folder = folder
        self._kind = kind
        self._options = list(device_options)
        self._launcher = list(launcher)
        self._boots = 0
        self.broker: BrokerHandle = start_broker(kind, folder / "broker")
        self.port = int(self.broker.url.rsplit(":", 1)[1])
        self.relays = [Relay(("127.0.0.1", self.port), seed=seed) for seed in (1, 2)] if relayed else []
        self.device: subprocess.Popen[bytes] | None = None
        self.collector: subprocess.Popen[bytes] | None = None

    def start(self, name: str) -> None:
        getattr(self, f"_start_{name}")()

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """And wait until it is gone."""
        if name == "broker":
            os.kill(self.broker.pid, how)
            self.broker.stop()
            return
        process: subprocess.Popen[bytes] | None = getattr(self, name)
        assert process is not None
        process.send_signal(how)
        process.wait(PATIENCE_S)

    def await_collector(self) -> None:
        """Until it hears what is said: it is told of a device that never sends anything."""
        address = Address(FLEET, "herald")
        herald = Connection(self.broker.url, "herald", subscriptions=[], on_message=lambda message: None)
        herald.start()
        assert herald.wait_connected(PATIENCE_S), herald.last_error
        herald.publish(address.topic(Channel.BIRTH), announcement.write({}, address.device), retain=True)

        def heard() -> bool:
            with Store(self.folder / STORE) as store:
                return [device.device for device in store.devices()] == [address.device]

        eventually(lambda: (self.folder / STORE).exists() and heard(), "the collector hears nothing")
        herald.stop()

    def ended(self) -> list[str]:
        """Processes that have ended by themselves."""
        pairs = [("device", self.device), ("collector", self.collector)]
        return [name for name, process in pairs if process is not None and process.poll() is not None]

    def revive(self) -> None:
        """Start again what has ended by itself, as a service manager does: a collector that found no broker, say."""
        for name in self.ended():
            self.start(name)

    def finish(self, *, patience_s: float = PATIENCE_S) -> Verdict:
        """Let the device deliver, end everything, and judge."""
        assert self.device is not None and self.collector is not None
        assert self.ended() == [], (self.folder / "device.log").read_text()[-2000:]
        self.device.send_signal(signal.SIGTERM)
        assert self.device.wait(patience_s) == 0, (self.folder / "device.log").read_text()[-2000:]
        self.collector.send_signal(signal.SIGTERM)
        assert self.collector.wait(PATIENCE_S) in (0, 130, 143, -signal.SIGTERM)
        with Store(self.folder / STORE) as store:
            return judge(store, read(self.folder / DIARY))

    def close(self) -> None:
        for process in (self.device, self.collector):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        for relay in self.relays:
            relay.close()
        self.broker.stop()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _start_broker(self) -> None:
        self.broker = start_broker(self._kind, self.folder / "broker", port=self.port)

    def _start_device(self) -> None:
        self._boots += 1
        arguments = [self._url(0), str(self.folder), "--seed", str(self._boots), *self._options]
        self.device = self._spawn("device", ["tests.faults.device", *arguments])

    def _start_collector(self) -> None:
        arguments = ["collect", "--broker", self._url(1), "--store", str(self.folder / STORE), "--fleet", FLEET]
        self.collector = self._spawn("collector", ["tamiyo_runtime.cli.main", *arguments])

    def _url(self, place: int) -> str:
        return f"mqtt://127.0.0.1:{self.relays[place].port if self.relays else self.port}"

    def _spawn(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *self._launcher, *arguments],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
            )
