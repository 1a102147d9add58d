"""The loop: when the next sample is due, what has to be done meanwhile, and what is changed on the way.

A session owns no resource but its own state. It gets a board (whose clock is the only time it knows, real or virtual),
a source, a reporter and an executor; each sample is served by `Serving`. It ends when the samples are through, or soon
after `Session.stop`, which a signal handler may call. A stream of samples, which may have no end, it starts, waits for
without using the processor, and closes. Between two samples budgets and the bundle itself may be exchanged, by the
plan's schedule or by a `Control`.

An answer is due ``latency_ms`` after its sample arrived. A sample of a recording arrives when the period says so, one
of a stream when it came in; back to back, each arrives when the one before is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass
from itertools import chain, islice, repeat

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import IncompatibleError, InputError, TamiyoError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.records import Event, Mode
from tamiyo_runtime.control import Change, Control, Loaded
from tamiyo_runtime.deployment import Deployment
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.governor import MARGIN, Limits
from tamiyo_runtime.meters import Board, VirtualClock
from tamiyo_runtime.mission import Mission, Rationing
from tamiyo_runtime.monitors import MonitorSettings
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.reporter import Narrator, Reporter
from tamiyo_runtime.serving import Serving
from tamiyo_runtime.sources.base import Intake, Sample, Source, Stream
from tamiyo_runtime.summary import SessionSummary, Tally, TraceRecorder, Turn

_TURN_S = 0.25  # how often telemetry gets a turn, and how long a stop may take
_OVERDUE_S = 1.0  # a turn that is so late is taken even when it makes a sample wait
WATCHFUL = MonitorSettings()
_FORGET = 0.9  # how fast the length of the longest turn is forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session is asked to do.

    ``samples``: how many, the source being repeated as needed; None for the source once, for a stream until it ends.
    ``period_s``: from one sample to the next, 0 for back to back, or as they arrive. ``budget`` None stands for the
    bundle's. ``schedule``: budgets that replace it, (seconds since the start, budget). ``policy_every``: the policy is
    consulted when the board's speed, the budget, the choice, or the fill of the bucket (by 5 %) has changed, since it
    answers the same to the same state, and at the latest after so many samples. ``watchful``: of the monitors, None for
    none. ``trace``: keep one row a sample. ``mission``: how long the battery has to last; power is rationed by it,
    whatever budget holds.
    """

    samples: int | None = None
    period_s: float = 0.1
    budget: Budget | None = None
    schedule: Sequence[tuple[float, Budget]] = ()
    policy_every: int = 250
    margin: float = MARGIN
    dwell_s: float = 1.0
    watchful: MonitorSettings | None = WATCHFUL
    trace: bool = False
    mission: Mission | None = None


