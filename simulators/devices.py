"""Boards by name: what stands behind ``--device simulated:coral-usb``.

A name is KIND, KIND:PROFILE, or either with ?OPTION=VALUE&... behind it. Kinds are plug-ins: `devices` maps each to a
function that makes a board. A bundle's costs hold on the profile it was compiled for, so a command passes `only` as
look-up, and asking for another device is an error rather than a wrong figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from simulators.battery import batteries
from simulators.device import SimulatedBoard
from simulators.faults.rig import Rig
from simulators.harvest import Constant, Harvest, Solar
from simulators.options import number, parse_options
from simulators.power_pack import PowerPack
from simulators.throttle import ThrottleSchedule
from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.meters import Board, find_meters, host_board

Lookup = Callable[[str | None], ProfileSnapshot]
"""A snapshot by profile id; None asks for the default one."""

OPTIONS = ("mhz", "battery", "charge", "supply_v", "harvest_ma", "solar_ma", "latitude", "day")
EXAMPLE = "simulated:raspberry-pi-4?mhz=600, simulated?battery=li-ion-18650&solar_ma=400&latitude=48"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What a simulated board meets: a schedule of slowdowns, faults, and the options of its name."""

    schedule: ThrottleSchedule = field(default_factory=ThrottleSchedule)
    rig: Rig = field(default_factory=Rig)
    options: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0


class DeviceFactory(Protocol):
    """Makes a board of one kind."""

    def __call__(self, snapshot: ProfileSnapshot, scene: Scene) -> Board:
        """A board of that profile; raises UsageError, UnknownNameError for what the kind cannot do."""


devices: Registry[DeviceFactory] = Registry("devices")


@devices.register("host")
def _host(snapshot: ProfileSnapshot, scene: Scene) -> Board:
    if scene.schedule.phases:
        raise UsageError("a real board cannot be slowed down by a schedule", hint="use --device simulated")
    if scene.rig != Rig():
        raise UsageError("faults are for simulated boards", hint="use --device simulated")
    if scene.options:
        raise UsageError("host has no options", hint=f"as in {EXAMPLE}")
    return host_board(snapshot, find_meters())


@devices.register("simulated")
def _simulated(snapshot: ProfileSnapshot, scene: Scene) -> Board:
    for name in scene.options:
        if name not in OPTIONS:
            raise UnknownNameError("option of simulated", name, OPTIONS)
    mhz = _number(scene.options, "mhz", math.nan)
    return SimulatedBoard(
        snapshot,
        clock=scene.rig.clock(),
        schedule=scene.schedule,
        seed=scene.seed,
        clock_mhz=None if math.isnan(mhz) else mhz,
        pack=_pack(scene.options),
        outages=scene.rig.outages,
    )


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


def parse_device(
    name: str,
    snapshots: Lookup,
    *,
    schedule: ThrottleSchedule | None = None,
    rig: Rig | None = None,
    seed: int = 0,
) -> Board:
    """The board called ``KIND``, ``KIND:PROFILE`` or with options, as in ``host`` or ``simulated:coral-m2?mhz=250``.

    Raises UnknownNameError for an unknown kind or option, UsageError for a value, and whatever ``snapshots`` raises for
    an unknown profile.
    """
    known, _, query = name.partition("?")
    kind, _, profile = known.partition(":")
    factory = devices.get(kind)
    options = parse_options(query, where="--device")
    scene = Scene(schedule=schedule or ThrottleSchedule(), rig=rig or Rig(), options=options, seed=seed)
    return factory(snapshots(profile or None), scene)


def _pack(options: Mapping[str, str]) -> PowerPack | None:
    if "battery" not in options:
        orphans = sorted(options.keys() - {"mhz"})
        if orphans:
            raise UsageError(f"{orphans[0]} is of a board with a battery", hint=f"as in {EXAMPLE}")
        return None
    orphans = sorted({"latitude", "day"} & options.keys())
    if orphans and "solar_ma" not in options:
        raise UsageError(f"{orphans[0]} is of a board with solar_ma", hint=f"as in {EXAMPLE}")
    if "solar_ma" in options and "harvest_ma" in options:
        raise UsageError("a battery is fed by harvest_ma or by solar_ma, not by both", hint=f"as in {EXAMPLE}")
    try:
        return PowerPack(
            battery=batteries.get(options["battery"]),
            harvest=_harvest(options),
            supply_v=_number(options, "supply_v", 3.3),
            share=_number(options, "charge", 1.0),
        )
    except SchemaError as exc:
        raise UsageError(f"--device: {exc.message}", hint=f"as in {EXAMPLE}") from exc


def _harvest(options: Mapping[str, str]) -> Harvest:
    if "solar_ma" in options:
        return Solar(
            peak_ma=_number(options, "solar_ma", 0.0),
            latitude_deg=_number(options, "latitude", 45.0),
            day=_number(options, "day", 80.0),
        )
    return Constant(current_ma=_number(options, "harvest_ma", 0.0))


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    if name not in options:
        return default
    return number(options[name], name, where="--device", example=EXAMPLE)
