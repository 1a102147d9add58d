"""``tamiyo simulate plan``: which reporting interval, data rate, configuration and update a fleet can afford."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamiyo_runtime.cli.simulate_options import by_option

if TYPE_CHECKING:
    from simulators.fleet.scenario import Scenario

_FLEET = "fleet"


def plan(
    scenario: Annotated[
        Path | None, typer.Argument(help="a scenario, as for `tamiyo simulate`; else the options say")
    ] = None,
    *,
    group: Annotated[str | None, typer.Option(help="of the scenario; the only one if not given")] = None,
    link: Annotated[str | None, typer.Option(help="lora-eu868 if not given; lora-us915, nb-iot, lte-m ...")] = None,
    fleet: Annotated[int | None, typer.Option(min=1, help="devices; 50 if not given")] = None,
    payload: Annotated[int | None, typer.Option(min=0, help="bytes of a report; 24 if not given")] = None,
    radius_m: Annotated[
        float | None, typer.Option(help="of the disc round one gateway; LoRa: 2000, else the preset's distance")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="of the device; cortex-m4 if not given")] = None,
    bundle: Annotated[Path | None, typer.Option(help="what is inferred; nothing if not given")] = None,
    sleep_mw: Annotated[
        float | None, typer.Option(help="of the board between inferences; the profile's if not given")
    ] = None,
    battery_mah: Annotated[float | None, typer.Option(help="at 3.6 V, 85 % of it usable; 2400 if not given")] = None,
    infer_every_s: Annotated[
        float | None, typer.Option(help="an inference so often; one a report if not given")
    ] = None,
    years: Annotated[float, typer.Option(help="goal: how long the battery has to last")] = 1.0,
    delivery: Annotated[float, typer.Option(help="goal: share of reports that arrive, for 95 % of such fleets")] = 0.9,
    accuracy: Annotated[float, typer.Option(help="goal: of the configuration that runs")] = 0.0,
    every_s: Annotated[
        float | None, typer.Option(help="goal: a report exactly so often; else as often as can be")
    ] = None,
    fair_use: Annotated[
        bool, typer.Option("--fair-use", help="LoRa: 30 s on the air a day, as The Things Network")
    ] = False,
    update_kb: Annotated[
        float | None, typer.Option(help="size of an update, kB; that of the bundle if not given")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="places and draws follow from it; the scenario's, or 0, when left out")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Find the shortest reporting interval that law, battery and collisions leave a fleet, and what limits it.

    Exit 3 when no plan meets the goals; what would have to give is said then.

    Examples:

      tamiyo simulate plan --fleet 50 --payload 24 --sleep-mw 0.05 --battery-mah 2400 --years 2

      tamiyo simulate plan orchard.toml --group soil --every-s 900 --delivery 0.95
    """
    from simulators.fleet.planning import plan as planned
    from simulators.fleet.planning_question import device_of, link_of
    from simulators.fleet.planning_terms import Goals
    from simulators.fleet.planning_update import update_cost
    from simulators.fleet.reading import placed, read_scenario
    from tamiyo_runtime.cli.render import emit_json, progress
    from tamiyo_runtime.cli.simulate_plan_next import show_next
    from tamiyo_runtime.cli.simulate_plan_view import as_data, check, show
    from tamiyo_runtime.contracts.errors import UsageError

    described = {
        "--link": link,
        "--fleet": fleet,
        "--payload": payload,
        "--radius-m": radius_m,
        "--profile": profile,
        "--bundle": bundle,
        "--sleep-mw": sleep_mw,
        "--battery-mah": battery_mah,
        "--infer-every-s": infer_every_s,
    }
    with by_option(_GOALS):
        goals = Goals(years=years, delivery=delivery, interval_s=every_s, accuracy=accuracy)
    if scenario is not None:
        said = next((name for name, value in described.items() if value is not None), None)
        if said is not None:
            raise UsageError(
                f"{said} describes a fleet, and so does {scenario}", hint=f"change it there, or leave out {said}"
            )
        whole = read_scenario(scenario, seed=seed)
    else:
        if group is not None:
            raise UsageError("--group names a group of a scenario", hint="tamiyo simulate plan SCENARIO --group NAME")
        whole = _described(
            link=link or "lora-eu868",
            count=fleet or 50,
            payload_bytes=24 if payload is None else payload,
            radius_m=radius_m,
            profile=profile or "cortex-m4",
            bundle=bundle,
            sleep_mw=sleep_mw,
            battery_mah=2400.0 if battery_mah is None else battery_mah,
            infer_every_s=infer_every_s,
            seed=seed or 0,
        )
    number = _number_of(whole, group)
    chosen = whole.devices[number]
    with _blamed(scenario, number):
        device = device_of(chosen)
    in_file = nullcontext() if scenario is None else placed(scenario.read_text(encoding="utf-8"), str(scenario))
    with in_file:
        with by_option(_GOALS):
            network = link_of(whole, number, fair_use=fair_use)
        with progress("simulate"):
            found = planned(network, device, goals)
    size_bytes = _update_bytes(update_kb, chosen.network)
    update = None
    if size_bytes is not None and found.recommended is not None:
        with by_option(_GOALS):
            update = update_cost(size_bytes, chosen, device, network, found.recommended.way)
    if as_json:
        emit_json(as_data(found, chosen, network.name, update))
    else:
        show(found, chosen, network.name, update, whole)
        if found.recommended is not None:
            show_next(found.recommended, chosen, network, source=scenario)
    check(found, chosen)


