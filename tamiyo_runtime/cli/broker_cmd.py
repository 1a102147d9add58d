"""``tamiyo broker``: a broker on this machine, for trying things out."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path
from typing import Annotated

import typer

_LOOK_S = 0.5


def broker(
    kind: Annotated[str, typer.Option(help="auto, embedded or mosquitto")] = "auto",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one")] = 1883,
    folder: Annotated[
        Path | None, typer.Option(help="where messages are kept over a restart; default: a temporary folder")
    ] = None,
) -> None:
    """Run an MQTT broker on 127.0.0.1 until Ctrl-C or SIGTERM.

    Examples:  tamiyo broker      tamiyo broker --port 0 --folder ./broker
    """
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.transport.broker import start_broker

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="tamiyo-broker-") as scratch:
        handle = start_broker(kind, folder or Path(scratch), port=port)
        try:
            say(f"{handle.name} at {handle.url}")
            say(f"note: {handle.notes}")
            say(f"Next:  tamiyo collect --broker {handle.url} --store telemetry.db")
            while not ended.wait(_LOOK_S):
                handle.check()
        finally:
            handle.stop()
