"""Publishes ready-made payloads over QoS 1 as fast as a broker takes them: MQTT 3.1.1 by hand, one socket, no library.

A publisher that shares two cores with what is measured has to be cheap, else it is what gets measured.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Sequence

WINDOW = 1000
"""Messages the broker has not acknowledged yet."""
_CHUNK = 100
_PUBACK_BYTES = 4


def packet(topic: str, payload: bytes, number: int) -> bytes:
    """A PUBLISH packet, QoS 1."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (number % 65535 + 1).to_bytes(2, "big") + payload
    size, length = len(body), bytearray()
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return b"\x32" + length + body


def pump(host: str, port: int, packets: Sequence[bytes], ahead: Callable[[], int]) -> None:
    """Send all; never more than ``WINDOW`` unacknowledged, nor beyond the first ``ahead()`` of them."""
    with socket.create_connection((host, port)) as line:
        name = b"bench-pump"
        body = b"\x00\x04MQTT\x04\x02\x00\x3c" + len(name).to_bytes(2, "big") + name
        line.sendall(bytes([0x10, len(body)]) + body)
        if line.recv(4) != b"\x20\x02\x00\x00":
            raise SystemExit("the broker did not welcome the publisher")
        sent = heard = 0
        while sent < len(packets) or heard < len(packets) * _PUBACK_BYTES:
            acked = heard // _PUBACK_BYTES
            until = min(len(packets), sent + _CHUNK, acked + WINDOW, ahead())
            if until > sent:
                line.sendall(b"".join(packets[sent:until]))
                sent = until
            ready, _, _ = select.select([line], [], [], 0.0 if until < min(sent + 1, len(packets)) else 0.002)
            if ready:
                heard += len(line.recv(1 << 16))
        line.sendall(b"\xe0\x00")
