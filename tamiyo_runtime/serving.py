"""One sample: look at the board, ask, decide, run or skip, account, report.

The part of a session that knows nothing of where samples come from and when the next one is due. It drives the pure
parts: the policy proposes, the governor decides, the mode table follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from tamiyo_runtime.advice import patience_ms
from tamiyo_runtime.contracts.plan import Configuration
from tamiyo_runtime.contracts.records import Event, Reason
from tamiyo_runtime.deployment import Deployment
from tamiyo_runtime.fitting import difference
from tamiyo_runtime.governor import SKIP, Conditions, Governor, Grant, Limits, Proposal, State
from tamiyo_runtime.interpreters.base import GraphError
from tamiyo_runtime.meters import Board, Usage
from tamiyo_runtime.modes import Signal
from tamiyo_runtime.monitors import Change as MonitorChange
from tamiyo_runtime.reporter import Narrator, Reporter
from tamiyo_runtime.sources.base import Sample
from tamiyo_runtime.summary import TraceRecorder

_SLOWDOWN_STEP = 0.05  # a change of the board's speed by this share is worth telling the policy and the collector
_FILL_STEP = 0.05  # as is such a change of the bucket's fill
_FAULT_AFTER = 10  # samples skipped in a row
_WATCH_EVERY_S = 0.01  # monitors look at so many inferences and no more: what they tell of does not come and go faster
_CUT_SHARE = 0.1  # a cut saves the worst case at most: below this share of the time left it would hardly ever help


class Serving:
    """Serves samples under one deployment and one set of limits at a time; both may be exchanged between two samples.

    ``started_s``: when the session began, on the board's clock.
    """

    def __init__(
        self,
        deployment: Deployment,
        limits: Limits,
        *,
        board: Board,
        reporter: Reporter,
        tell: Narrator,
        link_level: Callable[[float], float],
        policy_every: int,
        trace: TraceRecorder | None,
    ) -> None:
        self.on = deployment
        self.started_s = board.clock.now_s()
        self._board, self._clock = board, board.clock
        self._reporter, self._tell = reporter, tell
        self._link_level, self._policy_every, self._trace = link_level, policy_every, trace
        self._governor = Governor(deployment.options, limits)
        self._state: State = self._governor.start(self.started_s * 1e3)
        self._slowdown = 0.0  # none seen yet: the first one is news
        self._policy_on = True
        self._watch_at_s = self.started_s
        self._begin()

    @property
    def running(self) -> str | None:
        """The configuration that stands, None before the first inference."""
        return None if self._state.current == SKIP else self.on.names[self._state.current]

    @property
    def slowdown(self) -> float:
        """Of the board, as last seen."""
        return self._slowdown or 1.0

    def fill(self, now_s: float) -> float:
        """Of the energy bucket, 0..1."""
        return self._governor.fill(self._state, now_s * 1e3)

    def under(self, limits: Limits, now_s: float) -> None:
        """Put other limits into force."""
        self._tell.event(now_s, Event.BUDGET, detail=difference(self._governor.limits, limits))
        self._governor, self._state = self._governor.under(limits, self._state, now_s * 1e3)
        self._ask_at = 0

    def over(self, deployment: Deployment, limits: Limits, now_s: float) -> None:
        """Run another bundle from the next sample on."""
        self.on.close()
        self.on = deployment
        self._governor, self._state = self._governor.over(deployment.options, limits, self._state, now_s * 1e3)
        self._tell.afresh(now_s)
        self._begin()

    def use_policy(self, on: bool) -> None:
        """Listen to the policy, or let the governor choose alone."""
        self._policy_on, self._ask_at = on, 0
        self._propose_alone(Reason.NO_POLICY)

    def serve(self, sample: Sample, now_s: float, waited_ms: float) -> None:
        """Run a sample that has waited so long, or skip it.

        Raises GraphError when not even the bare host runs any more.
        """
        status, tally = self._board.status(), self.on.tally
        slowdown = status.slowdown
        if abs(slowdown - self._slowdown) > _SLOWDOWN_STEP * self._slowdown:
            if self._slowdown or slowdown != 1.0:
                self._tell.event(now_s, Event.THROTTLE, value=round(slowdown * 1000))
            self._slowdown, self._ask_at = slowdown, 0
        begun_s = now_s
        listening = self._policy_on and not self._alarmed and self.on.adviser is not None
        if listening and (tally.samples >= self._ask_at or self._moved()):
            self._consult(now_s, slowdown, status.battery)
            begun_s = self._clock.now_s()
            waited_ms += (begun_s - now_s) * 1e3
        conditions = Conditions(
            slowdown,
            waited_ms,
            -math.inf if status.temperature_c is None else status.temperature_c,
            math.inf if status.memory_bytes is None else status.memory_bytes,
        )
        grant, self._state = self._governor.decide(self._state, self._proposal, conditions, begun_s * 1e3)
        usage, correct = None, -1
        if grant.option == SKIP:
            self._skip(grant, now_s)
        else:
            usage, correct = self._run(sample, grant, now_s, waited_ms)
        tally.samples += 1
        if self._trace is not None:
            self._trace.add(
                option=self._ran if usage else SKIP,
                correct=correct,
                t_s=now_s - self.started_s,
                latency_ms=usage.latency_ms if usage else float("nan"),
                energy_uj=usage.energy_uj if usage else 0.0,
                deadline_ms=self._governor.limits.deadline_ms,
                bucket=self.fill(self._clock.now_s()),
                slowdown=slowdown,
            )

    def _begin(self) -> None:
        """Nothing is known yet of what runs now."""
        self._alarmed, self._ask_at = False, 0
        self._skipped_in_a_row = 0
        self._propose_alone(Reason.NO_POLICY)
        self._asked = (SKIP, self._state.bucket_uj)
        self._ran = SKIP
        self._steady: tuple[int, Reason, int] | None = None

    def _run(self, sample: Sample, grant: Grant, now_s: float, waited_ms: float) -> tuple[Usage | None, int]:
        """Run what was granted; on a failure, the bare host in its place. Returns what it took and 1, 0 or -1."""
        on, option = self.on, grant.option
        try:
            if on.executor.stoppable(option) and grant.worst_ms > _CUT_SHARE * grant.left_ms:
                stretch = on.cut_stretch[option] * grant.stretch * self._governor.limits.margin
                within = partial(
                    on.executor.classify_within,
                    sample.value,
                    option,
                    lap=self._board.lap,
                    left_ms=grant.left_ms,
                    stretch=stretch,
                )
                (answer, confidence, ran), usage = self._board.run(within, on.costs[option])
            else:
                whole = partial(on.executor.classify, sample.value, option)
                (answer, confidence), usage = self._board.run(whole, on.costs[option])
                ran = option
        except Exception as exc:  # noqa: BLE001  interpreters fail with exceptions of every kind
            return self._roll_back(sample, option, now_s, waited_ms, exc)
        self._ran = ran
        latency_ms = usage.latency_ms
        end_ms = self._clock.now_s() * 1e3
        self._state = self._governor.settle(
            self._state, grant, ran=ran, latency_ms=latency_ms, energy_uj=usage.energy_uj, now_ms=end_ms
        )
        missed = latency_ms > grant.left_ms
        correct = None if sample.label is None else answer == sample.label
        self._skipped_in_a_row = 0
        on.tally.served(ran, usage, correct, missed=missed)
        self._reporter.inference(
            t_ms=int(now_s * 1e3),
            configuration=on.names[ran],
            usage=usage,
            answer=answer,
            confidence=confidence,
            correct=correct,
            deadline_missed=missed,
        )
        self._tell.deadline(now_s, waited_ms + latency_ms, missed=missed)
        if on.monitors is not None and now_s >= self._watch_at_s:
            self._watch_at_s = now_s + _WATCH_EVERY_S
            if (change := on.monitors.observe(sample.value, ran, confidence)) is not None:
                self._follow(change, now_s, alarmed=bool(on.monitors.alarmed))
        if ran != option:
            grant = grant._replace(option=ran, reason=Reason.DEADLINE)
        if (ran, grant.reason, self._proposal.option) != self._steady:
            self._report(grant, now_s)
        return usage, -1 if correct is None else int(correct)

    def _follow(self, change: MonitorChange, now_s: float, *, alarmed: bool) -> None:
        """While a monitor alarms, the bare host runs and the policy is not asked: it learnt from other input."""
        for watches, value in ((change.alarmed, 1), (change.rested, 0)):
            for watch in watches:
                self._tell.event(now_s, Event.DRIFT, value=value, detail=watch)
                self.on.tally.alarms[watch.value] += value
        self._alarmed, self._ask_at = alarmed, 0
        self._propose_alone(Reason.NO_POLICY)

    def _roll_back(
        self, sample: Sample, option: int, now_s: float, waited_ms: float, exc: Exception
    ) -> tuple[Usage | None, int]:
        """A configuration failed: never run it again, and try the bare host on the same sample."""
        self._tell.signal(now_s, Signal.BROKEN, detail=f"{self.on.names[option]}: {exc}")
        self._governor = replace(self._governor, broken=self._governor.broken | {option})
        self.on.tally.failures += 1
        if option == 0:
            self._tell.signal(now_s, Signal.LOST)
            self._tell.event(now_s, Event.STOP, detail="fault")
            self._reporter.pump(now_s)
            raise GraphError(
                f"the bare host {self.on.names[0]} failed: {exc}",
                hint="tamiyo verify BUNDLE replays its self-test on this machine",
            ) from exc
        self._tell.signal(now_s, Signal.RESTORED)
        self._proposed, self._proposal = self.on.names[0], Proposal(0, Reason.UNAVAILABLE)
        self._ask_at = 0
        again_s = self._clock.now_s()
        conditions = Conditions(self._slowdown, waited_ms + (again_s - now_s) * 1e3)
        grant, self._state = self._governor.decide(self._state, self._proposal, conditions, again_s * 1e3)
        if grant.option == SKIP:
            self._skip(grant, now_s)
            return None, -1
        return self._run(sample, grant, now_s, conditions.waited_ms)

    def _skip(self, grant: Grant, now_s: float) -> None:
        self.on.tally.skips[grant.reason.value] += 1
        self._reporter.skipped(t_ms=int(now_s * 1e3), reason=grant.reason)
        self._skipped_in_a_row += grant.reason is not Reason.SKIP_LATE  # which cost no time, so the next is less late
        if self._skipped_in_a_row >= _FAULT_AFTER:
            self._tell.signal(now_s, Signal.STARVED)
        self._report(grant, now_s)

    def _report(self, grant: Grant, now_s: float) -> None:
        """Mode and decision, which depend on how what ran compares with what was proposed."""
        option = grant.option
        if option != SKIP and grant.reason is not Reason.HYSTERESIS:
            self._tell.signal(now_s, self._signal(option))
        if self._tell.is_news(grant, now_s):
            self._tell.decision(
                now_s,
                grant,
                proposed=self._proposed,
                granted="" if option == SKIP else self.on.names[option],
                deadline_ms=self._governor.limits.deadline_ms,
                fill=self.fill(now_s),
            )
        # From here on the same grant is no news, and need not be looked at, until another one comes in between.
        settled = self._tell.knows(grant)
        self._steady = (option, grant.reason, self._proposal.option) if settled else None

    def _signal(self, option: int) -> Signal:
        if self._proposal.reason is Reason.DRIFT:
            return Signal.ALARMED
        if option == self._proposal.option:
            return Signal.GRANTED
        return Signal.BARE if option == 0 else Signal.REDUCED

    def _moved(self) -> bool:
        """Whether choice or bucket have changed since the policy was asked. A bucket without limit never does."""
        option, bucket_uj = self._asked
        moved_uj = abs(self._state.bucket_uj - bucket_uj)
        return option != self._state.current or moved_uj > _FILL_STEP * self._governor.limits.burst_uj

    def _consult(self, now_s: float, slowdown: float, battery: float | None) -> None:
        """Hear the policy, if there is one that answers. Of bucket and battery, it sees the emptier one."""
        assert self.on.adviser is not None
        limits = self._governor.limits
        self._asked = (self._state.current, self._state.bucket_uj)
        self._ask_at = self.on.tally.samples + self._policy_every
        state = self.on.observer.state(
            current=self._state.current,
            limits=limits,
            slowdown=slowdown,
            bucket_level=min(self.fill(now_s), 1.0 if battery is None else battery),
            link_level=self._link_level(now_s),
        )
        answer = self.on.adviser.ask(state, patience_ms(limits.deadline_ms))
        self._tell.policy(now_s, answer.problem)
        if answer.gates is None:
            self.on.tally.policy_failures += 1
            self._propose_alone(Reason.POLICY_FAILED)
            return
        option, exact = self.on.options.find(answer.gates)
        self._proposed = Configuration.name_of(answer.gates)
        self._proposal = Proposal(option, Reason.POLICY if exact else Reason.UNAVAILABLE)

    def _propose_alone(self, reason: Reason) -> None:
        """Without the policy the governor aims for the most accurate configuration; for the bare host in an alarm."""
        self._proposed = ""
        self._proposal = Proposal(0, Reason.DRIFT) if self._alarmed else Proposal(self.on.options.best_first[0], reason)
