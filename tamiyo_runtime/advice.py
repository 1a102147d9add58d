"""The policy's advice, however it is given: wrong, late or never.

A policy is asked from a thread of its own and given so much time. What it says later is not heard; while it is still
at it, it counts as silent. So a graph that crashes, answers NaN, takes too long or never comes back costs the loop at
most that time, once, and the governor chooses in its place. On a virtual clock real time means nothing: there the
policy is asked in the caller's thread and waited for.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue

from tamiyo_runtime.contracts.running import RunningState
from tamiyo_runtime.policy import Policy, PolicyAnswer

LONGEST_MS, SHORTEST_MS = 50.0, 2.0


def patience_ms(deadline_ms: float) -> float:
    """How long to wait for advice under a deadline: half of it, within 2 and 50 ms."""
    return min(LONGEST_MS, max(SHORTEST_MS, deadline_ms / 2))


class Adviser:
    """Asks a policy. One thread calls `ask` and `close`."""

    def __init__(self, policy: Policy, *, in_real_time: bool) -> None:
        self.interpreter = policy.interpreter
        self._policy = policy
        self._questions: SimpleQueue[tuple[int, RunningState] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[int, PolicyAnswer]] = SimpleQueue()
        self._asked = self._heard = 0
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True) if in_real_time else None

    def ask(self, state: RunningState, wait_ms: float) -> PolicyAnswer:
        """Proposed gates, or what went wrong; returns after ``wait_ms`` at the latest."""
        if self._thread is None:
            return self._policy.propose(state)
        if not self._asked:
            self._thread.start()
        while self._heard < self._asked:  # it was late before: has it come back since?
            try:
                self._heard, _ = self._answers.get_nowait()
            except Empty:
                return PolicyAnswer(None, "the policy is still busy with an earlier question")
        self._asked += 1
        self._questions.put((self._asked, state))
        try:
            self._heard, answer = self._answers.get(timeout=wait_ms * 1e-3)
        except Empty:
            return PolicyAnswer(None, f"the policy took longer than {wait_ms:g} ms")
        return answer

    def close(self) -> None:
        """Let the thread end. One that never comes back is left behind; it does not keep the process alive."""
        self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            number, state = question
            self._answers.put((number, self._policy.propose(state)))
