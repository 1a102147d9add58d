"""Telemetry from its parts: spool, transport, uplink, clocks. What fails is closed; a damaged spool makes way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tamiyo_runtime.ages import DAYS, bounds_s
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.contracts.records import Event, EventRecord, Window
from tamiyo_runtime.flash import FlashBudget
from tamiyo_runtime.link import Link
from tamiyo_runtime.meters import Clock
from tamiyo_runtime.reserve import SHARE
from tamiyo_runtime.spool import Spool
from tamiyo_runtime.spool_file import set_aside
from tamiyo_runtime.telemetry import Telemetry
from tamiyo_runtime.timekeeping import Timekeeper, WallReading, timekeeper
from tamiyo_runtime.transport import Access, Address, Channel, open_transport
from tamiyo_runtime.transport.offline import URL as OFFLINE
from tamiyo_runtime.uplink import Pace, Uplink

BIRTH = "tamiyo.birth/1"


def open_telemetry(
    *,
    spool: Path,
    url: str | None,
    fleet: str,
    device: str,
    bundle: str,
    link: Link,
    clock: Clock,
    about: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    pace: Pace | None = None,
    window_s: float = 1.0,
    samples_per_s: float = 50.0,
    spool_bytes: int = 64 << 20,
    spool_days: float = DAYS,
    spool_reserve: float = SHARE,
    access: Access | None = None,
    on_window: Callable[[Window], None] | None = None,
    flash_bytes_per_day: float | None = None,
    hears: Sequence[Channel] = (),
    wall: Timekeeper | None = None,
) -> Telemetry:
    """Put the parts together.

    ``url``: ``mqtt://HOST:PORT``, ``mqtts://HOST:PORT``, ``memory://NAME``, or None to spool only. ``bundle``: first
    8 hex digits of the manifest's sha256. ``about`` is told in the birth message (board, link, interpreter: labels, no
    secrets). ``access``: what to show to the broker. ``flash_bytes_per_day``: see `FlashBudget`. ``spool_bytes``,
    ``spool_days``: bounds of the spool, the latter as in `ages.bounds_s`; ``spool_reserve``: see `Reserve`. ``hears``:
    channels that somebody else will read from `Telemetry.transport`. ``wall``: by default the wall clock that goes with
    ``clock``. A spool that is damaged is set aside, with an alarm. Raises InputError for a bad name, a spool in use
    or a certificate that cannot be used, UnknownNameError for a scheme, MissingExtraError, SchemaError for a budget
    that is not above 0.
    """
    address = Address(fleet, device)
    flash = FlashBudget(flash_bytes_per_day) if flash_bytes_per_day is not None else None
    wall = wall or timekeeper(clock)
    open_queue = partial(
        Spool,
        spool,
        limit_bytes=spool_bytes,
        reserve=spool_reserve,
        keep_s=bounds_s(spool_days),
        machine=wall.machine,
        clock=clock,
    )
    aside: Path | None = None
    try:
        queue = open_queue()
    except IntegrityError:  # a card that wears out must not keep a device from working
        aside = set_aside(spool)
        queue = open_queue()
    if aside is not None:
        queue.append(EventRecord(t_ms=int(clock.now_s() * 1e3), event=Event.SPOOL_LOST, detail=aside.name[:64]))
    try:
        birth = {"schema": BIRTH, "boot": queue.boot, "bundle": bundle, **_time_of_birth(wall.read()), **(about or {})}
        transport = open_transport(url or OFFLINE, address, birth, access, (Channel.ACK, *hears))
    except BaseException:
        queue.close()
        raise
    uplink = Uplink(queue, link, transport, bundle=bundle, device=device, pace=pace, budget=budget)
    return Telemetry(
        queue,
        uplink,
        link,
        clock,
        budget=budget,
        window_s=window_s,
        samples_per_s=samples_per_s,
        on_window=on_window,
        flash=flash,
        wall=wall,
    )


def _time_of_birth(reading: WallReading) -> dict[str, Any]:
    """What the birth tells of the wall clock; frames keep it up to date."""
    told = {} if reading.told_ms is None else {"offset_ms": reading.told_ms}
    return {"time_quality": reading.quality.value, **told}
