"""A device that holds a bundle, and what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update.apply import install
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.store import Store
from tests.fleet import Device, Office
from tests.power import CuttingDisk
from tests.updates import CHUNK_BYTES, fresh, opened

Releases = dict[int, Path]


def disk_with(path: Path) -> CuttingDisk:
    """A device on which a bundle was applied by hand."""
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    install(store, path, lambda name: opened(disk, name), chunk_bytes=CHUNK_BYTES)
    return disk


def offer(path: Path, percent: int = 100) -> Offer:
    shelf = Shelf(path)
    return Offer(sha256=shelf.sha256, size_bytes=shelf.size_bytes, stage_percent=percent)


def until(condition: Callable[[], bool], device: Device, office: Office | None = None, most: int = 400) -> None:
    for _ in range(most):
        device.step()
        if office is not None:
            office.serve(device)
        if condition():
            return
    raise AssertionError(f"not within {most} steps: {device.record.slots}")


def settled(device: Device) -> bool:
    return not device.record.on_trial and not device.agent.fetching


def hear(device: Device, *envelopes: bytes) -> None:
    for envelope in envelopes:
        device.air.inboxes.put(Channel.ORDER, envelope)
    device.step()
