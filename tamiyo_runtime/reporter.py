"""What the loop tells the outside, and when it is worth telling.

`Reporter` is the port that telemetry implements. `Narrator` sits before it: it follows the mode table and turns a
stream of per-sample facts into records of what *changed*, so that a slow link carries news and not noise.
"""

from __future__ import annotations

import math
from typing import Protocol

from tamiyo_runtime.contracts.records import Decision, Event, EventRecord, Mode, Reason
from tamiyo_runtime.governor import SKIP, Grant
from tamiyo_runtime.meters import Usage
from tamiyo_runtime.modes import ModeState, Signal, step
from tamiyo_runtime.sources.base import Intake

_DECISION_GAP_S = 1.0  # at most one decision record in this time; the last change always gets its record
_LOSS_GAP_S = 10.0
_MISS_GAP_S = 10.0
_SKIP_GAP_S = 60.0  # a starved device skips and runs in turn: told now and then, counted in every window
_DETAIL_BYTES = 64


class Reporter(Protocol):
    """Takes in what happens. ``t_ms`` is on the board's clock, like ``now_s``; one thread calls everything."""

    def inference(
        self,
        *,
        t_ms: int,
        configuration: str,
        usage: Usage,
        answer: int,
        confidence: float,
        correct: bool | None,
        deadline_missed: bool,
    ) -> None:
        """An inference has ended."""

    def skipped(self, *, t_ms: int, reason: Reason) -> None:
        """A sample was not run."""

    def decision(self, decision: Decision) -> None:
        """What runs, or why, has changed."""

    def event(self, event: EventRecord) -> None:
        """Something happened."""

    def state(self, *, bucket_permille: int, throttle_permille: int) -> None:
        """The energy bucket's fill and the board's latency multiplier have changed."""

    def running(self, bundle: str) -> None:
        """Another bundle runs from now on: first 8 hex digits of its manifest's sha256."""

    def pump(self, now_s: float) -> None:
        """Send what is due, take in acknowledgements."""


class Silent:
    """A reporter for runs without telemetry."""

    def inference(
        self,
        *,
        t_ms: int,
        configuration: str,
        usage: Usage,
        answer: int,
        confidence: float,
        correct: bool | None,
        deadline_missed: bool,
    ) -> None:
        """Ignored."""

    def skipped(self, *, t_ms: int, reason: Reason) -> None:
        """Ignored."""

    def decision(self, decision: Decision) -> None:
        """Ignored."""

    def event(self, event: EventRecord) -> None:
        """Ignored."""

    def state(self, *, bucket_permille: int, throttle_permille: int) -> None:
        """Ignored."""

    def running(self, bundle: str) -> None:
        """Ignored."""

    def pump(self, now_s: float) -> None:
        """Nothing to do."""


class Narrator:
    """Reports changes. Times are seconds on the board's clock."""

    def __init__(self, reporter: Reporter) -> None:
        self.decisions = 0
        self._reporter = reporter
        self._mode = ModeState()
        self._signal: Signal | None = None
        self._told: tuple[int, Reason] | None = None
        self._told_s = float("-inf")
        self._skip_told_s = float("-inf")
        self._state = (-1, -1)
        self._missing = False
        self._missed_s = float("-inf")
        self._policy_down = False
        self._losses, self._losses_told_s = 0, float("-inf")

    @property
    def mode(self) -> Mode:
        """How the runtime is doing."""
        return self._mode.mode

    def event(self, now_s: float, event: Event, *, value: int = 0, detail: str = "") -> None:
        """Something happened; the detail is cut to what a record may hold."""
        short = detail.encode()[:_DETAIL_BYTES].decode(errors="ignore")
        self._reporter.event(EventRecord(t_ms=int(now_s * 1e3), event=event, value=value, detail=short))

    def signal(self, now_s: float, signal: Signal, *, detail: str = "") -> None:
        """Follow the mode table; a new mode is an event."""
        if signal is self._signal and not self._mode.streak:
            return  # nothing new, at every sample of a healthy device
        self._signal = signal
        before = self._mode
        self._mode = after = step(before, signal)
        if after.mode is not before.mode:
            self.event(now_s, Event.MODE, detail=f"{after.mode} {detail}".strip())

    def afresh(self, now_s: float) -> None:
        """Another bundle runs: how the one before was doing says nothing of it."""
        before, self._mode, self._signal = self._mode.mode, ModeState(), None
        self._told, self._missing, self._policy_down = None, False, False
        if before is not self.mode:
            self.event(now_s, Event.MODE, detail=f"{self.mode} another bundle")

    def losses(self, now_s: float, intake: Intake, *, at_once: bool) -> None:
        """Samples lost on their way in: a record with the sum, at most one in ten seconds unless ``at_once``."""
        losses = sum(intake.lost.values())
        if losses > self._losses and (at_once or now_s - self._losses_told_s >= _LOSS_GAP_S):
            self._losses, self._losses_told_s = losses, now_s
            detail = ", ".join(f"{reason} {count}" for reason, count in sorted(intake.lost.items()))
            self.event(now_s, Event.SOURCE_LOSS, value=losses, detail=detail)

    def state(self, fill: float, slowdown: float) -> None:
        """Fill of the bucket, 0..1, and slowdown of the board."""
        state = (int(fill * 1000), int(slowdown * 1000))
        if state != self._state:
            self._state = state
            self._reporter.state(bucket_permille=state[0], throttle_permille=state[1])

    def deadline(self, now_s: float, latency_ms: float, *, missed: bool) -> None:
        """A deadline missed after one that was met is an event, at most one in ten seconds."""
        if missed and not self._missing and now_s - self._missed_s >= _MISS_GAP_S:
            self._missed_s = now_s
            self.event(now_s, Event.DEADLINE_MISS, value=round(latency_ms * 1e3))
        self._missing = missed

    def policy(self, now_s: float, problem: str | None) -> None:
        """A failing policy is an event when it begins to fail."""
        if problem is not None and not self._policy_down:
            self.event(now_s, Event.POLICY_FAILURE, detail=problem)
        self._policy_down = problem is not None

    def is_news(self, grant: Grant, now_s: float) -> bool:
        """Whether a decision is worth a record. Going on as before after a skip is not."""
        if grant.option == SKIP:
            return now_s - self._skip_told_s >= _SKIP_GAP_S
        return (grant.option, grant.reason) != self._told and now_s - self._told_s >= _DECISION_GAP_S

    def knows(self, grant: Grant) -> bool:
        """Whether this grant has been told and the mode has settled: the next one like it changes nothing."""
        return (grant.option, grant.reason) == self._told and not self._mode.streak

    def decision(
        self, now_s: float, grant: Grant, *, proposed: str, granted: str, deadline_ms: float, fill: float
    ) -> None:
        """Record a decision."""
        if grant.option == SKIP:
            self._skip_told_s = now_s
        else:
            self._told, self._told_s = (grant.option, grant.reason), now_s
        self.decisions += 1
        left = max(0.0, (grant.left_ms - grant.worst_ms) / deadline_ms) if deadline_ms < math.inf else 1.0
        self._reporter.decision(
            Decision(
                t_ms=int(now_s * 1e3),
                proposed=proposed,
                granted=granted,
                reason=grant.reason,
                mode=self.mode,
                latency_left_permille=int(left * 1000),
                bucket_permille=int(fill * 1000),
            )
        )
