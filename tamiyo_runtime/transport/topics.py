"""Names of what a device says and hears: ``tamiyo/v1/<fleet>/<device>/<channel>``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from tamiyo_runtime.contracts.errors import InputError

PREFIX = "tamiyo/v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


class Channel(StrEnum):
    """What a topic carries."""

    BIRTH = "birth"  # retained JSON: who this is and what it runs
    STATE = "state"  # retained JSON: online, offline (last will) or stopped
    TELEMETRY = "t"  # frames of metrics
    EVENTS = "e"  # frames that hold an event or alarm
    HOME = "ha"  # retained JSON: the last window for Home Assistant
    REPORTED = "reported"  # retained JSON: what the device makes of orders and updates
    WANT = "want"  # JSON: which pieces of an update the device asks for
    ACK = "ack"  # to the device: what is stored
    ORDER = "order"  # to the device, retained: the last signed order
    CHUNK = "chunk"  # to the device: pieces of an update


RETAINED = frozenset({Channel.BIRTH, Channel.STATE, Channel.HOME, Channel.REPORTED, Channel.ORDER})
"""What a broker keeps for those who come later."""

DOCUMENTS = frozenset({*RETAINED, Channel.WANT})
"""What is JSON, and nothing that must be forgotten after a while."""

LOST, LOST_RANGES = "lost", 256
"""Of a device's last word: ranges of its boot's numbers that are lost with its process, and how many it may name."""

_CHANNELS = frozenset(channel.value for channel in Channel)


@dataclass(frozen=True, slots=True)
class Address:
    """A device of a fleet; raises InputError for a name that is no plain word (wildcards, slashes, dots)."""

    fleet: str
    device: str

    def __post_init__(self) -> None:
        for kind, name in (("fleet", self.fleet), ("device", self.device)):
            if not _NAME.fullmatch(name):
                raise InputError(
                    f"{name!r} cannot name a {kind}", hint="use up to 64 letters, digits, '-' and '_', no leading sign"
                )

    def topic(self, channel: Channel) -> str:
        """The full topic."""
        return f"{PREFIX}/{self.fleet}/{self.device}/{channel}"


def parse(topic: str) -> tuple[Address, Channel]:
    """Whose topic that is and what it carries; raises InputError for a foreign one."""
    parts = topic.split("/")
    if len(parts) != 5 or "/".join(parts[:2]) != PREFIX or parts[4] not in _CHANNELS:
        raise InputError(
            f"the topic {topic[:200]!r} is not one of ours", hint=f"expected {PREFIX}/FLEET/DEVICE/CHANNEL"
        )
    return Address(parts[2], parts[3]), Channel(parts[4])


def fleet_filter(fleet: str, channel: Channel) -> str:
    """The MQTT filter that matches a channel of every device of a fleet."""
    Address(fleet, "any")
    return f"{PREFIX}/{fleet}/+/{channel}"
