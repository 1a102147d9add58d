"""No way out: everything stays in the spool, to be sent when the runtime is next started with a broker."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.port import HEARD, transports
from tamiyo_runtime.transport.topics import Address, Channel

URL = "offline://"


@transports.register("offline")
class OfflineTransport:
    """Never connected."""

    def __init__(
        self,
        url: str,
        address: Address,
        birth: Mapping[str, Any],
        access: Access | None = None,
        hears: Sequence[Channel] = HEARD,
    ) -> None:
        self.label = "offline"

    def start(self) -> None:
        """Nothing to start."""

    def connected(self) -> bool:
        """Never."""
        return False

    def trouble(self) -> str | None:
        """Meant to be so."""
        return None

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Refused."""
        return False

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """Nobody answers."""
        return []

    def wait(self, timeout_s: float) -> bool:
        """In vain."""
        time.sleep(timeout_s)
        return False

    def close(self, farewell: Mapping[str, Any]) -> None:
        """Nobody to say goodbye to."""
