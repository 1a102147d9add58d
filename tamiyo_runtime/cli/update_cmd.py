"""``tamiyo update``: change the bundle of a device without a way to break it, and obey signed orders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tamiyo_runtime.audit import Happened, Scalar
from tamiyo_runtime.cli.update_office import estimate, sign
from tamiyo_runtime.cli.update_push import push

if TYPE_CHECKING:
    from tamiyo_runtime.update.health import Judgement
    from tamiyo_runtime.update.record import Record
    from tamiyo_runtime.update.store import Store

_PATIENCE_S = 30.0  # a running device may be testing a bundle
_HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings=_HELP,
    help="Change a device's bundle: two slots, a trial, and a way back.",
)
app.command()(sign)
app.command()(push)
app.command()(estimate)
_StateDir = Annotated[Path, typer.Argument(help="the device's state folder", metavar="STATE_DIR")]
_AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]


@app.command()
def init(
    state_dir: _StateDir,
    *,
    device: Annotated[str, typer.Option(help="name of this device")],
    key: Annotated[list[Path], typer.Option(help="public key whose orders are obeyed and whose bundles run here")],
    bundle_key: Annotated[
        list[Path] | None, typer.Option(help="public key for bundles; those of --key then sign orders only")
    ] = None,
    fleet: Annotated[str, typer.Option(help="name of its fleet")] = "fleet",
) -> None:
    """Make a state folder. Keys are changed later by signed orders only.

    Example: tamiyo update init /var/lib/tamiyo --device pump-7 --key orders.pub --bundle-key factory.pub
    """
    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.files import private_folder
    from tamiyo_runtime.signing import PublicKey
    from tamiyo_runtime.transport.topics import Address
    from tamiyo_runtime.update.disk import LocalDisk
    from tamiyo_runtime.update.record import Role, TrustedKey, new_record
    from tamiyo_runtime.update.store import Store

    Address(fleet, device)  # which allows less than the record: names go into topics
    roles: dict[PublicKey, tuple[Role, ...]] = {}
    for path in key:
        roles[PublicKey.load(path)] = (Role.COMMAND,) if bundle_key else (Role.COMMAND, Role.BUNDLE)
    for path in bundle_key or []:
        public = PublicKey.load(path)
        roles[public] = (*roles.get(public, ()), Role.BUNDLE)
    trusted = tuple(TrustedKey(public=public.raw.hex(), roles=of) for public, of in roles.items())
    record = new_record(device, fleet, trusted)
    try:
        private_folder(state_dir)
    except OSError as exc:
        raise InputError(f"cannot make {state_dir}: {exc.strerror}", hint="check the path and permissions") from exc
    disk = LocalDisk(state_dir)
    with disk.locked():
        Store.create(disk, record)
        _tell(state_dir, Store.open(disk), Happened.KEY, why="made", keys=", ".join(k.key.short_id for k in trusted))
    say(f"{state_dir} is the state of '{device}' in '{fleet}', with {len(trusted)} trusted keys")
    say(f"Next:  tamiyo update apply {state_dir} BUNDLE")


@app.command()
def apply(
    state_dir: _StateDir,
    bundle: Annotated[Path, typer.Argument(help="a bundle, as `tamiyo export` writes it")],
    *,
    again: Annotated[bool, typer.Option("--again", help="also when it was rejected here before")] = False,
) -> None:
    """Put a bundle into the idle slot, verify it and switch to it on trial. Given again after a power cut, it goes on.

    Example: tamiyo update apply /var/lib/tamiyo digits-2.tamiyo
    """
    with _opened(state_dir) as store:
        _install(store, state_dir, bundle, again=again)


@app.command()
def start(state_dir: _StateDir, *, as_json: _AsJson = False) -> None:
    """Print the path of the bundle to run. To be called at every start: it counts the starts of a trial.

    Example: tamiyo run "$(tamiyo update start /var/lib/tamiyo)" --allow-downgrade
    """
    from tamiyo_runtime.cli.render import emit_json, note, say

    with _opened(state_dir) as store:
        found = store.start()
        if found.went_back:
            _tell(state_dir, store, Happened.ROLLBACK, why=found.went_back)
    path = (state_dir / found.file).resolve()
    if as_json:
        options = run_options(store.record)
        emit_json({"bundle": str(path), "run_options": options, "went_back": found.went_back})
        return
    if found.went_back:
        note(f"went back to the other slot: {found.went_back}")
    say(str(path))


@app.command()
def status(state_dir: _StateDir, *, as_json: _AsJson = False) -> None:
    """Show the slots, what runs, what was ordered, and how to run it.

    Example: tamiyo update status /var/lib/tamiyo
    """
    from tamiyo_runtime.cli.render import emit_json, say, table
    from tamiyo_runtime.contracts.document import dump
    from tamiyo_runtime.update.disk import LocalDisk
    from tamiyo_runtime.update.store import BUNDLE, Store

    store = Store.open(LocalDisk(state_dir))
    record, receiver = store.record, store.resume()
    arrived = None if receiver is None else (receiver.received, receiver.chunks.count)
    if as_json:
        emit_json({**dump(record), "idle": record.idle, "run_options": run_options(record), "chunks_received": arrived})
        return
    rows = [
        [
            name,
            slot.state,
            "runs" if name == record.running else "",
            slot.name,
            slot.version,
            slot.sha256[:16] if slot.sha256 else None,
            slot.reason or "",
        ]
        for name, slot in sorted(record.slots.items())
    ]
    say(f"device           {record.device} in {record.fleet}")
    table(["slot", "state", "", "bundle", "version", "sha256", "remark"], rows)
    if arrived:
        say(f"arriving         {arrived[0]} of {arrived[1]} chunks")
    if record.on_trial:
        say(f"trial            started {record.starts} times")
    if record.offer is not None:
        reach = "this device takes it" if record.offer.reaches(record.device) else "not this device yet"
        say(f"offered          {record.offer.sha256[:16]} to {record.offer.stage_percent} % of the fleet: {reach}")
    keys = ", ".join(f"{key.key.short_id} ({' and '.join(key.roles)})" for key in record.keys)
    say(f"keys             {keys}; {len(record.revoked)} revoked")
    if record.running is not None:
        path = state_dir / record.running / BUNDLE
        say(f"run it           tamiyo run {state_dir}")
        say(f"or the file      tamiyo run {path} {' '.join(run_options(record))}")


@app.command()
def confirm(
    state_dir: _StateDir,
    *,
    figures: Annotated[
        Path | None, typer.Option(help="decide by these figures, as `tamiyo run --json` prints them")
    ] = None,
    window: Annotated[int, typer.Option(help="samples that the figures must cover")] = 1000,
    max_misses: Annotated[float, typer.Option(help="share of inferences that may miss the deadline")] = 0.01,
    max_policy_failures: Annotated[
        float, typer.Option(help="share of inferences without an answer of the policy")
    ] = 0.01,
    max_skips: Annotated[float, typer.Option(help="share of samples that may be skipped")] = 0.05,
    max_latency_ratio: Annotated[float, typer.Option(help="of measured p99 over the estimate's upper end")] = 1.5,
    as_json: _AsJson = False,
) -> None:
    """Keep the bundle on trial. With --figures the figures decide: keep it, go back (exit 3), or wait for more.

    Example: tamiyo update confirm /var/lib/tamiyo --figures run.json
    """
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.cli.render import emit_json, say
    from tamiyo_runtime.contracts.document import parse_json
    from tamiyo_runtime.contracts.errors import BudgetError
    from tamiyo_runtime.files import read_bytes
    from tamiyo_runtime.update.health import Figures, HealthLimits, Verdict, judge
    from tamiyo_runtime.update.record import Role
    from tamiyo_runtime.update.states import IllegalMoveError
    from tamiyo_runtime.update.store import BUNDLE

    limits = HealthLimits(
        window=window,
        misses=max_misses,
        policy=max_policy_failures,
        skips=max_skips,
        latency_ratio=max_latency_ratio,
    )
    with _opened(state_dir) as store:
        if figures is None:
            store.confirm()
            _tell(state_dir, store, Happened.UPDATE, why="confirmed by hand")
            say(f"slot {store.record.running} is confirmed")
            return
        if not store.record.on_trial:
            raise IllegalMoveError("nothing is on trial", hint=f"tamiyo update status {state_dir}")
        path = state_dir / str(store.record.running) / BUNDLE
        manifest = Bundle.open(path, trusted=store.record.trust(Role.BUNDLE)).manifest
        data = parse_json(read_bytes(figures, limit_bytes=4 << 20, what="figures"), path=figures.name)
        judgement = judge(Figures.of_run(data, manifest), limits)
        if judgement.verdict is Verdict.CONFIRM:
            store.confirm()
            _tell(state_dir, store, Happened.UPDATE, why="confirmed by its figures")
        elif judgement.verdict is Verdict.ROLLBACK:
            store.fail(judgement.reason)
            _tell(state_dir, store, Happened.ROLLBACK, why=judgement.reason)
    if as_json:
        emit_json(_judgement(judgement))
    else:
        _show(judgement)
    if judgement.verdict is Verdict.ROLLBACK:
        raise BudgetError(
            f"the trial failed ({judgement.reason}); slot {store.record.running} runs again",
            hint="a device that runs from this folder has switched back by itself; restart one that runs the file",
        )


@app.command()
def rollback(
    state_dir: _StateDir,
    *,
    reason: Annotated[str, typer.Option(help="kept beside the slot")] = "given up by hand",
    allow_downgrade: Annotated[
        bool, typer.Option("--allow-downgrade", help="also to a version below one that was confirmed here")
    ] = False,
) -> None:
    """Give up what runs and go back to the other slot.

    Example: tamiyo update rollback /var/lib/tamiyo
    """
    from tamiyo_runtime.cli.render import say

    with _opened(state_dir) as store:
        store.fail(reason, allow_downgrade=allow_downgrade)
        _tell(state_dir, store, Happened.ROLLBACK, why=reason)
        say(f"slot {store.record.running} runs again; a device that runs from this folder switches by itself")


@app.command()
def obey(
    state_dir: _StateDir,
    order: Annotated[Path, typer.Argument(help="a signed order, as `tamiyo update sign` writes it")],
    *,
    bundle: Annotated[
        Path | None, typer.Option(help="the bundle that is offered: applied if it is for this device")
    ] = None,
) -> None:
    """Check a signed order and obey it; exit 6 when it is refused. Each order is obeyed once.

    Example: tamiyo update obey /var/lib/tamiyo o.json
    """
    import time

    from tamiyo_runtime.cli.render import say
    from tamiyo_runtime.contracts.errors import InputError, IntegrityError
    from tamiyo_runtime.files import read_bytes
    from tamiyo_runtime.update.apply import list_of
    from tamiyo_runtime.update.commands import LIMIT_BYTES, decide

    envelope = read_bytes(order, limit_bytes=2 * LIMIT_BYTES, what="order")
    with _opened(state_dir) as store:
        decision = decide(envelope, store.record, int(time.time()))
        if decision.refusal is not None or decision.command is None:
            _tell(state_dir, store, Happened.REFUSED, refusal=decision.refusal, why=decision.problem)
            raise IntegrityError(
                f"the order is refused ({decision.refusal}): {decision.problem}", hint="nothing was changed"
            )
        store.commit(decision.record)
        what = decision.command.orders[0]
        kind = Happened.KEY if what == "keys" else Happened.ORDER
        _tell(state_dir, store, kind, order=what, counter=decision.command.counter)
        say(f"obeyed           {decision.command.orders[0]}, counter {decision.command.counter}")
        if bundle is None:
            return
        offer = store.record.offer
        if offer is None or list_of(bundle).sha256.hex() != offer.sha256:
            raise InputError(f"{bundle} is not the bundle that is offered", hint=f"tamiyo update status {state_dir}")
        if not offer.reaches(store.record.device):
            say(f"waits            the offer is for {offer.stage_percent} % of the fleet, and not yet for this device")
            return
        _install(store, state_dir, bundle, again=False)


@contextmanager
def _opened(state_dir: Path) -> Iterator[Store]:
    """The store of a state folder, with nobody else in it."""
    from tamiyo_runtime.contracts.errors import InputError
    from tamiyo_runtime.update.disk import LocalDisk
    from tamiyo_runtime.update.store import Store

    if not state_dir.is_dir():
        raise InputError(f"no such folder: {state_dir}", hint=f"make it: tamiyo update init {state_dir}")
    disk = LocalDisk(state_dir)
    with disk.locked(patience_s=_PATIENCE_S):
        yield Store.open(disk)


def _install(store: Store, state_dir: Path, bundle: Path, *, again: bool) -> None:
    from tamiyo_runtime.cli.render import progress, say
    from tamiyo_runtime.cli.trust import refuse_other
    from tamiyo_runtime.contracts.errors import TamiyoError
    from tamiyo_runtime.update.apply import install, list_of, verifier
    from tamiyo_runtime.update.record import Role

    refuse_other(bundle)
    verify = verifier(state_dir, store.record.trust(Role.BUNDLE))
    with progress("apply", list_of(bundle).count) as bar:
        try:
            install(store, bundle, verify, again=again, progress=lambda receiver: bar.show(done=receiver.received))
        except TamiyoError as exc:
            _tell(state_dir, store, Happened.UPDATE, why=f"refused: {exc.message}")
            raise
    record = store.record
    _tell(state_dir, store, Happened.UPDATE, why="on trial" if record.on_trial else "confirmed: the first one")
    slot = record.slots[str(record.running)]
    kind = "on trial" if record.on_trial else "confirmed: the first bundle has nothing to go back to"
    say(f"slot {record.running}           {slot.name} version {slot.version}, {kind}")
    say(f"Next:  tamiyo run {state_dir}, unless it runs already: then it takes the bundle over by itself")


def _tell(state_dir: Path, store: Store, kind: Happened, **data: Scalar) -> None:
    """Write down in the audit log what was done, and which bundle runs after it."""
    from tamiyo_runtime.cli.trust import teller

    running = store.record.running
    slot = store.record.slots[running] if running is not None else None
    teller(state_dir)(kind, **data, running=running, bundle=slot and slot.name, sha256=slot and slot.sha256)


def run_options(record: Record) -> list[str]:
    """What was ordered, as options of ``tamiyo run``.

    The slots hold the rule against old versions themselves, and count a version only when it is confirmed; the record
    of ``tamiyo run`` would keep the bundle from running that a trial fell back to.
    """
    options = ["--allow-downgrade"]
    budget = record.budget
    if budget is not None:
        options += ["--latency-ms", f"{budget.latency_ms or 0:g}"]
        if budget.power_mw is None or budget.energy_burst_uj is None:
            options += ["--power-mw", "0"]
        else:
            options += ["--power-mw", f"{budget.power_mw:g}", "--energy-burst-mj", f"{budget.energy_burst_uj * 1e-3:g}"]
        if budget.temperature_c is not None:
            options += ["--temperature-c", f"{budget.temperature_c:g}"]
    if not record.policy:
        options += ["--no-policy"]
    return options


def _judgement(judgement: Judgement) -> dict[str, Any]:
    from dataclasses import asdict

    return {"verdict": judgement.verdict, "findings": [asdict(finding) for finding in judgement.findings]}


def _show(judgement: Judgement) -> None:
    from tamiyo_runtime.cli.render import say, table

    def text(value: float | str | None) -> str | None:
        return f"{value:.4g}" if isinstance(value, float | int) else value

    table(
        ["check", "found", "allowed", ""],
        [[f.check, text(f.found), text(f.limit), "BROKEN" if f.broken else "ok"] for f in judgement.findings],
    )
    say(f"verdict          {judgement.verdict}")
