"""``tamiyo run``: a bundle under its budgets, on this machine or on a simulated board, with telemetry."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tamiyo_runtime.cli.broker_options import BrokerCa, BrokerCert, BrokerKey, KeepAlive, access_to, alive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.cli.deployed import Deployed
    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.cli.field_terms import FieldResult
    from tamiyo_runtime.cli.render import Progress
    from tamiyo_runtime.cli.simulated import Rest
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.summary import Turn


_PERIOD_MS = 100.0
DEVICE_ID, FLEET = "device-1", "default"


def run(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, as `tamiyo export` writes it, or a folder of `tamiyo update`.")
    ],
    *,
    device: Annotated[
        str,
        typer.Option(
            help="host, simulated, or simulated:PROFILE; with ?mhz=600 at another operating point, with "
            "?battery=li-ion-18650&solar_ma=400&latitude=48 on a battery (docs/devices.md)"
        ),
    ] = "host",
    link: Annotated[
        str,
        typer.Option(
            help="ethernet, lora-eu868, lora-eu868-sf7 ... -sf12; with +contact?period_s=3600&length_s=60 behind it, a "
            "fast link passes by now and then; 5g, 5g-nsa, 5g-mmwave, lte, lte-cat1, lte-m, nb-iot, each with "
            "?distance_m=300&speed_m_s=1.4&seed=1 (all but ethernet simulated)"
        ),
    ] = "ethernet",
    broker: Annotated[
        str, typer.Option(help="none, mqtt[s]://HOST:PORT, or embedded, mosquitto, auto to start one and a collector")
    ] = "none",
    broker_ca: BrokerCa = None,
    broker_cert: BrokerCert = None,
    broker_key: BrokerKey = None,
    broker_keep_alive: KeepAlive = None,
    home_assistant: Annotated[
        bool, typer.Option("--home-assistant", help="appear in the Home Assistant that listens at that broker")
    ] = False,
    source: Annotated[
        str,
        typer.Option(
            help="bundle (its test set), a FOLDER of .npy, .pgm or .png, FILE.csv, stdin, tcp://HOST:PORT, "
            "serial:///dev/ttyUSB0?baud=115200, mqtt://HOST:PORT/TOPIC, generator?seed=1&noise=.05&drift=.001; "
            "a line or message is one sample; streams take ?queue=64&drop=oldest|newest|wait (docs/sources.md)"
        ),
    ] = "bundle",
    samples: Annotated[
        int | None, typer.Option(min=1, help="how many; default: the source once, a stream until it ends or SIGTERM")
    ] = None,
    period_ms: Annotated[
        float | None,
        typer.Option(min=0, help="from one sample to the next; 0: back to back; default: 100, a stream as it comes"),
    ] = None,
    device_id: Annotated[str, typer.Option(help="name of this device in the fleet")] = DEVICE_ID,
    fleet: Annotated[str, typer.Option(help="name of the fleet")] = FLEET,
    state_dir: Annotated[Path | None, typer.Option(help="spool and store; default: ~/.local/state/tamiyo")] = None,
    flash_mb_per_day: Annotated[
        float | None, typer.Option(min=0.001, help="what telemetry may write to flash: windows get as long as it takes")
    ] = None,
    spool_mb: Annotated[
        float, typer.Option(min=0.1, help="records that wait for the collector may take this much; the least go first")
    ] = 64.0,
    spool_days: Annotated[
        float, typer.Option(min=0.001, help="and get this old: alarms thrice as old, single samples a quarter")
    ] = 30.0,
    spool_reserve_percent: Annotated[
        float, typer.Option(min=0, max=90, help="of the disk: with less than this free, the spool does not grow")
    ] = 5.0,
    latency_ms: Annotated[
        float | None,
        typer.Option(min=0, help="deadline, from a sample's arrival to its answer; 0: none; default: the bundle's"),
    ] = None,
    power_mw: Annotated[float | None, typer.Option(min=0, help="mean power of inferences; 0: no limit")] = None,
    energy_burst_mj: Annotated[float | None, typer.Option(min=0, help="energy that may be spent at once")] = None,
    temperature_c: Annotated[
        float | None, typer.Option(min=0, help="of the processor: from there on nothing runs; 0: no limit")
    ] = None,
    mission_hours: Annotated[
        float | None, typer.Option(help="the battery has to last so long, from now on: power is rationed by its charge")
    ] = None,
    battery_mwh: Annotated[
        float | None, typer.Option(help="with --mission-hours: what a full battery gives this board")
    ] = None,
    throttle: Annotated[
        str | None, typer.Option(help="slow a simulated board down: START_S:SLOWDOWN,...", metavar="PHASES")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="of a simulated board: brown-out@10s+2s, clock-drift?ppm=50, sensor:stuck@5s+10s, bit-flips?bits=16"
        ),
    ] = None,
    budget_at: Annotated[
        list[str] | None,
        typer.Option(help="change the budget on the way: TIME_S:latency-ms=5,power-mw=20,energy-burst-mj=1"),
    ] = None,
    variant: Annotated[
        str | None, typer.Option(help="which of the bundle's variants; default: the first that runs")
    ] = None,
    false_alarm: Annotated[
        float, typer.Option(min=0, help="inferences to a false alarm of the monitors, on average at least; 0: none")
    ] = 1e6,
    policy: Annotated[bool, typer.Option(help="let the bundle's policy switch seeds")] = True,
    seed: Annotated[int, typer.Option(help="of the simulated board")] = 0,
    trace: Annotated[Path | None, typer.Option(help="write one row a sample to this .csv or .npz")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace the trace file")] = False,
    key: Annotated[list[Path] | None, typer.Option(help="trust this public key, and no other")] = None,
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="run an older version than ran on this device before, this once")
    ] = False,
    trial_window: Annotated[
        int, typer.Option(min=1, help="with a folder of `tamiyo update`: samples after which a bundle is confirmed")
    ] = 1000,
    supervise: Annotated[
        bool, typer.Option("--supervise", help="from a small process beside it, start it again when it crashes")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, run nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="print the result as JSON")] = False,
) -> None:
    """Run a bundle as a field stream: the policy proposes seeds, the governor holds the budgets, telemetry reports.

    Examples:

      tamiyo run digits.tamiyo

      kill -HUP PID      (the bundle's file is opened again, and takes over between two samples)

      tamiyo run digits.tamiyo --device simulated:coral-usb --link lora-eu868 --broker embedded --period-ms 1000
    """
    from functools import partial

    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.cli.field_terms import FieldRequest
    from tamiyo_runtime.cli.parsing import budget_schedule, changed_budget, check_finite, mission_of, throttle_phases
    from tamiyo_runtime.cli.render import progress
    from tamiyo_runtime.cli.run_trace import check_trace
    from tamiyo_runtime.cli.run_view import show_plan
    from tamiyo_runtime.cli.simulated import Rest
    from tamiyo_runtime.cli.trust import canary_gate, open_bundle
    from tamiyo_runtime.contracts.errors import (
        BudgetError,
        IncompatibleError,
        IntegrityError,
        MissingDependencyError,
    )
    from tamiyo_runtime.files import default_state_dir
    from tamiyo_runtime.monitors import MonitorSettings
    from tamiyo_runtime.session import Plan
    from tamiyo_runtime.sources import length_of

    check_finite(
        {
            "--period-ms": period_ms,
            "--flash-mb-per-day": flash_mb_per_day,
            "--spool-mb": spool_mb,
            "--spool-days": spool_days,
            "--spool-reserve-percent": spool_reserve_percent,
            "--false-alarm": false_alarm,
        }
    )
    phases = throttle_phases(throttle)
    check_trace(trace, overwrite=overwrite)
    access = alive(access_to(broker, broker_ca, broker_cert, broker_key), broker_keep_alive)
    folder_says = {
        "--device-id": device_id != DEVICE_ID,
        "--fleet": fleet != FLEET,
        "--state-dir": state_dir is not None,
        "--key": bool(key),
        "--no-policy": not policy,
        "--latency-ms": latency_ms is not None,
        "--power-mw": power_mw is not None,
        "--energy-burst-mj": energy_burst_mj is not None,
        "--temperature-c": temperature_c is not None,
        "--budget-at": bool(budget_at),
    }

    def opened_and_checked(deployed: Deployed | None, rest: Rest | None = None) -> FieldRun:
        opened = open_bundle(bundle, key) if deployed is None else deployed.open()
        changed = partial(
            changed_budget,
            latency_ms=latency_ms,
            power_mw=power_mw,
            energy_burst_mj=energy_burst_mj,
            temperature_c=temperature_c,
        )
        budget = changed(opened.manifest.budget)
        budget = budget if deployed is None else deployed.budget(budget)

        def again() -> tuple[Bundle, Budget | None]:
            there = open_bundle(bundle, key)
            return there, None if budget_at else changed(there.manifest.budget)  # a schedule goes on

        plan = Plan(
            samples=samples,
            period_s=(_PERIOD_MS if period_ms is None else period_ms) * 1e-3,
            budget=budget,
            schedule=tuple(budget_schedule(budget_at or [], budget)),
            watchful=MonitorSettings(false_alarm=false_alarm) if false_alarm else None,
            trace=trace is not None,
            mission=mission_of(mission_hours, battery_mwh),
        )
        request = FieldRequest(
            device=device,
            link=link,
            broker=broker,
            access=access,
            home_assistant=home_assistant,
            flash_bytes_per_day=None if flash_mb_per_day is None else flash_mb_per_day * 1e6,
            spool_bytes=round(spool_mb * 1e6),
            spool_days=spool_days,
            spool_reserve=spool_reserve_percent * 1e-2,
            source=source,
            device_id=device_id,
            fleet=fleet,
            state_dir=state_dir or (bundle if deployed is not None else default_state_dir()),
            plan=plan,
            throttle=tuple(phases),
            variant=variant,
            use_policy=policy,
            seed=seed,
            faults=tuple(fault or ()),
            allow_downgrade=allow_downgrade,
            as_it_comes=period_ms is None,
        )
        gate = canary_gate(bundle, key) if deployed is None else deployed.gate
        request = request if deployed is None else deployed.request(request, opened)
        return FieldRun(opened, request, gate=gate, deployed=deployed, again=again, rest=rest)

    with _occupied(bundle, look_only=dry_run):
        while True:
            deployed = _deployed(bundle, trial_window, count=not dry_run, decided=folder_says)
            try:
                field = opened_and_checked(deployed)
                break
            except (BudgetError, IncompatibleError, IntegrityError, MissingDependencyError) as exc:
                if dry_run or deployed is None or not deployed.give_up(exc.message):
                    raise
        if dry_run:
            show_plan(field, as_json=as_json)
            return
        while True:
            with field, progress(f"run {field.bundle.manifest.name}", samples or length_of(field.source)) as bar:
                result = _watched(field, bar) if field.on_device else _simulated(field, bar)
            if not isinstance(result, Rest):
                break
            field = opened_and_checked(deployed, result)  # a simulated board that has its power back
    _end(result, trace, overwrite=overwrite, as_json=as_json)


def _end(result: FieldResult, trace: Path | None, *, overwrite: bool, as_json: bool) -> None:
    """Write and print what came of it.

    Raises InputError when the trace could not be written, BudgetError when nothing could be run.
    """
    from tamiyo_runtime.cli.render import emit_json
    from tamiyo_runtime.cli.run_trace import write_trace
    from tamiyo_runtime.cli.run_view import as_data, show
    from tamiyo_runtime.contracts.errors import BudgetError, InputError

    problem: InputError | None = None
    if trace is not None and result.summary.trace is not None:
        try:
            write_trace(result.summary.trace, trace, overwrite=overwrite)
        except InputError as exc:  # what was worked out is shown all the same
            trace, problem = None, exc
    if as_json:
        emit_json(as_data(result))
    else:
        show(result, trace)
    if problem is not None:
        raise problem
    if result.summary.samples and not result.summary.inferences:
        raise BudgetError(
            f"none of {result.summary.samples} samples could be run within the budget",
            hint="raise --latency-ms, --power-mw or --energy-burst-mj, or lengthen --period-ms",
        )


def _watched(field: FieldRun, bar: Progress) -> FieldResult:
    """Run it, the progress line and the service manager being told how it goes."""
    import time

    from tamiyo_runtime.cli.status_line import status_line
    from tamiyo_runtime.contracts.units import microjoules
    from tamiyo_runtime.service import Notifier

    notifier = Notifier.of_environment()

    def on_turn(turn: Turn) -> None:
        bar.show(status_line(turn), done=turn.earlier + turn.tally.samples)
        if notifier is not None:
            notifier.turn(time.monotonic(), lambda: status_line(turn))

    result = field.run(on_turn=on_turn, on_end=notifier.stopping if notifier else None, tell=bar.tell)
    bar.show(f"{result.summary.mode}, {microjoules(result.summary.energy_uj)}", done=result.summary.samples)
    return result


def _simulated(field: FieldRun, bar: Progress) -> FieldResult | Rest:
    """Run it on a virtual clock, which takes its turns as fast as it can; the rest when the board lost its power."""
    from simulators.faults.outage import PowerLost
    from tamiyo_runtime.cli.simulated import after_loss
    from tamiyo_runtime.contracts.records import Mode
    from tamiyo_runtime.contracts.units import microjoules
    from tamiyo_runtime.summary import Tally

    done = 0

    def on_sample(tally: Tally, mode: Mode) -> None:
        nonlocal done
        done = tally.samples
        bar.advance(remark=f"{mode}, {microjoules(tally.energy_uj)}")

    try:
        return field.run(on_sample, tell=bar.tell)
    except PowerLost as lost:
        field.lose_power()
        return after_loss(field, lost, done)


def _occupied(path: Path, *, look_only: bool) -> AbstractContextManager[None]:
    """Keeps other runs from a folder of `tamiyo update`: theirs is not a start of what is on trial."""
    if look_only or not path.is_dir():
        return nullcontext()
    from tamiyo_runtime.cli.deployed import occupied

    return occupied(path)


def _deployed(path: Path, window: int, *, count: bool, decided: Mapping[str, bool]) -> Deployed | None:
    """What `tamiyo update` has put into a folder; None for what is no folder, so that its parts are not loaded."""
    if not path.is_dir():
        return None
    from tamiyo_runtime.cli.deployed import Deployed

    return Deployed.of(path, window=window, count=count, decided=decided)
