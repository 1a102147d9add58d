"""What can be known to go wrong with a link or a broker before anything is started."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from tamiyo_runtime.link import Link
    from tamiyo_runtime.transport.access import Access

NO_BROKER = "none"
ETHERNET = "ethernet"
BROKERS = ("auto", "embedded", "mosquitto")


def check_flash(broker: str) -> None:
    """Refuse a budget that nobody can hold: without telemetry nothing is written, uncounted nothing is known."""
    from tamiyo_runtime.spool_file import FlashMeter

    if broker == NO_BROKER:
        raise UsageError("--flash-mb-per-day is for telemetry, and there is none", hint="pass --broker too")
    meter = FlashMeter()
    counts = meter.counts
    meter.close()
    if not counts:
        raise UsageError(
            "--flash-mb-per-day cannot be held here: the kernel does not count what a process writes",
            hint="it needs /proc/self/io, which Linux has with CONFIG_TASK_IO_ACCOUNTING",
        )


def check_home(broker: str, link: Link) -> None:
    """Home Assistant listens at a broker of its own, and what it is shown is sent beside the link's budget."""
    if not broker.startswith(("mqtt://", "mqtts://")):
        raise UsageError("--home-assistant needs its broker", hint="write --broker mqtt://HOST:PORT, or mqtts://")
    if math.isfinite(link.sustainable_bytes_per_s()):
        raise UsageError(f"{link.label} has no room for --home-assistant", hint="leave it out, or use --link ethernet")


def greet(url: str, access: Access) -> None:
    """Refuse a broker whose certificate is refused. A service goes on: what it is there for needs no broker."""
    from tamiyo_runtime.transport.access import check_handshake

    try:
        check_handshake(url, access)
    except InputError as exc:
        if "NOTIFY_SOCKET" not in os.environ:
            raise
        note(f"warning: {exc.message}; telemetry waits in the spool")


def open_link(name: str) -> Link:
    """A link by name; raises UnknownNameError, UsageError."""
    if name == ETHERNET:  # the runtime's own: no simulator is loaded for it
        from tamiyo_runtime.link import Ethernet

        return Ethernet()
    from simulators.links import open_link as opened

    return opened(name)


def check_broker(text: str) -> None:
    """Raise UnknownNameError for what is neither a kind of broker, ``none``, nor a URL."""
    if text not in (*BROKERS, NO_BROKER) and "://" not in text:
        raise UnknownNameError("broker", text, [*BROKERS, NO_BROKER, "mqtt://HOST:1883"])
