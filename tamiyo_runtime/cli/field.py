"""A bundle in the field: board, link, broker, collector and session put together. What `run` and `demo` share.

Everything is opened and checked before the first sample runs, and closed in reverse order whatever happens. The
collector is the operator's side; it runs here only where a command starts a broker of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sized
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.audit import AuditLog, Auditor, Happened
from tamiyo_runtime.audited import Audited
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.damaged_spool import close, served
from tamiyo_runtime.cli.delivering import FLUSH_S, deliver, ended_by_signals, look_for_broker
from tamiyo_runtime.cli.field_checks import BROKERS, NO_BROKER, check_broker, check_flash, check_home, greet, open_link
from tamiyo_runtime.cli.field_terms import FieldRequest, FieldResult
from tamiyo_runtime.cli.render import hushed, note
from tamiyo_runtime.cli.simulated import Later, Rest, left, open_board, rest_of_mission, rig_of
from tamiyo_runtime.cli.trust import write_down
from tamiyo_runtime.contracts.errors import DowngradeError, IntegrityError
from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.files import private_folder
from tamiyo_runtime.installed import check_version
from tamiyo_runtime.link import Link
from tamiyo_runtime.meters import Board, MeteredBoard, VirtualClock
from tamiyo_runtime.meters.attribution import Total
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.reporter import Reporter, Silent
from tamiyo_runtime.session import Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.sources.base import Source, Stream
from tamiyo_runtime.summary import Tally, Turn

if TYPE_CHECKING:
    from tamiyo_runtime.cli.deployed import Deployed
    from tamiyo_runtime.contracts.budget import Budget
    from tamiyo_runtime.control import Control
    from tamiyo_runtime.home_assistant import HomeAssistant
    from tamiyo_runtime.telemetry import Telemetry

_SETTLE_S = 2.0  # a simulated clock waits that long, really, for the ack of a frame


class FieldRun:
    """The parts, opened and checked. Use as a context manager, then `run`."""

    def __init__(
        self,
        bundle: Bundle,
        request: FieldRequest,
        *,
        gate: Callable[[Bundle], None] | None = None,
        deployed: Deployed | None = None,
        again: Callable[[], tuple[Bundle, Budget | None]] | None = None,
        rest: Rest | None = None,
    ) -> None:
        """Open what needs no network; raises TamiyoErrors for anything that cannot work.

        ``gate``: what a bundle has to pass, on this machine as the board, before any of its graphs is loaded.
        ``deployed``: the state folder that the bundle is from, by which the run may be changed. ``again``: opens the
        bundle anew when the device gets SIGHUP, with the budget to run it under, None for the one that holds then.
        ``rest``: of a simulated board that lost its power: what is left to do after the restart.
        """
        self.bundle, self.request, self._deployed = bundle, request, deployed
        self.gate, self._again = gate, again
        check_broker(request.broker)
        self.rest, rig = rest, rig_of(request)
        self.board: Board = rest.board if rest else open_board(bundle, request, rig)
        self._downgrade = self._check_version()  # before anything of an old bundle is loaded
        if self.on_device and gate is not None:
            gate(bundle)
        self.link: Link = open_link(request.link)
        if request.flash_bytes_per_day is not None:
            check_flash(request.broker)
        if request.home_assistant:
            check_home(request.broker, self.link)
        self.source: Source | Stream = open_source(request.source, bundle)
        if rig is not None and isinstance(self.board.clock, VirtualClock):
            self.source = rig.disturbed(self.source, bundle.manifest.input, clock=self.board.clock, seed=request.seed)
        with hushed():
            in_memory = bundle if rig is None else rig.in_memory(bundle, seed=request.seed)
            self.executor = Executor(in_memory, request.variant)
            self.policy = Policy.of(bundle, self.executor.variant.format) if request.use_policy else None
        live = getattr(self.source, "live", False)
        self.plan = (
            replace(request.plan, period_s=0.0) if live and self.on_device and request.as_it_comes else request.plan
        )
        if rest is not None:
            self.plan = replace(self.plan, samples=left(self, rest), mission=rest_of_mission(self, rest))
            self.source = Later(self.source, rest.gone) if isinstance(self.source, Sized) else self.source
        self._session(Silent())  # a budget that cannot be met is found out before anything is started
        self._stack = contextlib.ExitStack()
        self._telemetry: Telemetry | None = None
        self._auditor: Auditor | None = None
        self._checkpoint: str | None = None
        self._collector: Any = None
        self.broker = NO_BROKER

    def __enter__(self) -> FieldRun:
        """Start broker and collector, if they are ours, and telemetry; on a device, write down the version."""
        if self.on_device:
            write_down(self.bundle)
        with contextlib.ExitStack() as stack:
            if self.on_device:
                self._audit(stack)
            if self.request.broker != NO_BROKER:
                self._connect(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: object) -> None:
        if exc is not None and self._auditor is not None:
            self._auditor.tell(Happened.STOP, why=f"{type(exc).__name__}: {exc}")
        self._stack.close()

    def run(
        self,
        on_sample: Callable[[Tally, Mode], None] | None = None,
        on_turn: Callable[[Turn], None] | None = None,
        on_end: Callable[[], None] | None = None,
        tell: Callable[[str], None] = note,
    ) -> FieldResult:
        """Work through the samples, then deliver what is left; SIGTERM and SIGINT end either early and cleanly.

        ``on_end`` is called between the two. ``tell`` is told, in a line, when delivery takes a while.
        """
        telemetry = self._telemetry
        reporter: Reporter = telemetry or Silent()
        if self._auditor is not None:
            reporter = Audited(reporter, self._auditor)
        with contextlib.ExitStack() as steered:
            control = steered.enter_context(self._steered(reporter))
            session = self._session(reporter, on_sample, on_turn, control)
            with ended_by_signals(session.stop):
                summary = served(session, self._spool_path)
                steered.close()
                if self._auditor is not None:
                    self._auditor.tell(Happened.STOP, samples=summary.samples, mode=summary.mode)
                if on_end is not None:
                    on_end()
                delivered = deliver(telemetry, self.board.clock, tell) if telemetry is not None else None
        if telemetry is None:
            return FieldResult(
                summary=summary,
                link=self.link.label,
                broker=self.broker,
                board_total=self._total,
                restarts=self.rest.restarts if self.rest else (),
            )
        worst_hour_s = getattr(self.link, "worst_hour_s", None)
        return FieldResult(
            summary=summary,
            link=self.link.label,
            broker=self.broker,
            counters=telemetry.counters(),
            waiting=telemetry.waiting,
            ledger=self._collector.store.ledger() if self._collector else None,
            delivered=delivered,
            trouble=None if delivered else telemetry.trouble(),
            spool=self._spool_path,
            store=self._store_path if self._collector else None,
            airtime_worst_hour_s=worst_hour_s() if worst_hour_s else None,
            board_total=self._total,
            restarts=self.rest.restarts if self.rest else (),
        )

    def lose_power(self) -> None:
        """Let go of telemetry as a board does whose power fails; what is only in memory is lost."""
        if self._telemetry is not None:
            self._telemetry.lose_power()
            self._telemetry = None

    def _hang_up(self) -> None:
        if self._telemetry is not None:
            close(self._telemetry)

    @property
    def _total(self) -> Total | None:
        total = self.board.total if isinstance(self.board, MeteredBoard) else None
        return total if total is not None and total.seconds else None

    @property
    def on_device(self) -> bool:
        """Whether this machine is the board, and not a simulation of one."""
        return not isinstance(self.board.clock, VirtualClock)

    @property
    def _spool_path(self) -> Path:
        return self.request.state_dir / f"{self.request.device_id}.spool"

    @property
    def _store_path(self) -> Path:
        return self.request.state_dir / "telemetry.db"

    def _check_version(self) -> str | None:
        """What is wrong with the bundle's version, if it is allowed to run all the same."""
        if self.on_device:
            try:
                check_version(self.bundle)
            except DowngradeError as exc:
                if not self.request.allow_downgrade:
                    raise
                return exc.message
            except IntegrityError:  # a damaged record
                if not self.request.allow_downgrade:
                    raise
        return None

    def _audit(self, stack: contextlib.ExitStack) -> None:
        """Begin to write down what this device may have to answer for."""
        log = AuditLog(self._deployed.folder if self._deployed else self.request.state_dir)
        self._auditor = Auditor(log, on_trouble=lambda what: note(f"warning: {what}"))
        stack.callback(self._auditor.close)
        self._checkpoint = log.checkpoint()
        if self._downgrade is not None:
            self._auditor.tell(Happened.DOWNGRADE, why=self._downgrade)
        manifest = self.bundle.manifest
        self._auditor.tell(
            Happened.START,
            bundle=manifest.name,
            version=manifest.version,
            digest=self.bundle.digest,
            signer=self.bundle.signer.short_id,
            variant=self.executor.variant.id,
        )

    def _connect(self, stack: contextlib.ExitStack) -> None:
        from tamiyo_runtime.telemetry_opening import open_telemetry
        from tamiyo_runtime.uplink import Pace

        request = self.request
        url = self.broker = request.broker
        if request.broker in BROKERS:
            from collector.service import Collector
            from tamiyo_runtime.transport.broker import start_broker

            private_folder(request.state_dir)
            handle = stack.enter_context(start_broker(request.broker, request.state_dir / "broker"))
            url, self.broker = handle.url, f"{handle.name} at {handle.url} ({handle.notes})"
            self._collector = Collector(url, self._store_path, request.fleet)
            stack.callback(self._collector.stop)
            self._collector.start(timeout_s=FLUSH_S)
        elif request.access is not None:
            greet(url, request.access)
        home = self._home(stack, url) if request.home_assistant else None
        self._telemetry = open_telemetry(
            spool=self._spool_path,
            url=url,
            fleet=request.fleet,
            device=request.device_id,
            bundle=self.bundle.digest[:8],
            link=self.link,
            clock=self.board.clock,
            about=self._about(),
            budget=self.request.plan.budget or self.bundle.manifest.budget,
            pace=Pace(settle_s=_SETTLE_S) if not self.on_device else None,
            access=request.access,
            on_window=home.show if home else None,
            flash_bytes_per_day=request.flash_bytes_per_day,
            hears=self._deployed.hears if self._deployed else (),
            spool_bytes=request.spool_bytes,
            spool_days=request.spool_days,
            spool_reserve=request.spool_reserve,
        )
        stack.callback(self._hang_up)
        if self._collector is None and self.rest is None:  # told once, however often a board loses its power
            look_for_broker(self._telemetry, url, self._spool_path)
        if (why := self._telemetry.in_memory) is not None:
            note(
                f"warning: the spool cannot be written: {why}; until there is room, telemetry waits in memory "
                "and ends with this process"
            )

    def _steered(self, reporter: Reporter) -> contextlib.AbstractContextManager[Control | None]:
        """Whoever may change the run while it goes on."""
        if self._deployed is not None:
            return self._deployed.attached(self, reporter, self._telemetry)
        if self._again is None or not self.on_device:
            return contextlib.nullcontext()
        from tamiyo_runtime.cli.reload import reload_of

        return reload_of(self, self._again, reporter).listening()

    def _about(self) -> dict[str, str]:
        """What the device says of itself when it appears; the audit log's head, so that its end cannot be cut off."""
        about = {"board": self.board.label, "link": self.link.label, "interpreter": self.executor.interpreter}
        if self._deployed is not None:
            about |= self._deployed.about(self)
        return {**about, "audit": self._checkpoint} if self._checkpoint else about

    def _home(self, stack: contextlib.ExitStack, url: str) -> HomeAssistant:
        from tamiyo_runtime.home_assistant import HomeAssistant
        from tamiyo_runtime.transport.topics import Address

        request = self.request
        home = HomeAssistant(
            url,
            Address(request.fleet, request.device_id),
            board=self.board.label,
            bundle=f"{self.bundle.manifest.name} {self.bundle.digest[:8]}",
            access=request.access,
        )
        stack.callback(home.close)
        home.start()
        return home

    def _session(
        self,
        reporter: Reporter,
        on_sample: Callable[[Tally, Mode], None] | None = None,
        on_turn: Callable[[Turn], None] | None = None,
        control: Control | None = None,
    ) -> Session:
        return Session(
            self.bundle.manifest,
            self.executor,
            board=self.board,
            source=self.source,
            reporter=reporter,
            policy=self.policy,
            plan=self.plan,
            link_level=self.link.level,
            on_sample=on_sample,
            on_turn=on_turn,
            control=control,
        )
