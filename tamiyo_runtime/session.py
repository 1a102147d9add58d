"""The loop: for every sample, measure, decide, run or skip, account, report.

A session owns no resource but its own state. It gets a board (whose clock is the only time it knows, real or virtual),
a source, a reporter and an executor, and drives the pure parts: the policy proposes, the governor decides, the mode
table follows. It ends when the samples are through, or soon after `Session.stop`, which a signal handler may call. A
stream of samples, which may have no end, it starts, waits for without using the processor, and closes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, repeat

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.errors import InputError
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.plan import Configuration
from tamiyo_runtime.contracts.records import Event, Mode, Reason
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.fitting import difference, limits_that_fit
from tamiyo_runtime.governor import MARGIN, SKIP, Governor, Grant, Limits, Proposal, State
from tamiyo_runtime.interpreters.base import GraphError
from tamiyo_runtime.meters import Board, Usage
from tamiyo_runtime.modes import Signal
from tamiyo_runtime.observer import Observer
from tamiyo_runtime.options import Options
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.reporter import Narrator, Reporter
from tamiyo_runtime.sources.base import Intake, Sample, Source, Stream
from tamiyo_runtime.summary import SessionSummary, Tally, TraceRecorder, Turn

_PUMP_S = 0.25  # how often telemetry gets a turn, and how long a stop may take
_SLOWDOWN_STEP = 0.05  # a change of the board's speed by this share is worth telling the policy and the collector
_FILL_STEP = 0.05  # as is such a change of the bucket's fill
_FAULT_AFTER = 10  # samples skipped in a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session is asked to do.

    ``samples``: how many, the source being repeated as needed; None for the source once, for a stream until it ends.
    ``period_s``: from one sample to the next, 0 for back to back, or as they arrive. ``budget`` None stands for the
    bundle's. ``schedule``: budgets that replace it, (seconds since the start, budget). ``policy_every``: the policy is
    consulted when the board's speed, the budget, the choice, or the fill of the bucket (by 5 %) has changed, since it
    answers the same to the same state, and at the latest after so many samples. ``trace``: keep one row a sample.
    """

    samples: int | None = None
    period_s: float = 0.1
    budget: Budget | None = None
    schedule: Sequence[tuple[float, Budget]] = ()
    policy_every: int = 250
    margin: float = MARGIN
    dwell_s: float = 1.0
    trace: bool = False


