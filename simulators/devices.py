"""Boards by name: what stands behind ``--device simulated:coral-usb``.

A name is KIND or KIND:PROFILE. Kinds are plug-ins: `devices` maps each to a function that makes a board. A bundle's
costs hold on the profile it was compiled for, so a command passes `only` as look-up, and asking for another device is
an error rather than a wrong figure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from simulators.device import SimulatedBoard
from simulators.throttle import ThrottleSchedule
from tamiyo_runtime.contracts.errors import IncompatibleError, UsageError
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.meters import Board, VirtualClock, find_meters, host_board

Lookup = Callable[[str | None], ProfileSnapshot]
"""A snapshot by profile id; None asks for the default one."""


class DeviceFactory(Protocol):
    """Makes a board of one kind."""

    def __call__(self, snapshot: ProfileSnapshot, *, schedule: ThrottleSchedule, seed: int) -> Board:
        """A board of that profile."""


devices: Registry[DeviceFactory] = Registry("devices")


@devices.register("host")
def _host(snapshot: ProfileSnapshot, *, schedule: ThrottleSchedule, seed: int) -> Board:
    if schedule.phases:
        raise UsageError("a real board cannot be slowed down by a schedule", hint="use --device simulated")
    return host_board(snapshot, find_meters())


@devices.register("simulated")
def _simulated(snapshot: ProfileSnapshot, *, schedule: ThrottleSchedule, seed: int) -> Board:
    return SimulatedBoard(snapshot, clock=VirtualClock(), schedule=schedule, seed=seed)


def only(snapshot: ProfileSnapshot) -> Lookup:
    """A look-up that knows one profile; it raises IncompatibleError for any other."""

    def look_up(name: str | None) -> ProfileSnapshot:
        if name not in (None, snapshot.id):
            raise IncompatibleError(
                f"the bundle was compiled for '{snapshot.id}', its costs say nothing of '{name}'",
                hint=f"use simulated:{snapshot.id}, or export for a target with the profile {name}",
            )
        return snapshot

    return look_up


def parse_device(name: str, snapshots: Lookup, *, schedule: ThrottleSchedule | None = None, seed: int = 0) -> Board:
    """The board called ``KIND`` or ``KIND:PROFILE``, as in ``host`` or ``simulated:coral-usb``.

    Raises UnknownNameError for an unknown kind, and whatever ``snapshots`` raises for an unknown profile.
    """
    kind, _, profile = name.partition(":")
    factory = devices.get(kind)
    return factory(snapshots(profile or None), schedule=schedule or ThrottleSchedule(), seed=seed)
