"""The device's half of an update over the air: obeys orders, fetches what is offered, tries it, keeps it or goes back.

`Agent.step` looks at the record, at what came in and at how the run is doing, and does what is next; called again and
again, from a thread of its own, it gets there from wherever it is, also after a restart, since all it goes by is the
record. Three rules: the record is committed before anything is said or run; a bundle is opened, tested and loaded here,
so the loop gets it ready to run; and what runs is made to agree with the record, whoever changed that, which is why
``tamiyo update`` beside a running device needs no other way in.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeVar

from tamiyo_runtime.contracts.errors import IntegrityError, SchemaError, TamiyoError
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.control import Change, Loaded
from tamiyo_runtime.transport.port import Transport
from tamiyo_runtime.transport.topics import Channel
from tamiyo_runtime.update import commands
from tamiyo_runtime.update.chunks import FRAME_BYTES
from tamiyo_runtime.update.disk import BusyError, Disk
from tamiyo_runtime.update.effect import budget_of
from tamiyo_runtime.update.exchange import Applied, Exchange, Running
from tamiyo_runtime.update.fetch import Fetch
from tamiyo_runtime.update.health import Figures, HealthLimits, Verdict, judge
from tamiyo_runtime.update.heard import Heard
from tamiyo_runtime.update.messages import MOST_PAYLOAD_BYTES, OrderReport, Outcome, Reported, cut_text, digest_of
from tamiyo_runtime.update.moves import Identity
from tamiyo_runtime.update.record import Offer, Record
from tamiyo_runtime.update.reports import report
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import BUNDLE, RECORD, Store

RETRY_S = 60.0
"""After which a step that failed for no fault of the bundle, as with a full disk, is tried again."""

_ORDERS_A_STEP = 4  # each costs a check of a signature
_REPORT_S = 0.5
_REPEAT_S = 60.0  # between two events that say the same of refused orders

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What an agent needs from outside.

    ``test``: opens and tests the file of that name on the disk; raises IntegrityError when it is not to be run here.
    ``load``: the file of a slot that passed, ready to run. ``clock_s``: seconds since 1970, 0 without a clock.
    ``lock``: keeps other processes from the state folder; raises BusyError when one is in it.
    """

    test: Callable[[str], Identity]
    load: Callable[[str], Loaded]
    clock_s: Callable[[], int]
    lock: Callable[[], AbstractContextManager[None]] = nullcontext