class Session:
    """One run of a bundle on a board. Build it, call `run` once."""

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
    ) -> None:
        """Check the plan; raises BudgetError when not even the bare host fits it, InputError without samples.

        ``link_level``: share of the link's credit left at a time of the clock. ``on_sample`` is called after every
        sample, ``on_turn`` four times a second from the loop itself: when an inference hangs, it stops.
        """
        self._plan = plan or Plan()
        self._manifest, self._executor, self._board, self._source = manifest, executor, board, source
        self._policy, self._on_sample, self._on_turn = policy, on_sample, on_turn
        self._stream: Stream | None = None if isinstance(source, Sized) else source
        self._link_level = link_level or (lambda now_s: 1.0)
        self._options = Options.of(executor.runnables, manifest.configurations)
        self._limits(self._plan.budget or manifest.budget)
        for _, budget in self._plan.schedule:
            self._limits(budget)
        if isinstance(source, Sized) and not len(source):
            raise InputError(f"{source.label} holds no sample")
        self._names = tuple(runnable.configuration for runnable in executor.runnables)
        self._observer = Observer(manifest, executor.variant, period_s=self._plan.period_s)
        self._tell = Narrator(reporter)
        self._reporter = reporter
        self._tally = Tally(len(self._names))
        self._trace = TraceRecorder(self._names) if self._plan.trace else None
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

    def _run(self) -> SessionSummary:
        self._begin()
        started_s, period_s, clock = self._started_s, self._plan.period_s, self._board.clock
        for index, sample in enumerate(self._samples()):
            now_s, due_s = clock.now_s(), started_s + index * period_s
            if self._stopping or now_s < due_s or now_s >= self._next_pump_s:
                now_s = self._wait(due_s)
                if self._stopping:
                    break
            self._step(index, sample, now_s)
        return self._end()

    def _begin(self) -> None:
        now_s = self._board.clock.now_s()
        self._started_s = now_s
        self._next_pump_s = now_s
        self._governor = Governor(self._options, self._limits(self._plan.budget or self._manifest.budget))
        self._state: State = self._governor.start(now_s * 1e3)
        self._schedule = sorted(self._plan.schedule, key=lambda entry: entry[0])
        self._slowdown = 0.0  # none seen yet: the first one is news
        self._proposed, self._proposal = self._own_choice(Reason.NO_POLICY)
        self._ask_at = 0
        self._asked = (SKIP, self._state.bucket_uj)
        self._skipped_in_a_row = 0
        self._steady: tuple[int, Reason, int] | None = None
        self._tell.event(
            now_s, Event.START, detail=f"{self._executor.variant.id} {self._executor.interpreter} {self._board.label}"
        )

    def _end(self) -> SessionSummary:
        now_s = self._board.clock.now_s()
        intake = self._follow_intake(now_s, at_once=True)
        self._tell.event(now_s, Event.STOP, detail="stopped" if self._stopping else "done")
        self._reporter.pump(now_s)
        tally = self._tally
        return SessionSummary(
            bundle=self._manifest.name,
            board=self._board.label,
            source=self._source.label,
            variant=self._executor.variant.id,
            interpreter=self._executor.interpreter,
            policy=self._policy.interpreter if self._policy else None,
            samples=tally.samples,
            inferences=tally.inferences,
            labelled=tally.labelled,
            correct=tally.correct,
            deadline_misses=tally.deadline_misses,
            duration_s=now_s - self._started_s,
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
            counts={name: count for name, count in zip(self._names, tally.counts, strict=True) if count},
            skips=dict(tally.skips),
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
                sample = stream.take(_PUMP_S)
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
        """Let time pass until ``due_s`` or the order to stop, telemetry having its turns; returns the time then."""
        clock = self._board.clock
        now_s = clock.now_s()
        while not self._stopping:
            if now_s >= self._next_pump_s:
                self._turn(now_s)
                now_s = clock.now_s()
            if now_s >= due_s:
                break
            clock.sleep_until(min(due_s, self._next_pump_s))
            now_s = clock.now_s()
        return now_s

    def _turn(self, now_s: float) -> None:
        """What is due a few times a second, whether or not samples come."""
        fill = self._governor.fill(self._state, now_s * 1e3)
        intake = self._follow_intake(now_s)
        self._tell.state(fill, self._slowdown or 1.0)
        self._reporter.pump(now_s)
        self._next_pump_s = self._board.clock.now_s() + _PUMP_S
        if self._on_turn is not None:
            running = None if self._state.current == SKIP else self._names[self._state.current]
            self._on_turn(Turn(self._tally, self._tell.mode, running, fill, self._board.status(), intake))

    def _follow_intake(self, now_s: float, *, at_once: bool = False) -> Intake | None:
        """Tell of samples that were lost on their way in, now and then."""
        if self._stream is None:
            return None
        intake = self._stream.intake()
        self._tell.losses(now_s, intake, at_once=at_once)
        return intake

    def _step(self, index: int, sample: Sample, now_s: float) -> None:
        now_ms = now_s * 1e3
        news = self._follow_schedule(now_s)
        slowdown = self._board.status().slowdown
        if abs(slowdown - self._slowdown) > _SLOWDOWN_STEP * self._slowdown:
            if self._slowdown or slowdown != 1.0:
                self._tell.event(now_s, Event.THROTTLE, value=round(slowdown * 1000))
            self._slowdown = slowdown
            news = True
        if self._policy is not None and (news or index >= self._ask_at or self._moved()):
            self._consult(self._policy, now_s, slowdown)
            self._ask_at = index + self._plan.policy_every
        grant, self._state = self._governor.decide(self._state, self._proposal, slowdown=slowdown, now_ms=now_ms)
        usage, correct = None, -1
        if grant.option == SKIP:
            self._skip(grant, now_s)
        else:
            usage, correct = self._serve(sample, grant, now_s)
        self._tally.samples += 1
        if self._trace is not None:
            self._trace.add(
                option=self._state.current if usage else SKIP,
                correct=correct,
                t_s=now_s - self._started_s,
                latency_ms=usage.latency_ms if usage else float("nan"),
                energy_uj=usage.energy_uj if usage else 0.0,
                deadline_ms=self._governor.limits.deadline_ms,
                bucket=self._governor.fill(self._state, self._board.clock.now_s() * 1e3),
                slowdown=slowdown,
            )
        if self._on_sample is not None:
            self._on_sample(self._tally, self._tell.mode)

    def _serve(self, sample: Sample, grant: Grant, now_s: float) -> tuple[Usage | None, int]:
        """Run what was granted; on a failure, the bare host in its place. Returns what it took and 1, 0 or -1."""
        option = grant.option
        work = partial(self._executor.classify, sample.value, option)
        try:
            (answer, confidence), usage = self._board.run(work, self._executor.runnables[option].cost)
        except Exception as exc:  # noqa: BLE001  interpreters fail with exceptions of every kind
            return self._roll_back(sample, option, now_s, exc)
        end_ms = self._board.clock.now_s() * 1e3
        self._state = self._governor.settle(
            self._state, grant, latency_ms=usage.latency_ms, energy_uj=usage.energy_uj, now_ms=end_ms
        )
        missed = usage.latency_ms > self._governor.limits.deadline_ms
        correct = None if sample.label is None else answer == sample.label
        self._skipped_in_a_row = 0
        self._tally.served(option, usage, correct, missed=missed)
        self._reporter.inference(
            t_ms=int(now_s * 1e3),
            configuration=self._names[option],
            usage=usage,
            answer=answer,
            confidence=confidence,
            correct=correct,
            deadline_missed=missed,
        )
        self._tell.deadline(now_s, usage.latency_ms, missed=missed)
        if (option, grant.reason, self._proposal.option) != self._steady:
            self._report(grant, now_s)
        return usage, -1 if correct is None else int(correct)

    def _roll_back(self, sample: Sample, option: int, now_s: float, exc: Exception) -> tuple[Usage | None, int]:
        """A configuration failed: never run it again, and try the bare host on the same sample."""
        self._tell.signal(now_s, Signal.BROKEN, detail=f"{self._names[option]}: {exc}")
        self._governor = replace(self._governor, broken=self._governor.broken | {option})
        if option == 0:
            self._tell.signal(now_s, Signal.LOST)
            self._tell.event(now_s, Event.STOP, detail="fault")
            self._reporter.pump(now_s)
            raise GraphError(
                f"the bare host {self._names[0]} failed: {exc}",
                hint="tamiyo verify BUNDLE replays its self-test on this machine",
            ) from exc
        self._tell.signal(now_s, Signal.RESTORED)
        self._proposed, self._proposal = self._names[0], Proposal(0, Reason.UNAVAILABLE)
        self._ask_at = 0
        now_ms = self._board.clock.now_s() * 1e3
        grant, self._state = self._governor.decide(self._state, self._proposal, slowdown=self._slowdown, now_ms=now_ms)
        if grant.option == SKIP:
            self._skip(grant, now_s)
            return None, -1
        return self._serve(sample, grant, now_s)

    def _skip(self, grant: Grant, now_s: float) -> None:
        self._tally.skips[grant.reason.value] += 1
        self._reporter.skipped(t_ms=int(now_s * 1e3), reason=grant.reason)
        self._skipped_in_a_row += 1
        if self._skipped_in_a_row >= _FAULT_AFTER:
            self._tell.signal(now_s, Signal.STARVED)
        self._report(grant, now_s)

    def _report(self, grant: Grant, now_s: float) -> None:
        """Mode and decision, which depend on how what was granted compares with what was proposed."""
        option = grant.option
        if option != SKIP and grant.reason is not Reason.HYSTERESIS:
            if option == self._proposal.option:
                signal = Signal.GRANTED
            else:
                signal = Signal.BARE if option == 0 else Signal.REDUCED
            self._tell.signal(now_s, signal)
        if self._tell.is_news(grant, now_s):
            self._tell.decision(
                now_s,
                grant,
                proposed=self._proposed,
                granted="" if option == SKIP else self._names[option],
                deadline_ms=self._governor.limits.deadline_ms,
                fill=self._governor.fill(self._state, now_s * 1e3),
            )
        # From here on the same grant is no news, and need not be looked at, until another one comes in between.
        settled = self._tell.knows(grant)
        self._steady = (option, grant.reason, self._proposal.option) if settled else None

    def _moved(self) -> bool:
        """Whether choice or bucket have changed since the policy was asked. A bucket without limit never does."""
        option, bucket_uj = self._asked
        moved_uj = abs(self._state.bucket_uj - bucket_uj)
        return option != self._state.current or moved_uj > _FILL_STEP * self._governor.limits.burst_uj

    def _consult(self, policy: Policy, now_s: float, slowdown: float) -> None:
        fill = self._governor.fill(self._state, now_s * 1e3)
        self._asked = (self._state.current, self._state.bucket_uj)
        state = self._observer.state(
            current=self._state.current,
            limits=self._governor.limits,
            slowdown=slowdown,
            bucket_level=fill,
            link_level=self._link_level(now_s),
        )
        answer = policy.propose(state)
        self._tell.policy(now_s, answer.problem)
        if answer.gates is None:
            self._tally.policy_failures += 1
            self._proposed, self._proposal = self._own_choice(Reason.POLICY_FAILED)
            return
        option, exact = self._options.find(answer.gates)
        self._proposed = Configuration.name_of(answer.gates)
        self._proposal = Proposal(option, Reason.POLICY if exact else Reason.UNAVAILABLE)

    def _own_choice(self, reason: Reason) -> tuple[str, Proposal]:
        """Without a policy the governor aims for the most accurate configuration."""
        return "", Proposal(self._options.best_first[0], reason)

    def _follow_schedule(self, now_s: float) -> bool:
        """Put into force the budgets whose time has come; whether there was one."""
        changed = False
        while self._schedule and now_s - self._started_s >= self._schedule[0][0]:
            _, budget = self._schedule.pop(0)
            limits = self._limits(budget)
            self._tell.event(now_s, Event.BUDGET, detail=difference(self._governor.limits, limits))
            self._governor, self._state = self._governor.under(limits, self._state, now_s * 1e3)
            changed = True
        return changed

    def _limits(self, budget: Budget) -> Limits:
        plan = self._plan
        return limits_that_fit(budget, self._options, self._manifest, margin=plan.margin, dwell_ms=plan.dwell_s * 1e3)
