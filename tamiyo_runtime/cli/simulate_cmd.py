"""``tamiyo simulate``: a fleet of devices over simulated links, from a scenario file or from a few options."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from tamiyo_runtime.cli.simulate_options import by_option

if TYPE_CHECKING:
    from simulators.fleet.detail.run import Detail
    from simulators.fleet.forecast import Forecast
    from simulators.fleet.resolve import Resolved
    from simulators.fleet.result import FleetResult
    from simulators.fleet.scenario import Scenario

_OPTIONS = {"link": "--link", "count": "--fleet", "days": "--days", "seed": "--seed"}
"""What a field of the scenario is called here."""
_BATTERY_MAH = 2400.0
"""Of a fleet without a file, as plans have it."""


def simulate(
    scenario: Annotated[Path | None, typer.Argument(metavar="SCENARIO", help="a fleet's file, .toml")] = None,
    *,
    link: Annotated[
        str | None,
        typer.Option(help="without a file: link of the devices, as lora-eu868, lora-us915, nb-iot, lte-m, 5g"),
    ] = None,
    fleet: Annotated[int | None, typer.Option(min=1, help="without a file: how many devices")] = None,
    days: Annotated[float | None, typer.Option(help="how long; the file's, or 1, when left out")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="everything random follows from it")] = None,
    sample: Annotated[
        int | None, typer.Option(min=0, help="devices of each group that the real runtime runs; the file's, or 0")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="processes; the result is the same")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="folder for result.json, report.html and devices.parquet (.csv without pyarrow)")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="page for a browser; DIR/report.html with --out DIR", metavar="FILE.html")
    ] = None,
    packets: Annotated[
        bool, typer.Option("--packets", help="with --out: what became of each LoRa packet, too")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="show what would be run, whether it is legal, what it takes")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace files")] = False,
) -> None:
    """Simulate a fleet for some days: deliveries, time on air, latency, energy, battery life. All of it is simulated.

    A file is written after examples/orchard.toml; its keys are in docs/fleet.md. What a fleet can afford, and how
    often it may report, is asked by `tamiyo simulate plan --help`.

    Examples:

      tamiyo simulate examples/orchard.toml --out orchard-out

      tamiyo simulate --link lora-eu868 --fleet 50 --days 30

      tamiyo simulate examples/orchard.toml --dry-run

      tamiyo simulate examples/orchard.toml --sample 2
    """
    from simulators.fleet.costs import costs_of
    from simulators.fleet.forecast import available_bytes, check_memory, forecast
    from simulators.fleet.legality import check_legal
    from simulators.fleet.resolve import resolve
    from simulators.fleet.summary import record
    from tamiyo_runtime.cli import simulate_files, simulate_time, simulate_view
    from tamiyo_runtime.cli.render import emit_json, note, say
    from tamiyo_runtime.contracts.errors import UsageError

    if packets and out is None:
        raise UsageError("--packets writes a file, and there is no folder for it", hint="pass --out DIR")
    if packets and workers > 1:
        raise UsageError("--packets writes packets in order, from one process", hint="leave out --workers")
    asked = _asked(scenario, link=link, fleet=fleet, days=days, seed=seed, sample=sample)
    with asked.blame():
        resolved = resolve(asked.scenario)
        check_legal(resolved)
        costs = costs_of(asked.scenario)
    expected = forecast(resolved, workers=workers)
    if dry_run:
        plan = simulate_view.plan(resolved, costs, expected, workers=workers)
        emit_json(plan) if as_json else simulate_view.show_plan(plan, asked.notes)
        return
    check_memory(expected, available_bytes())
    files = None
    if out is not None:
        report = report or out / simulate_files.PAGE
        sampled = asked.scenario.sample > 0
        files = simulate_files.Files.in_folder(out, packets=packets, sampled=sampled, overwrite=overwrite)
    if report is not None:
        if scenario is not None and report.resolve() == scenario.resolve():
            raise UsageError(f"--report {report} would replace the scenario", hint="as in --report fleet.html")
        simulate_files.check_page(report, overwrite=overwrite)
    if (announced := simulate_time.announcement(resolved, expected, workers=workers)) is not None:
        note(announced)
    with asked.blame():
        result = _run(resolved, expected, workers=workers, files=files)
    result, detail = _in_detail(resolved, result, workers=workers)
    if files is not None:
        files.write(result, None if detail is None else detail.devices)
    written = [] if files is None else list(files.written)
    if report is not None:
        simulate_files.write_page(report, result, detail, overwrite=overwrite)
        written.append(report)
    if as_json:
        emit_json({**record(result), "files": [str(path) for path in written]})
        return
    simulate_view.show(result, asked.notes, detail=detail, files=written)
    say(f"Next:  {_next(asked, written, days=days)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A scenario, how it was asked for, what was taken for granted in it, and a block in which errors name the line of
    its file."""

    scenario: Scenario
    words: str
    notes: list[str]
    blame: Callable[[], AbstractContextManager[None]]


