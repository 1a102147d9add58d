"""The technical safeguards of 45 CFR 164.312, tried out on this installation: a self-check, no certificate.

Each safeguard is a small attack on what the runtime really uses, in a folder that is thrown away: it holds when the
attack fails. What they cannot see: who administers the machine, physical access, the broker's own configuration, and
whether a device was told to use ``mqtts://`` at all.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.audit import FOLDER, AuditLog, Happened, read_log
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SignatureError
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.transport.access import Access, BrokerAddress, check_handshake

_TLS_HANDSHAKE = 0x16
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Safeguard:
    """One of them: ``rule`` is its paragraph of 45 CFR 164.312, ``told`` what was tried and what came of it."""

    name: str
    rule: str
    held: bool
    told: str


def check_safeguards() -> tuple[Safeguard, ...]:
    """Try all of them; a second or so. Needs the extra ``sign``."""
    checks: tuple[tuple[str, str, Callable[[Path], str | None], str], ...] = (
        ("access control", "(a)(1)", _others_can_read, "keys and logs made under umask 0 are for their owner alone"),
        ("audit controls", "(b)", _history_can_be_changed, "a record that was changed in the audit log is found"),
        ("integrity", "(c)(1)", _content_can_be_changed, "a signed manifest that was changed is refused"),
        ("authentication", "(d)", _anybody_can_sign, "an order signed by a key that is not trusted is refused"),
        ("transmission", "(e)(1)", _something_goes_in_the_clear, "over mqtts:// a broker without TLS hears nothing"),
    )
    found = []
    for name, rule, attack, good in checks:
        with tempfile.TemporaryDirectory(prefix="tamiyo-safeguards-") as folder:
            failed = attack(Path(folder))
        found.append(Safeguard(name=name, rule=f"164.312{rule}", held=failed is None, told=failed or good))
    return tuple(found)


def _others_can_read(folder: Path) -> str | None:
    with _umask(0):
        key = folder / "state" / "device.key"
        SigningKey.create(key)
        log = AuditLog(folder / "state")
        log.append(Happened.START)
    for path in (key, folder / "state" / FOLDER, *(folder / "state" / FOLDER).iterdir()):
        if path.stat().st_mode & 0o077:
            return f"others may read {path.name}: mode {path.stat().st_mode & 0o777:o}"
    return None


def _history_can_be_changed(folder: Path) -> str | None:
    log = AuditLog(folder)
    for number in range(3):
        log.append(Happened.ORDER, number=number)
    (path,) = (folder / FOLDER).glob("*.jsonl")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"number":1', b'"number":7', 1))
    try:
        read_log(folder)
    except IntegrityError:
        return None
    return "a changed record went unnoticed"


def _content_can_be_changed(folder: Path) -> str | None:
    key = SigningKey.generate()
    envelope, other = key.sign(b'{"version": 1}'), key.sign(b'{"version": 2}')
    payload, foreign = (part.split(b'"payload": "')[1].split(b'"')[0] for part in (envelope, other))
    return _taken(Trust.of(key.public), envelope.replace(payload, foreign), "a changed manifest was taken for signed")


def _anybody_can_sign(folder: Path) -> str | None:
    ours, theirs = SigningKey.generate(), SigningKey.generate()
    return _taken(Trust.of(ours.public), theirs.sign(b"{}"), "an order of an unknown signer was accepted")


def _taken(trust: Trust, envelope: bytes, complaint: str) -> str | None:
    try:
        trust.verify(envelope)
    except SignatureError:
        return None
    return complaint


def _something_goes_in_the_clear(folder: Path) -> str | None:
    try:
        BrokerAddress.parse("mqtts://user:secret@broker")
    except InputError as exc:
        if "secret" in str(exc):
            return "a password in an address is repeated in the error"
    else:
        return "a password in an address is accepted"
    with _deaf_broker() as (port, heard):
        try:
            check_handshake(f"mqtts://127.0.0.1:{port}", Access(), timeout_s=_TIMEOUT_S)
        except InputError:
            pass
        else:
            return "a broker that does not speak TLS was accepted"
    if heard and heard[0] != _TLS_HANDSHAKE:
        return "something other than a TLS handshake was sent"
    return None


@contextmanager
def _deaf_broker() -> Iterator[tuple[int, bytearray]]:
    """A server that speaks no TLS: its port, and what it hears. It answers like a broker that accepts anybody."""
    heard = bytearray()

    def serve(listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(_TIMEOUT_S)
                heard.extend(connection.recv(4096))
                connection.sendall(b"\x20\x02\x00\x00")  # CONNACK, accepted
        except OSError:
            return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(_TIMEOUT_S)
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        yield listening.getsockname()[1], heard
        thread.join(_TIMEOUT_S)


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
