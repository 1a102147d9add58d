"""``tamiyo collect``: store a fleet's telemetry and show the ledger."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamiyo_runtime.cli.broker_options import BrokerCa, BrokerCert, BrokerKey, access_to

if TYPE_CHECKING:
    from collector.ledger import DeviceLedger
    from collector.store import Store

_QUIET_S = 3.0  # without news for so long, a balanced ledger of devices that said goodbye is final
_CONNECT_S = 5.0
_PAUSE_S = 0.2
_PAUSE_SHARE = 10  # the ledger of a large store takes a while: most of the time belongs to the collector


def collect(
    *,
    store: Annotated[Path, typer.Option(help="SQLite file; made when missing, added to when there")],
    broker: Annotated[
        str, typer.Option(help="mqtt[s]://HOST:PORT, or embedded, mosquitto, auto to start one")
    ] = "auto",
    broker_ca: BrokerCa = None,
    broker_cert: BrokerCert = None,
    broker_key: BrokerKey = None,
    fleet: Annotated[str, typer.Option(help="name of the fleet")] = "default",
    for_s: Annotated[float | None, typer.Option("--for", min=0, help="stop after so many seconds")] = None,
    until_balanced: Annotated[
        bool, typer.Option(help="stop when every device has stopped, or is silent, and sent = stored + lost")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the ledger as JSON")] = False,
) -> None:
    """Store every record once, acknowledge it after the commit, keep the ledger. Ctrl-C or SIGTERM end it cleanly.

    What came in is shown by `tamiyo collect report STORE` and written to files by `tamiyo collect export STORE`.

    Example:  tamiyo collect --broker mqtt://127.0.0.1:1883 --store telemetry.db --until-balanced
    """
    from collector.service import Collector
    from tamiyo_runtime.cli.render import emit_json, note, progress
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.transport.access import check_handshake
    from tamiyo_runtime.transport.broker import start_broker

    if store.is_dir():
        raise InputError(f"the store {store} is a folder", hint="name a file, such as telemetry.db")
    access = access_to(broker, broker_ca, broker_cert, broker_key)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with contextlib.ExitStack() as stack:
        url = broker
        if "://" not in broker:
            handle = stack.enter_context(start_broker(broker, store.with_name(f"{store.name}.broker")))
            url = handle.url
            note(f"{handle.name} at {url} ({handle.notes})")
        if access is not None:
            check_handshake(url, access)
        collector = Collector(url, store, fleet, access)
        stack.callback(collector.stop)
        collector.start(timeout_s=_CONNECT_S)
        deadline_s = time.monotonic() + for_s if for_s is not None else float("inf")
        with progress(f"collect {fleet}") as bar:
            seen, news_s = -1, time.monotonic()
            pause_s = _PAUSE_S
            while not ended.wait(min(pause_s, deadline_s - time.monotonic())) and time.monotonic() < deadline_s:
                began_s = time.monotonic()
                counters, status = collector.store.counters(), collector.status()
                bar.advance(counters["records"] - bar.done, status.trouble or _summary(collector.store))
                if counters["frames"] != seen:
                    seen, news_s = counters["frames"], time.monotonic()
                if until_balanced and _settled(collector.store, time.monotonic() - news_s):
                    break
                pause_s = max(_PAUSE_S, _PAUSE_SHARE * (time.monotonic() - began_s))
        ledger, counters = collector.store.ledger(), collector.store.counters()
        if as_json:
            emit_json({"store": str(store), "counters": counters, "ledger": [_row(entry) for entry in ledger]})
        else:
            _show(ledger, counters, store)


def _settled(store: Store, quiet_s: float) -> bool:
    """Every boot balanced, and each device has said goodbye or the line has been quiet."""
    ledger = store.ledger()
    if not ledger or not all(entry.balanced for entry in ledger):
        return False
    states = {device.device: device.state for device in store.devices()}
    return quiet_s >= _QUIET_S or all(states.get(entry.device) == "stopped" for entry in ledger)


def _summary(store: Store) -> str:
    ledger = store.ledger()
    missing = sum(entry.missing for entry in ledger)
    return f"{len({entry.device for entry in ledger})} devices, {missing} records on their way"


def _row(entry: DeviceLedger) -> dict[str, object]:
    from tamiyo_runtime.spool import boot_name

    return {
        "device": entry.device,
        "boot": boot_name(entry.boot),
        "sent": entry.sent,
        "stored": entry.stored,
        "lost": dict(entry.lost),
        "missing": entry.missing,
        "balanced": entry.balanced,
    }


def _show(ledger: list[DeviceLedger], counters: dict[str, int], store: Path) -> None:
    from tamiyo_runtime.cli.render import say, table

    if not ledger:
        say("no device was heard of")
        return
    rows = []
    for entry in ledger:
        lost = ", ".join(f"{count} {reason}" for reason, count in entry.lost.items()) or "0"
        row = _row(entry)
        verdict = "yes" if entry.balanced else f"no, {entry.missing} missing"
        rows.append([entry.device, row["boot"], entry.sent, entry.stored, lost, verdict])
    table(["device", "boot", "sent", "stored", "lost", "sent = stored + lost"], rows)
    say(
        f"{counters['frames']} frames, {counters['records']} records, {counters['duplicates']} arrived twice, "
        f"{counters['quarantined']} messages quarantined; in {store}"
    )