class Agent:
    """See the module's description.

    ``limits``: of a trial. ``wide``: the link has room for updates; without, orders are obeyed all the same, and
    nothing is sent but events. ``payload_bytes``: of a frame. One thread calls `step` and `nudge`; `exchange` is what
    the loop gets. Something runs already when an agent is made: raises InputError where there is no record.
    """

    def __init__(
        self,
        disk: Disk,
        transport: Transport,
        exchange: Exchange,
        tools: Tools,
        *,
        limits: HealthLimits | None = None,
        wide: bool = True,
        payload_bytes: int = MOST_PAYLOAD_BYTES,
    ) -> None:
        self._disk, self._transport, self._exchange, self._tools = disk, transport, exchange, tools
        self._limits = limits or HealthLimits()
        self._wide, self._payload_bytes = wide, payload_bytes
        self._seen = self._record_on_disk()  # first: what is done to the folder meanwhile must be found to be news
        self._store = Store.open(disk)
        self._heard = Heard()
        self._fetch: Fetch | None = None
        self._objected: Applied | None = None
        self._retry_s = -math.inf
        self._waits_for: str | None = None
        self._before: Figures | None = None  # of what ran before the last bundle was handed over
        self._verdict: Verdict | None = None
        self._order: OrderReport | None = None
        self._refused: Counter[str] = Counter()
        self._told: tuple[str, float] = ("", -math.inf)
        self._said: Reported | None = None
        self._say_s = -math.inf
        self._connected = False

    @property
    def record(self) -> Record:
        """What is durably on disk, as far as this agent knows."""
        return self._store.record

    @property
    def fetching(self) -> bool:
        """Whether chunks are on their way, so that the next step is worth taking soon."""
        return self._fetch is not None

    def step(self, now_s: float) -> None:
        """Do what is next, in bounded time but for testing and loading a bundle. ``now_s``: a clock that only rises."""
        orders = self._transport.receive(Channel.ORDER)
        self._heard.add(orders)
        if orders:
            self.nudge()
        try:
            self._look_at_disk()
            if now_s >= self._retry_s:
                self._obey_orders(now_s)
                self._hear_objection()
                self._judge()
                self._pursue(now_s)
                self._align()
        except BusyError:
            pass  # look again
        except TamiyoError as exc:
            self._waits_for, self._retry_s = exc.message, now_s + RETRY_S
        self._report(now_s)

    def nudge(self) -> None:
        """Somebody is there: try at once what waits."""
        self._retry_s = -math.inf
        self._said = None
        if self._fetch is not None:
            self._fetch.nudge()

    def crashed(self, reason: str, now_s: float) -> bool:
        """The run has ended in a fault: give the bundle up if it is on trial; whether another one is to be started."""
        try:
            self._look_at_disk()
            if self.record.on_trial:
                self._fail(reason)
                self._report(now_s, at_once=True)
                return True
        except TamiyoError:
            pass  # `Store.start` counts this start, and goes back by itself after a few
        return False

    # The state folder

    def _record_on_disk(self) -> bytes:
        return self._disk.read(RECORD, 0, self._disk.size(RECORD) or 0)

    def _look_at_disk(self) -> None:
        """Take over what ``tamiyo update`` did to the folder meanwhile."""
        found = self._record_on_disk()
        if found != self._seen:
            self._store = Store.open(self._disk)
            self._seen = found
            self._fetch = self._objected = None
            self._retry_s = -math.inf

    def _locked(self, work: Callable[[], T]) -> T:
        """Do something to the folder that nobody else is in, and that is as it was when it was last looked at."""
        with self._tools.lock():
            if self._record_on_disk() != self._seen:
                raise BusyError("the state folder was changed meanwhile")
            try:
                return work()
            finally:
                self._seen = self.record.to_bytes()

    # Orders

    def _obey_orders(self, now_s: float) -> None:
        for _ in range(_ORDERS_A_STEP):
            envelope = self._heard.head(self._tools.clock_s())
            if envelope is None:
                return
            self._obey(envelope, now_s)
            self._heard.done()

    def _obey(self, envelope: bytes, now_s: float) -> None:
        clock_s = self._tools.clock_s()
        decision = commands.decide(envelope, self.record, clock_s)
        command, digest = decision.command, digest_of(envelope)
        if command is not None and decision.refusal is None:
            self._locked(lambda: self._store.commit(decision.record))
            self._heard.forget_early()
            self._objected = None  # the order may be to try that again
            self._order = OrderReport(digest=digest, outcome=Outcome.OBEYED, counter=command.counter)
            self._exchange.say(Event.ORDER, command.counter, command.orders[0])
        elif command is not None and decision.repeated:
            self._order = OrderReport(digest=digest, outcome=Outcome.OBEYED, counter=command.counter)
        else:
            if command is not None and decision.refusal is commands.Refusal.TIME and clock_s < command.not_before_s:
                self._heard.keep_until(command.not_before_s)
            self._refuse(decision, digest, now_s)

    def _refuse(self, decision: commands.Decision, digest: str, now_s: float) -> None:
        reason, counter = str(decision.refusal), decision.command.counter if decision.command is not None else 0
        problem = cut_text(f"{reason}: {decision.problem}")
        self._refused[reason] += 1
        self._order = OrderReport(digest=digest, outcome=Outcome.REFUSED, counter=counter, problem=problem)
        if self._told[0] != reason or now_s >= self._told[1] + _REPEAT_S:
            self._told = reason, now_s
            self._exchange.say(Event.ORDER, 0, problem)

    # The transfer

    def _pursue(self, now_s: float) -> None:
        """Get the bundle that is offered, up to its trial."""
        offer = self._sought()
        if self._fetch is not None and (offer is None or self._fetch.offer.sha256 != offer.sha256):
            self._fetch = None
        if self._fetch is None:
            self._transport.receive(Channel.CHUNK)  # nobody asked for these
        self._waits_for = None
        if offer is None:
            return
        slot = self.record.slots[self.record.idle]
        if slot.sha256 == offer.sha256 and slot.state in {SlotState.STAGED, SlotState.VERIFIED}:
            self._try_out()
        elif self._wide:
            self._fetch = self._fetch or self._begin(offer)
            self._go_on(self._fetch, now_s)
        else:
            self._waits_for = "the bundle waits for a faster link"

    def _sought(self) -> Offer | None:
        record, offer = self.record, self.record.offer
        if offer is None or record.on_trial or offer.sha256 in record.rejected or not offer.reaches(record.device):
            return None
        return None if record.slots[str(record.running)].sha256 == offer.sha256 else offer

    def _begin(self, offer: Offer) -> Fetch:
        slot, receiver = self.record.slots[self.record.idle], None
        if slot.state is SlotState.RECEIVING and slot.sha256 == offer.sha256:
            receiver = self._store.resume()
        if receiver is not None and receiver.chunks.chunk_bytes + FRAME_BYTES > self._payload_bytes:
            receiver = None  # begun by hand, in chunks that no frame carries; what has arrived of it counts
        try:
            fetch = Fetch(
                offer,
                lambda chunks: self._locked(lambda: self._store.begin(chunks)),
                receiver=receiver,
                payload_bytes=self._payload_bytes,
            )
        except SchemaError as exc:
            raise IntegrityError(f"the offer cannot be: {exc.message}", hint="offer another bundle") from exc
        self._exchange.say(Event.UPDATE, 0, f"slot {self.record.idle} {SlotState.RECEIVING} {offer.sha256[:8]}")
        return fetch

    def _go_on(self, fetch: Fetch, now_s: float) -> None:
        for frame in self._transport.receive(Channel.CHUNK):
            if not fetch.done:
                fetch.take(frame, now_s)
        if not fetch.done:
            if self._transport.connected() and (want := fetch.want(now_s)) is not None:
                self._transport.publish(Channel.WANT, want.to_bytes(self.record.device))
            return
        receiver = fetch.receiver
        assert receiver is not None
        try:
            self._locked(lambda: self._store.finish(receiver))
        except IntegrityError:
            fetch.forget_list()
            raise
        self._fetch = None
        self._try_out()

    def _try_out(self) -> None:
        """Open and test what has arrived; what passes runs from the next commit on, on trial."""
        name = self.record.idle
        try:
            if self.record.slots[name].state is SlotState.STAGED:
                self._locked(lambda: self._store.verify(self._tools.test))
            self._locked(self._switch)
        except IntegrityError:
            self._say_slot(name)
            raise
        self._say_slot(name)

    def _switch(self) -> None:
        self._store.switch()
        self._store.start()  # counted before it runs, as every start of a trial is

    # The trial

    def _judge(self) -> None:
        """Confirm what is on trial or give it up, by the figures of the run."""
        record = self.record
        sha256 = str(record.slots[str(record.running)].sha256) if record.on_trial else None
        if sha256 is None:
            return
        figures = self._exchange.figures(sha256) if self._exchange.running.applied.sha256 == sha256 else None
        judgement = judge(figures, self._limits.beside(self._before)) if figures is not None else None
        self._verdict = judgement.verdict if judgement is not None else Verdict.WAIT
        if judgement is not None and self._verdict is Verdict.CONFIRM:
            self._locked(self._store.confirm)
            self._say_slot(str(record.running))
        elif judgement is not None and self._verdict is Verdict.ROLLBACK:
            self._fail(judgement.reason)

    def _fail(self, reason: str) -> None:
        name = str(self.record.running)
        self._locked(lambda: self._store.fail(cut_text(reason)))
        self._verdict = Verdict.ROLLBACK
        self._say_slot(name)

    # What runs

    @property
    def _wanted(self) -> Applied:
        """What is to run by the record."""
        record = self.record
        sha256 = str(record.slots[str(record.running)].sha256)
        return Applied(sha256=sha256, budget=record.budget, use_policy=record.policy)

    def _align(self) -> None:
        """Make the session run what the record says, whoever wrote that."""
        record, running, wanted = self.record, self._exchange.running, self._wanted
        if self._exchange.busy or wanted in (running.applied, self._objected):
            return
        loaded = None
        if wanted.sha256 != running.applied.sha256:
            try:
                loaded = self._tools.load(f"{record.running}/{BUNDLE}")
            except Exception as exc:  # whatever a bundle makes a library raise
                if not record.on_trial:
                    raise
                self._fail(exc.message if isinstance(exc, TamiyoError) else f"{type(exc).__name__}: {exc}")
                return
        if loaded is not None:
            self._before = self._exchange.figures(running.applied.sha256)
        own = loaded.bundle.manifest.budget if loaded is not None else running.own_budget
        runnables = loaded.executor.runnables if loaded is not None else running.runnables
        change = Change(loaded=loaded, budget=budget_of(record.budget, own), use_policy=record.policy)
        self._exchange.hand(Running(applied=wanted, own_budget=own, runnables=runnables), change)

    def _hear_objection(self) -> None:
        """The session could not do as the record says: the record follows it, or the change is not tried again."""
        objection = self._exchange.objection()
        if objection is None:
            return
        record, refused, applied = self.record, objection.refused, self._exchange.running.applied
        problem = cut_text(objection.problem)
        if refused.sha256 != applied.sha256:
            if record.on_trial and record.slots[str(record.running)].sha256 == refused.sha256:
                self._fail(problem)
            self._objected = refused  # not before: while the record stands it is handed over, and refused, again
            return
        if self._order is not None:
            self._order = replace(self._order, outcome=Outcome.UNDONE, problem=problem)
        if (record.budget, record.policy) == (refused.budget, refused.use_policy):
            before = replace(record, budget=applied.budget, policy=applied.use_policy)
            self._locked(lambda: self._store.commit(before))
        self._exchange.say(Event.ORDER, 0, f"undone: {problem}")

    # What is said of it

    def _say_slot(self, name: str) -> None:
        slot = self.record.slots[name]
        words = [f"slot {name}", slot.state, slot.name, slot.version, slot.reason]
        text = " ".join(str(word) for word in words if word is not None)
        self._exchange.say(Event.UPDATE, slot.version or 0, cut_text(text))

    def _report(self, now_s: float, *, at_once: bool = False) -> None:
        """Publish how things stand when that is news, at most twice a second, and at every new connection."""
        connected = self._transport.connected()
        if connected and not self._connected:
            self._said = None
        self._connected = connected
        if not self._wide or not connected or (now_s < self._say_s and not at_once):
            return
        standing = report(
            self.record,
            fetch=self._fetch,
            verdict=self._verdict,
            order=self._order,
            refused=self._refused,
            trouble=self._waits_for,
            applied=self._exchange.holds(self._wanted),
        )
        if standing != self._said and self._transport.publish(Channel.REPORTED, standing.to_bytes(self.record.device)):
            self._said, self._say_s = standing, now_s + _REPORT_S
