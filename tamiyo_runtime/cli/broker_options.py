"""The options that say how to talk to a broker by TLS, shared by the commands that do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tamiyo_runtime.transport.access import Access

BrokerCa = Annotated[
    Path | None,
    typer.Option(
        resolve_path=True, help="mqtts: PEM of the authority to believe; or $TAMIYO_BROKER_CA; else the system's"
    ),
]
BrokerCert = Annotated[
    Path | None, typer.Option(resolve_path=True, help="mqtts: PEM of the client's certificate; or $TAMIYO_BROKER_CERT")
]
KeepAlive = Annotated[
    int | None,
    typer.Option(
        min=5,
        max=65535,
        help="seconds of silence after which it is asked whether it lives; the last will comes half as late again; "
        "default: 240",
    ),
]
BrokerKey = Annotated[Path | None, typer.Option(resolve_path=True, help="mqtts: PEM of its key; or $TAMIYO_BROKER_KEY")]


def access_to(broker: str, ca: Path | None, cert: Path | None, key: Path | None) -> Access | None:
    """What to show to that broker; None for one of our own, or none.

    Raises UsageError for TLS options without TLS, InputError for an address or a file that cannot be used.
    """
    from tamiyo_runtime.contracts.errors import UsageError
    from tamiyo_runtime.transport.access import PORTS, Access, BrokerAddress

    scheme = broker.partition("://")[0] if "://" in broker else ""
    tls = scheme in PORTS and BrokerAddress.parse(broker).tls
    if not tls:
        for option, value in (("--broker-ca", ca), ("--broker-cert", cert), ("--broker-key", key)):
            if value is not None:
                raise UsageError(f"{option} is for a broker with TLS", hint="write --broker mqtts://HOST:PORT")
    if scheme not in PORTS:
        return None
    access = Access.of(ca=ca, cert=cert, key=key)
    if tls:
        access.context()
    return access


def alive(access: Access | None, keep_alive_s: int | None) -> Access | None:
    """The same, with another time of silence. Raises UsageError for a broker that is no other's."""
    from dataclasses import replace

    from tamiyo_runtime.contracts.errors import UsageError

    if keep_alive_s is None:
        return access
    if access is None:
        raise UsageError("--broker-keep-alive is for a broker that is there", hint="write --broker mqtt[s]://HOST:PORT")
    return replace(access, keepalive_s=keep_alive_s)
