"""Who may talk to a broker, and which broker is believed: TLS files, user name and password.

Files are named by options or by the environment; a password comes from the environment or a file only, since command
lines are there for everyone to read. What is wrong with a file is said before anything runs. Host names are always
verified, TLS is 1.2 or later, and nothing here or in an error's text ever holds a secret.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from tamiyo_runtime.contracts.errors import InputError, UsageError
from tamiyo_runtime.files import read_bytes

if TYPE_CHECKING:
    import ssl

CA, CERT, KEY = "TAMIYO_BROKER_CA", "TAMIYO_BROKER_CERT", "TAMIYO_BROKER_KEY"
USER, PASSWORD, PASSWORD_FILE = "TAMIYO_BROKER_USER", "TAMIYO_BROKER_PASSWORD", "TAMIYO_BROKER_PASSWORD_FILE"
PORTS = {"mqtt": 1883, "mqtts": 8883}

_PEM_BYTES = 1 << 20
_PASSWORD_BYTES = 1024
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID
_CONNECT = bytes.fromhex("1013 0004 4d515454 04 02 003c 0007") + b"tm-prob"  # MQTT 3.1.1, clean session, id tm-prob


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """A broker's URL taken apart."""

    host: str
    port: int
    tls: bool
    user: str | None = None

    @classmethod
    def parse(cls, url: str) -> BrokerAddress:
        """``mqtt://[USER@]HOST[:PORT]`` or ``mqtts://``; raises InputError, which never repeats a password."""
        good = "write mqtt://HOST:PORT, or mqtts://HOST:PORT for TLS"
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            shown = url if "@" not in url else "what was given"
            raise InputError(f"{shown!r} is no broker address: {exc}", hint=good) from exc
        if parts.password is not None:
            raise InputError(
                f"the address of the broker {host} holds a password, which every user of this machine could read",
                hint=f"leave it out, and set {PASSWORD_FILE} to a file that holds it",
            )
        if parts.scheme not in PORTS or not host or _more(parts):
            raise InputError(f"{url!r} is no broker address", hint=good)
        tls = parts.scheme == "mqtts"
        return cls(host=host, port=port or PORTS[parts.scheme], tls=tls, user=parts.username)


def _more(parts: SplitResult) -> bool:
    return bool(parts.path.strip("/") or parts.query or parts.fragment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client shows, and whom it trusts: None for ``ca`` means the system's authorities.

    ``keepalive_s``: how long it may be silent before it asks whether the other side lives; None: as a device does.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive_s: int | None = None

    @classmethod
    def of(
        cls,
        *,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> Access:
        """From options, and where they are silent from the environment. Raises InputError and UsageError."""

        def named(option: Path | None, name: str) -> Path | None:
            return option or (Path(environment[name]) if environment.get(name) else None)

        password = environment.get(PASSWORD)
        if password is None and (file := named(None, PASSWORD_FILE)):
            data = read_bytes(file, limit_bytes=_PASSWORD_BYTES, what="file with the broker's password")
            try:
                password = data.decode().rstrip("\r\n")
            except UnicodeDecodeError as exc:
                raise InputError(f"{file} holds no UTF-8 text", hint="a password and nothing else") from exc
        cert, key = named(cert, CERT), named(key, KEY)
        if (cert is None) != (key is None):
            given, missing = ("certificate", "--broker-key") if cert else ("key", "--broker-cert")
            raise UsageError(f"a client's {given} for the broker is of no use alone", hint=f"pass {missing} too")
        return cls(ca=named(ca, CA), cert=cert, key=key, user=environment.get(USER), password=password)

    def context(self) -> ssl.SSLContext:
        """TLS settings made of the files; raises InputError for one that is missing, no PEM, expired or foreign."""
        import ssl  # takes some milliseconds that a run without a broker need not pay

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain and the host's name
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca is None:
            context.load_default_certs()
        else:
            read_bytes(self.ca, limit_bytes=_PEM_BYTES, what="certificate authority of the broker")
            try:
                context.load_verify_locations(self.ca)
            except ssl.SSLError as exc:
                raise InputError(
                    f"{self.ca} holds no certificate: {exc.reason or exc}", hint="it must be a PEM file"
                ) from exc
        self.show_identity(context)
        return context

    def show_identity(self, context: ssl.SSLContext) -> None:
        """Load certificate and key, again after they were renewed. Raises InputError."""
        import ssl

        if self.cert is None or self.key is None:
            return
        pem = read_bytes(self.cert, limit_bytes=_PEM_BYTES, what="client certificate")
        read_bytes(self.key, limit_bytes=_PEM_BYTES, what="key of the client certificate")
        try:
            context.load_cert_chain(self.cert, self.key, password=self._encrypted)
        except ssl.SSLError as exc:
            foreign = exc.reason == "KEY_VALUES_MISMATCH"
            what = "are not of one pair" if foreign else f"cannot be used: {exc.reason or exc}"
            raise InputError(f"{self.cert} and {self.key} {what}", hint="both must be PEM files") from exc
        _check_not_expired(self.cert, pem)

    def _encrypted(self) -> bytes:
        raise InputError(
            f"the key {self.key} is encrypted, and a device has nobody to ask for its password",
            hint="store it in the clear, readable by the runtime's user only",
        )


def check_handshake(url: str, access: Access, *, timeout_s: float = 5.0) -> None:
    """Greet a broker by TLS once, so that a certificate one side refuses is found before anything runs.

    Raises InputError when the two sides do not agree. A broker that cannot be reached is nothing to complain of here,
    and neither is one whose certificate is not valid yet: a board without a clock's battery starts in the past.
    """
    import ssl

    address = BrokerAddress.parse(url)
    if not address.tls:
        return
    context, where = access.context(), f"{address.host}:{address.port}"
    try:
        with socket.create_connection((address.host, address.port), timeout=timeout_s) as plain:
            plain.settimeout(timeout_s)
            with context.wrap_socket(plain, server_hostname=address.host) as secured:
                with contextlib.suppress(ConnectionError, ssl.SSLEOFError):  # why it hung up is still to be read
                    secured.sendall(_CONNECT)
                secured.recv(4)  # in TLS 1.3 the broker's verdict on our certificate comes no earlier
    except ssl.SSLCertVerificationError as exc:
        if exc.verify_code == _NOT_YET_VALID:
            return
        raise InputError(
            f"the certificate of the broker {where} is not accepted: {exc.verify_message}",
            hint="--broker-ca names the authority that signed it; the URL must name the host that it is for",
        ) from exc
    except ssl.SSLError as exc:
        raise InputError(f"no TLS with the broker {where}: {exc.reason or exc}", hint=_tls_hint(exc, access)) from exc
    except (OSError, ValueError):  # ValueError: a name that no resolver would take
        return


def _tls_hint(error: ssl.SSLError, access: Access) -> str:
    reason = error.reason or ""
    if "ALERT" in reason:
        if access.cert is None:
            return "does it ask for a client certificate? pass --broker-cert and --broker-key"
        return f"it refuses {access.cert}: is that signed by the broker's authority, and still valid?"
    return "does this port speak TLS? mqtt:// is without"


def _check_not_expired(path: Path, pem: bytes) -> None:
    with contextlib.suppress(ImportError):  # then the broker says so
        from cryptography import x509

        until = x509.load_pem_x509_certificate(pem).not_valid_after_utc
        if until < datetime.datetime.now(datetime.UTC):
            raise InputError(f"the certificate {path} expired on {until:%Y-%m-%d}", hint="have it renewed")
