"""The port between the uplink and whatever moves bytes: a broker, or memory in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.transport.topics import Address, Channel

HEARD = (Channel.ACK,)


class Transport(Protocol):
    """A connection that comes and goes by itself. Never blocks, never queues what it cannot send now.

    ``hears``: the channels to the device that somebody will `receive` from. What comes in on them is bounded in number
    and size, as ``inbox.ROOM`` says. Two threads may use a transport, each with channels of its own.
    """

    label: str

    def __init__(
        self,
        url: str,
        address: Address,
        birth: Mapping[str, Any],
        access: Access | None = None,
        hears: Sequence[Channel] = HEARD,
    ) -> None: ...

    def start(self) -> None:
        """Begin to connect, in the background."""

    def connected(self) -> bool:
        """Whether a message can be handed over now."""

    def trouble(self) -> str | None:
        """Why nothing gets through, None when all is well or there is nothing to say."""

    def publish(self, channel: Channel, payload: bytes) -> bool:
        """Hand over a message, to be delivered at least once while the connection lasts; False when it was refused.

        What ``topics.RETAINED`` lists stays with the broker for those who come later.
        """

    def receive(self, channel: Channel = Channel.ACK) -> list[bytes]:
        """What came in on a channel since the last call, oldest first."""

    def wait(self, timeout_s: float) -> bool:
        """Wait in real time until an ack came in or the connection changed; False on a time-out."""

    def close(self, farewell: Mapping[str, Any]) -> None:
        """Say goodbye on the state topic and disconnect."""


transports: Registry[type[Transport]] = Registry("transports")


def open_transport(
    url: str,
    address: Address,
    birth: Mapping[str, Any],
    access: Access | None = None,
    hears: Sequence[Channel] = HEARD,
) -> Transport:
    """Start the transport that a URL such as ``mqtt://127.0.0.1:1883`` names.

    Raises UnknownNameError for an unknown scheme, InputError for a certificate that cannot be used, MissingExtraError
    without the client library.
    """
    scheme = url.partition("://")[0]
    transport = transports.get(scheme)(url, address, birth, access, hears)
    transport.start()
    return transport
