"""``tamiyo run STATE_DIR``: runs what the slots of `tamiyo update` hold, and lets orders and updates into the run."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.admission import admit_once
from tamiyo_runtime.audit import Happened
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.render import note
from tamiyo_runtime.cli.trust import teller
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.control import Change, Control, Loaded
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.interpreters.base import GraphError
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.transport.offline import URL as OFFLINE
from tamiyo_runtime.transport.offline import OfflineTransport
from tamiyo_runtime.transport.topics import Address, Channel
from tamiyo_runtime.update.agent import Agent, Tools
from tamiyo_runtime.update.apply import identity_of
from tamiyo_runtime.update.disk import LocalDisk
from tamiyo_runtime.update.effect import budget_of
from tamiyo_runtime.update.exchange import Applied, Exchange, Running
from tamiyo_runtime.update.health import HealthLimits
from tamiyo_runtime.update.messages import cut_text
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import Record, Role
from tamiyo_runtime.update.store import BUNDLE, RECORD, Store
from tamiyo_runtime.update.thread import AgentThread

if TYPE_CHECKING:
    from tamiyo_runtime.cli.field import FieldRun
    from tamiyo_runtime.cli.field_terms import FieldRequest
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.reporter import Reporter
    from tamiyo_runtime.telemetry import Telemetry
    from tamiyo_runtime.transport.port import Transport

_PATIENCE_S = 30.0
_LEAVING_S = 1.0  # a run whose supervisor was killed dies a moment after it


@dataclass(frozen=True, slots=True)
class Deployed:
    """A state folder whose bundle is about to run. ``window``: samples of a trial.

    ``untold``: this start could not be written down, the disk being full. Updates wait for one that can be.
    """

    folder: Path
    record: Record
    window: int
    untold: bool = False

    hears = (Channel.ORDER, Channel.CHUNK)

    @classmethod
    def of(cls, path: Path, *, window: int, count: bool, decided: Mapping[str, bool]) -> Deployed | None:
        """The state folder at ``path``, its start counted as `Store.start` does; None for what is no such folder.

        ``count`` False only looks. ``decided``: options of `tamiyo run` that the folder decides, and whether they were
        given. Raises UsageError for one that was, InputError before the first bundle, IntegrityError.
        """
        if not (path / RECORD).is_file():
            return None
        for option in (option for option, given in decided.items() if given):
            raise UsageError(
                f"{option} cannot be given with a state folder, which says it itself",
                hint="change it by an order: tamiyo update push, or tamiyo update obey",
            )
        disk = LocalDisk(path)
        if not count:
            return cls(path, Store.open(disk).record, window)
        with disk.locked(patience_s=_PATIENCE_S):
            store = Store.open(disk)
            started = store.start()
        if started.untold:
            note(f"warning: {started.untold}; this start is not counted, and updates wait for one that is")
        if started.went_back:
            note(f"went back to the other slot: {started.went_back}")
            teller(path)(Happened.ROLLBACK, why=started.went_back, running=store.record.running)
        return cls(path, store.record, window, untold=started.untold is not None)

    def give_up(self, why: str) -> bool:
        """Go back to the other slot if what cannot start is on trial; whether there is something else to start."""
        disk = LocalDisk(self.folder)
        with disk.locked(patience_s=_PATIENCE_S):
            store = Store.open(disk)
            if not store.record.on_trial:
                return False
            store.fail(cut_text(why))
        note(f"went back to the other slot: {why}")
        teller(self.folder)(Happened.ROLLBACK, why=why, running=store.record.running)
        return True

    @property
    def path(self) -> Path:
        """The bundle that runs."""
        return self.folder / str(self.record.running) / BUNDLE

    def open(self) -> Bundle:
        """Open it with the key that it was verified with."""
        return Bundle.open(self.path, trusted=self.record.trust_of(str(self.record.running)))

    def gate(self, bundle: Bundle) -> None:
        """The canary, unless it came back from this bundle before."""
        admit_once(bundle, self.path, trusted=self.record.trust_of(str(self.record.running)))

    def budget(self, own: Budget) -> Budget:
        """The limits that were ordered, or the bundle's own."""
        return budget_of(self.record.budget, own)

    def request(self, request: FieldRequest, bundle: Bundle) -> FieldRequest:
        """The request of a run with what the folder says itself."""
        variant = _variant(request.variant, bundle)
        if variant != request.variant:
            note(
                f"warning: {bundle.manifest.name} has no variant '{request.variant}'; the first that can be run is used"
            )
        record = self.record
        return replace(request, device_id=record.device, fleet=record.fleet, allow_downgrade=True, variant=variant)

    def about(self, field: FieldRun) -> dict[str, str]:
        """What the birth message says of this: ``all``, or ``orders`` where the link has no room for bundles."""
        if self.untold:
            return {}
        return {"update": "all" if _wide(field) else "orders"}

    @contextlib.contextmanager
    def attached(self, field: FieldRun, reporter: Reporter, telemetry: Telemetry | None) -> Iterator[Control]:
        """Orders and updates while the block runs, and SIGHUP to look at once. On the thread that runs the samples."""
        clock = field.board.clock

        def tell(event: Event, value: int, detail: str) -> None:
            reporter.event(EventRecord(t_ms=int(clock.now_s() * 1e3), event=event, value=value, detail=detail))

        disk = LocalDisk(self.folder)
        running = self._running(field)
        exchange = Exchange(running, tell)
        if not self.record.policy:
            applied = replace(running.applied, use_policy=False)
            exchange.hand(replace(running, applied=applied), Change(use_policy=False))
        if self.untold:  # an agent would go by the record on the disk, which does not know what runs
            with _deaf_to_hangups():
                yield exchange
            return
        agent = Agent(
            disk,
            telemetry.transport if telemetry is not None else self._offline(),
            exchange,
            Tools(
                test=lambda name: _test(self.folder / name, disk),
                load=lambda name: _load(self.folder, name, disk, field.request.variant),
                clock_s=lambda: int(time.time()),
                lock=disk.locked,
            ),
            limits=HealthLimits(window=self.window),
            wide=_wide(field),
        )
        thread = AgentThread(agent)
        before: Any = signal.signal(signal.SIGHUP, lambda *_: thread.wake())
        thread.start()
        try:
            yield exchange
        except GraphError as exc:
            if thread.crashed(exc.message):
                note("the bundle on trial is given up: start again, and what ran before runs")
            raise
        finally:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing left to look at, and nobody to wake
            thread.close()
            exchange.drain()
            signal.signal(signal.SIGHUP, before)
            if thread.failure is not None:
                note(f"warning: updates were held up: {thread.failure}")

    def _offline(self) -> Transport:
        """Without a broker, what is done to the folder by hand is still noticed."""
        return OfflineTransport(OFFLINE, Address(self.record.fleet, self.record.device), {})

    def _running(self, field: FieldRun) -> Running:
        slot = self.record.slots[str(self.record.running)]
        applied = Applied(sha256=str(slot.sha256), budget=self.record.budget, use_policy=True)
        own = field.bundle.manifest.budget
        return Running(applied=applied, own_budget=own, runnables=field.executor.runnables)