class Session:
    """One run on a board. Build it, call `run` once."""

    def __init__(
        self,
        manifest: Manifest,
        executor: Executor,
        *,
        board: Board,
        source: Source | Stream,
        reporter: Reporter,
        policy: Policy | None = None,
        plan: Plan | None = None,
        link_level: Callable[[float], float] | None = None,
        on_sample: Callable[[Tally, Mode], None] | None = None,
        on_turn: Callable[[Turn], None] | None = None,
        control: Control | None = None,
    ) -> None:
        """Check the plan; raises BudgetError when not even the bare host fits it, or the battery would not last even
        if nothing ran, InputError without samples.

        ``link_level``: share of the link's credit left at a time of the clock. ``on_sample`` is called after every
        sample, ``on_turn`` four times a second from the loop itself: when an inference hangs, it stops. ``control``
        is asked as often what is to be changed.
        """
        self._plan = plan or Plan()
        self._board, self._source, self._reporter = board, source, reporter
        self._on_sample, self._on_turn, self._control = on_sample, on_turn, control
        self._stream: Stream | None = None if isinstance(source, Sized) else source
        self._link_level = link_level or (lambda now_s: 1.0)
        self._real = not isinstance(board.clock, VirtualClock)
        self._on = self._deployment(manifest, executor, policy)
        self._budget = self._plan.budget
        self._rationing = self._rationed(self._plan.mission)
        self._limits(self._on, self._budget)
        for _, budget in self._plan.schedule:
            self._limits(self._on, budget)
        if isinstance(source, Sized) and not len(source):
            raise InputError(f"{source.label} holds no sample")
        self._tell = Narrator(reporter)
        self._past = Tally(())
        self._trace = TraceRecorder(self._on.names) if self._plan.trace else None
        self._stopping = False

    def stop(self) -> None:
        """End after the present sample; safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> SessionSummary:
        """Work through the samples.

        Raises GraphError when not even the bare host runs any more, InputError when a stream turns out to hold none.
        """
        try:
            if self._stream is not None:
                self._stream.start()
            return self._run()
        finally:
            if self._stream is not None:
                self._stream.close()
            self._on.close()

    def _run(self) -> SessionSummary:
        self._begin()
        started_s, period_s, clock = self._serving.started_s, self._plan.period_s, self._board.clock
        for index, sample in enumerate(self._samples()):
            now_s, due_s = clock.now_s(), started_s + index * period_s
            if self._stopping or now_s < due_s or now_s >= self._next_turn_s:
                now_s = self._wait(due_s)
                if self._stopping:
                    break
            if self._schedule:
                self._follow_schedule(now_s)
            self._serving.serve(sample, now_s, self._waited_ms(sample, now_s, due_s))
            if self._on_sample is not None:
                self._on_sample(self._on.tally, self._tell.mode)
        return self._end()

    def _waited_ms(self, sample: Sample, now_s: float, due_s: float) -> float:
        """How long ago the sample arrived. One of a stream that is read at a period of ours arrives when it is read."""
        if self._stream is None:
            return (now_s - due_s) * 1e3 if self._plan.period_s > 0 else 0.0
        if sample.arrived_s is None or self._plan.period_s > 0:
            return 0.0
        return max(0.0, (now_s - sample.arrived_s) * 1e3)

    def _begin(self) -> None:
        executor = self._on.executor
        self._schedule = sorted(self._plan.schedule, key=lambda entry: entry[0])
        self._tell.event(
            self._board.clock.now_s(),
            Event.START,
            detail=f"{executor.variant.id} {executor.interpreter} {self._board.label}",
        )
        self._turn_s = 0.0
        self._next_turn_s = self._board.clock.now_s()
        self._serving = Serving(
            self._on,
            self._limits(self._on, self._budget),
            board=self._board,
            reporter=self._reporter,
            tell=self._tell,
            link_level=self._link_level,
            policy_every=self._plan.policy_every,
            trace=self._trace,
        )

    def _end(self) -> SessionSummary:
        now_s = self._board.clock.now_s()
        intake = self._follow_intake(now_s, at_once=True)
        self._tell.event(now_s, Event.STOP, detail="stopped" if self._stopping else "done")
        self._reporter.pump(now_s)
        on, tally = self._on, self._past
        tally.absorb(on.tally)
        return SessionSummary(
            bundle=on.manifest.name,
            board=self._board.label,
            source=self._source.label,
            variant=on.executor.variant.id,
            interpreter=on.executor.interpreter,
            policy=on.adviser.interpreter if on.adviser else None,
            watched=tuple(watch.value for watch in on.monitors.rates) if on.monitors else (),
            samples=tally.samples,
            inferences=tally.inferences,
            labelled=tally.labelled,
            correct=tally.correct,
            deadline_misses=tally.deadline_misses,
            duration_s=now_s - self._serving.started_s,
            energy_uj=tally.energy_uj,
            latency_p50_ms=tally.latency.quantile(0.5),
            latency_p99_ms=tally.latency.quantile(0.99),
            latency_max_ms=tally.latency.maximum if tally.inferences else None,
            latency_source=tally.latency_source,
            energy_source=tally.weakest_energy_source(),
            mode=self._tell.mode,
            stopped_early=self._stopping,
            decisions=self._tell.decisions,
            policy_failures=tally.policy_failures,
            failures=tally.failures,
            counts=tally.by_name(),
            skips=dict(tally.skips),
            alarms=dict(tally.alarms),
            lost={reason.value: count for reason, count in intake.lost.items()} if intake else {},
            energy_by_source=tally.energy_by_source(),
            trace=self._trace.finish() if self._trace else None,
        )

    def _samples(self) -> Iterator[Sample]:
        if not isinstance(self._source, Sized):
            return islice(self._arrivals(self._source), self._plan.samples)
        if self._plan.samples is None:
            return iter(self._source)
        return islice(chain.from_iterable(repeat(self._source)), self._plan.samples)

    def _arrivals(self, stream: Stream) -> Iterator[Sample]:
        """Samples as they come; while there is none, everything else goes on."""
        while not self._stopping:
            try:
                sample = stream.take(_TURN_S)
            except InputError as exc:
                self._tell.event(self._board.clock.now_s(), Event.STOP, detail=f"source: {exc.message}")
                self._reporter.pump(self._board.clock.now_s())
                raise
            if sample is not None:
                yield sample
            elif stream.ended():
                return
            else:
                self._turn(self._board.clock.now_s())

    def _wait(self, due_s: float) -> float:
        """Let time pass until ``due_s`` or the order to stop, turns being taken meanwhile; returns the time then.

        A turn may write to a slow card. So it is taken when there is time for it until the sample is due, as far as
        the length of those before tells, and else only when it has been put off for a second.
        """
        clock = self._board.clock
        now_s = clock.now_s()
        while not self._stopping:
            if now_s >= self._next_turn_s:
                room = self._plan.period_s == 0 or due_s - now_s > self._turn_s
                if room or now_s >= self._next_turn_s + _OVERDUE_S:
                    self._turn(now_s)
                    now_s = clock.now_s()
            if now_s >= due_s:
                break
            clock.sleep_until(min(due_s, self._next_turn_s) if now_s < self._next_turn_s else due_s)
            now_s = clock.now_s()
        return now_s

    def _turn(self, now_s: float) -> None:
        """What is due a few times a second, whether or not samples come."""
        serving, clock = self._serving, self._board.clock
        fill = serving.fill(now_s)
        intake = self._follow_intake(now_s)
        self._tell.state(fill, serving.slowdown)
        if self._rationing is not None and self._rationing.review(now_s, self._board.status().battery):
            serving.under(self._limits(self._on, self._budget), now_s)
        self._reporter.pump(now_s)
        if self._on_turn is not None or self._control is not None:
            self._pass_on(fill, intake)
        ended_s = clock.now_s()
        self._turn_s = max(ended_s - now_s, self._turn_s * _FORGET)
        self._next_turn_s = ended_s + _TURN_S

    def _pass_on(self, fill: float, intake: Intake | None) -> None:
        """Show how things stand to whoever looks on, and do what they want changed."""
        running, status = self._serving.running, self._board.status()
        turn = Turn(self._on.tally, self._tell.mode, running, fill, status, intake, self._past.samples)
        if self._on_turn is not None:
            self._on_turn(turn)
        if self._control is not None and (change := self._control.poll(turn)) is not None:
            try:
                self._make(change)
            except TamiyoError as exc:
                self._control.refused(change, exc.message)

    def _make(self, change: Change) -> None:
        """Change what runs or what holds, wholly or, raising TamiyoError, not at all."""
        now_s = self._board.clock.now_s()
        budget = change.budget or self._budget
        on = self._on if change.loaded is None else self._taking_over(change.loaded)
        limits = self._limits(on, budget)
        if change.loaded is not None:
            for _, later in self._schedule:
                self._limits(on, later)
            self._past.absorb(self._on.tally)
            if self._trace is not None:
                self._trace.reloaded(on.names)
            self._on = on
            self._serving.over(on, limits, now_s)
            version, digest = on.manifest.version, change.loaded.bundle.digest
            self._reporter.running(digest[:8])
            self._tell.event(now_s, Event.RELOAD, value=version, detail=f"{digest[:8]} {on.manifest.name}")
        elif change.budget is not None:
            if budget != self._budget:
                self._past.absorb(self._on.count_afresh())
            self._serving.under(limits, now_s)
        self._budget = budget
        if change.use_policy is not None:
            self._serving.use_policy(change.use_policy)

    def _taking_over(self, loaded: Loaded) -> Deployment:
        """What is to run instead; raises IncompatibleError when it takes other samples than there are."""
        old, new = self._on.manifest.input, loaded.bundle.manifest.input
        if (old.shape, old.raw_low, old.raw_high) != (new.shape, new.raw_low, new.raw_high):
            raise IncompatibleError(
                f"{loaded.bundle.manifest.name} takes samples of {list(new.shape)} from {new.raw_low:g} to "
                f"{new.raw_high:g}, the source gives {list(old.shape)} from {old.raw_low:g} to {old.raw_high:g}",
                hint="stop the run, and start it with the other bundle",
            )
        return self._deployment(loaded.bundle.manifest, loaded.executor, loaded.policy)

    def _follow_intake(self, now_s: float, *, at_once: bool = False) -> Intake | None:
        """Tell of samples that were lost on their way in, now and then."""
        if self._stream is None:
            return None
        intake = self._stream.intake()
        self._tell.losses(now_s, intake, at_once=at_once)
        return intake

    def _follow_schedule(self, now_s: float) -> None:
        """Put into force the budgets whose time has come."""
        while self._schedule and now_s - self._serving.started_s >= self._schedule[0][0]:
            _, self._budget = self._schedule.pop(0)
            self._serving.under(self._limits(self._on, self._budget), now_s)

    def _deployment(self, manifest: Manifest, executor: Executor, policy: Policy | None) -> Deployment:
        plan = self._plan
        return Deployment(
            manifest, executor, policy, period_s=plan.period_s, in_real_time=self._real, watchful=plan.watchful
        )

    def _rationed(self, mission: Mission | None) -> Rationing | None:
        if mission is None:
            return None
        now_s, charge = self._board.clock.now_s(), self._board.status().battery
        return Rationing(mission, self._on.manifest.profile, started_s=now_s, charge=charge)

    def _limits(self, on: Deployment, budget: Budget | None) -> Limits:
        if self._rationing is not None:
            dearest_uj = max(option.energy_worst_uj for option in on.options.items)
            budget = self._rationing.applied(budget or on.manifest.budget, dearest_uj)
        return on.limits(budget, margin=self._plan.margin, dwell_s=self._plan.dwell_s)