def _asked(
    path: Path | None,
    *,
    link: str | None,
    fleet: int | None,
    days: float | None,
    seed: int | None,
    sample: int | None,
) -> _Asked:
    from simulators.fleet.reading import placed, read_scenario
    from tamiyo_runtime.contracts.errors import UsageError

    if path is None:
        if link is None or fleet is None:
            raise UsageError(
                "nothing says what to simulate",
                hint="a scenario file, or --link lora-eu868 --fleet 50; --help has examples",
            )
        with by_option(_OPTIONS):
            made, notes = _quick(link, fleet, days=days, seed=seed, sample=sample)
        return _Asked(scenario=made, words=f"--link {quote(link)} --fleet {fleet}", notes=notes, blame=nullcontext)
    if link is not None or fleet is not None:
        raise UsageError("--link and --fleet are for a run without a file", hint=f"change them in {path}")
    with by_option(_OPTIONS):  # what is wrong in the file itself goes by file and line
        made = read_scenario(path, seed=seed, days=days, sample=sample)
    text = path.read_text(encoding="utf-8")
    return _Asked(scenario=made, words=quote(str(path)), notes=[], blame=lambda: placed(text, str(path)))


def _next(asked: _Asked, written: list[Path], *, days: float | None) -> str:
    """What is asked next: for files, then for other draws; what the fleet can afford."""
    scenario = asked.scenario
    again = f"tamiyo simulate {asked.words}" + ("" if days is None else f" --days {days:g}")
    again += f" --seed {scenario.seed + 1}" if written else " --out DIR"
    group = f" --group {quote(scenario.devices[0].name)}" if len(scenario.devices) > 1 else ""
    return f"{again}   |   tamiyo simulate plan {asked.words}{group}"


def _quick(
    link: str, count: int, *, days: float | None, seed: int | None, sample: int | None
) -> tuple[Scenario, list[str]]:
    """A fleet of one group without a file: hourly reports, LoRa devices on a disc round one gateway."""
    from simulators.fleet.kinds import LoraKind, kind_of
    from simulators.fleet.parts import Battery, Placement, Workload
    from simulators.fleet.scenario import Group, Scenario
    from simulators.lorawan.region import regions

    kind = kind_of(link)
    payload, place, notes = 20, None, ["20 bytes an hour from each device"]
    if isinstance(kind, LoraKind):
        rates = regions.get(kind.region).uplink
        slowest = min(index for index, rate in rates.items() if rate.bandwidth_hz == 125_000)
        payload = min(payload, rates[slowest if kind.data_rate is None else kind.data_rate].max_payload_bytes)
        place = Placement(radius_m=2000.0)
        notes = [f"{payload} bytes an hour from each device", "devices on a disc of 2 km round one gateway"]
    group = Group(
        name="fleet",
        count=count,
        link=link,
        workload=Workload(report_period_s=3600.0, payload_bytes=payload),
        placement=place,
        battery=Battery(capacity_mah=_BATTERY_MAH),
    )
    made = Scenario(
        name="fleet", devices=(group,), days=1.0 if days is None else days, seed=seed or 0, sample=sample or 0
    )
    return made, [*notes, f"board {group.profile}, no inference, a battery of {_BATTERY_MAH:g} mAh at 3.6 V"]


def _run(resolved: Resolved, expected: Forecast, *, workers: int, files: object) -> FleetResult:
    from simulators.fleet.engine import Watch, run
    from tamiyo_runtime.cli.render import progress
    from tamiyo_runtime.cli.simulate_files import Files
    from tamiyo_runtime.contracts.units import duration

    total = max(1, round(expected.messages))
    with progress(f"simulate {resolved.scenario.name}", total) as bar:
        bar.show(f"messages, about {duration(expected.seconds)} in all (estimate)")
        watch = Watch(share=lambda share: bar.show("messages", done=round(share * total)))
        if not isinstance(files, Files):
            return run(resolved, workers=workers, watch=watch)
        with files.packets() as on_packets:
            return run(resolved, workers=workers, watch=Watch(share=watch.share, packets=on_packets))


def _in_detail(resolved: Resolved, result: FleetResult, *, workers: int) -> tuple[FleetResult, Detail | None]:
    """Runs the scenario's sample of devices, and adds what they did to the result."""
    from dataclasses import replace

    scenario = resolved.scenario
    if not scenario.sample:
        return result, None
    from simulators.fleet.detail.agreement import record
    from simulators.fleet.detail.choose import choose
    from simulators.fleet.detail.run import run_detail
    from tamiyo_runtime.cli.render import hushed, progress

    with hushed():
        chosen = choose(resolved)
    devices = len(chosen.jobs)
    with progress("run in detail", devices) as bar:  # some run more than once
        detail = run_detail(
            resolved, chosen, workers=workers, on_day=lambda: bar.show("devices", done=min(bar.done + 1, devices))
        )
    return replace(result, extra={**result.extra, "detail": record(detail, result)}), detail
