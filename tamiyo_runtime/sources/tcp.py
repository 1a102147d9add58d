"""Lines from a TCP server: ``tcp://HOST:PORT``. We connect, and connect again whenever the connection is lost."""

from __future__ import annotations

import socket
from functools import partial
from urllib.parse import urlsplit

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.sources.address import Address
from tamiyo_runtime.sources.base import sources
from tamiyo_runtime.sources.inbox import Drop
from tamiyo_runtime.sources.reader import LineStream
from tamiyo_runtime.sources.stdin import inbox_of

_CONNECT_S = 5.0


@sources.register("tcp")
class TcpSource:
    """Opens a TCP client."""

    @staticmethod
    def open(bundle: Bundle, address: Address) -> LineStream:
        """A stream without an end; raises InputError for a bad address. Whether the server is there shows later."""
        address.only("queue", "drop")
        host, port = _host_and_port(address)
        inbox = inbox_of(address, f"tcp://{host}:{port}", drop=Drop.OLDEST)
        return LineStream(inbox, bundle.manifest.input, partial(connect, host, port), again=True)


def connect(host: str, port: int) -> socket.socket:
    """A connection that notices in time when the other side is gone without a word; raises OSError."""
    connection = socket.create_connection((host, port), timeout=_CONNECT_S)
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return connection


def _host_and_port(address: Address) -> tuple[str, int]:
    try:
        parts = urlsplit(f"tcp://{address.body}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or parts.path.strip("/"):
        raise InputError(f"'{address.text}' is no TCP address", hint="write --source tcp://HOST:PORT")
    return host, port