@contextlib.contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Keep other runs from a state folder while the block runs; nothing for what is no such folder.

    To be entered before the start is counted. Raises BusyError when there is a run.
    """
    with LocalDisk(path).occupied(patience_s=_LEAVING_S) if (path / RECORD).is_file() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    before: Any = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _wide(field: FieldRun) -> bool:
    return math.isinf(field.link.sustainable_bytes_per_s())


def _test(path: Path, disk: LocalDisk) -> Identity:
    """Open what has arrived, and let the canary run it; raises IntegrityError when it is not to be run here."""
    trusted = Store.open(disk).record.trust(Role.BUNDLE)
    bundle = Bundle.open(path, trusted=trusted)
    admit_once(bundle, path, trusted=trusted, again=True)  # a restart need not
    return identity_of(bundle)


def _load(folder: Path, name: str, disk: LocalDisk, variant: str | None) -> Loaded:
    """The bundle of a slot, ready to run; tried first when it was another machine or user that verified it."""
    record = Store.open(disk).record
    trusted = record.trust_of(name.partition("/")[0])
    bundle = Bundle.open(folder / name, trusted=trusted)
    admit_once(bundle, folder / name, trusted=trusted)
    executor = Executor(bundle, _variant(variant, bundle))
    return Loaded(bundle=bundle, executor=executor, policy=Policy.of(bundle, executor.variant.format))


def _variant(asked: str | None, bundle: Bundle) -> str | None:
    """The variant that was asked for where the bundle has it: the next bundle need not, and is to run all the same."""
    return asked if asked in {variant.id for variant in bundle.manifest.variants} else None
