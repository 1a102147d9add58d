"""Word to the service manager, over real sockets, and units that systemd itself accepts."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simulators.device import SimulatedBoard
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.meters import VirtualClock
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.service import Notifier
from tamiyo_runtime.service_unit import Unit, quoted
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.summary import Turn


class Manager:
    """The other end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[list[str]]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@tamiyo-test-{os.getpid()}"


@pytest.fixture
def manager(address: str) -> Iterator[Manager]:
    manager = Manager(address)
    yield manager
    manager.socket.close()


def test_the_first_turn_says_ready_and_the_watchdog_is_fed_in_time(manager: Manager, address: str) -> None:
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.of_environment(environment)
    assert notifier is not None
    assert environment == {"HOME": "/"}  # not for our children
    asked = []

    def status() -> str:
        asked.append(1)
        return "normal,\n c11"

    heard = []
    for step in range(41):
        notifier.turn(step * 0.25, status)
        heard += manager.heard()
    notifier.stopping()
    first, *rest, last = heard + manager.heard()
    assert first == ["READY=1", "WATCHDOG=1", "STATUS=normal, c11"]
    assert last[0] == "STOPPING=1"
    assert sum(message.count("WATCHDOG=1") for message in rest) == 10  # once a second of four
    assert len(asked) == 3  # every five seconds
    notifier.close()


def test_without_a_manager_nothing_is_told_and_a_deaf_one_stops_nothing(tmp_path: Path) -> None:
    assert Notifier.of_environment({}) is None
    assert Notifier.of_environment({"NOTIFY_SOCKET": "vsock:2:1234"}) is None
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert notifier is not None
    notifier.turn(0.0, lambda: "alone")
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "fed"), [({}, False), ({"WATCHDOG_PID": "1"}, False), ({"WATCHDOG_PID": ""}, True)]
)
def test_a_watchdog_of_another_process_is_not_ours_to_feed(
    manager: Manager, address: str, variables: dict[str, str], fed: bool
) -> None:
    usec = {} if not variables else {"WATCHDOG_USEC": "1000000"}
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": address, **variables, **usec})
    assert notifier is not None
    notifier.turn(0.0, lambda: "")
    assert ("WATCHDOG=1" in manager.heard()[0]) is fed
    notifier.close()


class Hanging(Executor):
    """An executor whose third inference hangs: here, it looks whether the watchdog is fed meanwhile."""

    hang: Callable[[], None]
    calls = 0

    def stoppable(self, index: int) -> bool:
        return False

    def classify(self, sample: object, index: int) -> tuple[int, float]:
        self.calls += 1
        if self.calls == 3:
            self.hang()
        return super().classify(sample, index)  # type: ignore[arg-type]  # a double


def test_the_watchdog_is_fed_by_the_loop_itself_so_a_hung_inference_starves_it(
    manager: Manager, address: str, tiny_bundle: Bundle
) -> None:
    clock = VirtualClock()
    notifier = Notifier.of_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert notifier is not None
    executor = Hanging(tiny_bundle, "int8")
    before: list[list[str]] = []
    during: list[list[str]] = []

    def hang() -> None:
        before.extend(manager.heard())
        clock.advance(60.0)  # a minute in which nobody but another thread could feed it
        during.extend(manager.heard())

    executor.hang = hang

    def on_turn(turn: Turn) -> None:
        notifier.turn(clock.now_s(), lambda: turn.mode.value)

    Session(
        tiny_bundle.manifest,
        executor,
        board=SimulatedBoard(tiny_bundle.manifest.profile, clock=clock),
        source=open_source("bundle", tiny_bundle),
        reporter=Silent(),
        plan=Plan(samples=6, period_s=1.0),
        on_turn=on_turn,
    ).run()
    assert ["READY=1", "WATCHDOG=1", "STATUS=normal"] in before
    assert sum(message.count("WATCHDOG=1") for message in before) >= 8
    assert during == []
    assert any("WATCHDOG=1" in message for message in manager.heard())
    notifier.close()


def _unit(**changes: object) -> Unit:
    given = {"name": "tamiyo-x", "description": "50 % of\nit", "command": ("/usr/bin/true", "run", "/opt/x y.tamiyo")}
    return Unit(**{**given, **changes})  # type: ignore[arg-type]  # a test's shorthand


def test_a_unit_is_hardened_and_watched() -> None:
    lines = _unit().text().splitlines()
    for line in (
        "Type=notify",
        "WatchdogSec=30",
        "Restart=on-failure",
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateDevices=yes",
        "NoNewPrivileges=yes",
        "StateDirectory=tamiyo-x",
        "MemoryMax=512M",
        "OOMPolicy=continue",
        "Description=50 %% of it",
        'ExecStart=/usr/bin/true run "/opt/x y.tamiyo"',
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("User=")]


def test_a_unit_gets_what_it_needs_and_no_more() -> None:
    text = _unit(
        user="sensor", device="/dev/ttyUSB0", memory_max="1G", watchdog_s=5, reads=(Path("/home/me/x"),)
    ).text()
    for line in (
        "User=sensor",
        "DeviceAllow=/dev/ttyUSB0 rw",
        "MemoryMax=1G",
        "WatchdogSec=5",
        "ProtectHome=read-only",
    ):
        assert f"{line}\n" in text
    assert "# /home/me/x is in a home folder" in text
    assert "# /tmp/y has to move" in _unit(reads=(Path("/tmp/y"),)).text()
    assert "DynamicUser" not in text
    assert "PrivateDevices" not in text


@pytest.mark.parametrize(
    "changes", [{"name": "a/b"}, {"name": ""}, {"user": "x; rm"}, {"memory_max": "lots"}, {"watchdog_s": 0.5}]
)
def test_a_unit_that_systemd_would_misread_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(SchemaError):
        _unit(**changes)


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("plain", "plain"),
        ("50%", "50%%"),
        ("$HOME", "$$HOME"),
        ("a b", '"a b"'),
        ('say "x"\\', '"say \\"x\\"\\\\"'),
        ("", '""'),
        ("a;b", '"a;b"'),
        ("a'b", '"a\'b"'),
        ("two\nlines", '"two\\nlines"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word: str, written: str) -> None:
    assert quoted(word) == written


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("changes", [{}, {"user": "root", "device": "/dev/null", "watchdog_s": 2.5}])
def test_systemd_itself_accepts_the_unit(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "tamiyo-x.service"
    path.write_text(_unit(**changes).text())
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False)
    own = [line for line in done.stderr.splitlines() if "tamiyo-x" in line]
    assert (done.returncode, own) == (0, [])