def _described(
    *,
    link: str,
    count: int,
    payload_bytes: int,
    radius_m: float | None,
    profile: str,
    bundle: Path | None,
    sleep_mw: float | None,
    battery_mah: float,
    infer_every_s: float | None,
    seed: int,
) -> Scenario:
    """A scenario of one group round one gateway."""
    from simulators.fleet.kinds import LoraKind, kind_of
    from simulators.fleet.scenario import Battery, Group, Placement, Scenario, Workload
    from simulators.lorawan.region import regions

    with by_option(_OPTIONS):
        kind = kind_of(link)
        rate: int | str = "adaptive"
        if isinstance(kind, LoraKind):
            radius_m = 2000.0 if radius_m is None else radius_m
            uplink = regions.get(kind.region).uplink
            lora = [index for index, one in uplink.items() if one.spreading_factor is not None]
            if kind.data_rate is None:  # any may be planned: the report has to fit the one that carries most
                rate = max(lora, key=lambda index: uplink[index].max_payload_bytes)
        group = Group(
            name=_FLEET,
            count=count,
            link=link,
            workload=Workload(report_period_s=86_400.0, payload_bytes=payload_bytes, inference_period_s=infer_every_s),
            profile=profile,
            data_rate=rate,
            placement=None if radius_m is None else Placement(radius_m=radius_m),
            network=None if bundle is None else str(bundle),
            sleep_mw=sleep_mw,
            battery=Battery(capacity_mah=battery_mah),
        )
        return Scenario(name=_FLEET, devices=(group,), seed=seed)


@contextmanager
def _blamed(source: Path | None, number: int) -> Iterator[None]:
    """Names the option, or file, line and group, in errors about the group."""
    from simulators.fleet.complaints import at
    from simulators.fleet.reading import placed

    if source is None:
        with by_option(_OPTIONS):
            yield
        return
    with placed(source.read_text(encoding="utf-8"), str(source)), at(f"devices[{number}]"):
        yield


_OPTIONS = {
    "workload.payload_bytes": "--payload",
    "workload.inference_period_s": "--infer-every-s",
    "inference_period_s": "--infer-every-s",
    "radius_m": "--radius-m",
    "profile": "--profile",
    "sleep_mw": "--sleep-mw",
    "capacity_mah": "--battery-mah",
    "link": "--link",
}
"""What a field of the scenario is called here."""
_GOALS = {
    "goals.years": "--years",
    "goals.delivery": "--delivery",
    "goals.accuracy": "--accuracy",
    "goals.interval_s": "--every-s",
    "update": "--update-kb",
    "fair_use": "--fair-use",
}
"""The same of what is wanted, with a scenario or without."""


def _number_of(scenario: Scenario, name: str | None) -> int:
    """Of the group that is planned for; raises UsageError where several are there to choose from."""
    from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError

    names = [group.name for group in scenario.devices]
    if name is not None:
        if name not in names:
            raise UnknownNameError("group", name, names)
        return names.index(name)
    if len(names) > 1:
        raise UsageError(f"{scenario.name} has {len(names)} groups", hint=f"--group with one of: {', '.join(names)}")
    return 0


def _update_bytes(update_kb: float | None, network: str | None) -> int | None:
    from tamiyo_runtime.contracts.errors import UsageError

    if update_kb is not None:
        if not math.isfinite(update_kb):
            raise UsageError(f"--update-kb: {update_kb} kB is no size", hint="a number, as in 60")
        return round(update_kb * 1000)
    return None if network is None else Path(network).stat().st_size
