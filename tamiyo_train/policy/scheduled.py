"""A decider that carries out a schedule written beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_train.policy.actions import WAIT, Action, Observation
from tamiyo_train.schedule import ScheduledDecision


class Scheduled:
    """Takes the first decision that is due and allowed; what is due but not allowed waits for a later window.

    A seed culled on the way leaves its later decisions waiting to the end: a schedule does not improvise.
    """

    name = "schedule"

    def __init__(self, schedule: Sequence[ScheduledDecision], *, blueprints: Sequence[str], window_steps: int) -> None:
        self._waiting = [(d.due(window_steps), _action(d, blueprints)) for d in schedule]
        self._window = 0

    def decide(self, observation: Observation) -> Action:
        """The next decision, or WAIT. Decisions for one slot keep their order."""
        held: set[int] = set()
        window, self._window = self._window, self._window + 1
        for index, (due, action) in enumerate(self._waiting):
            if due > window:
                break
            if action.slot not in held and observation.masks.allows(action):
                del self._waiting[index]
                return action
            held.add(action.slot)
        return WAIT


def _action(decision: ScheduledDecision, blueprints: Sequence[str]) -> Action:
    operation = Operation[decision.operation.upper()]
    if decision.blueprint is None or decision.intensity is None:
        return Action(operation=operation, slot=decision.slot)
    return Action(
        operation=operation,
        slot=decision.slot,
        blueprint=blueprints.index(decision.blueprint),
        intensity=INTENSITIES.index(decision.intensity),
    )
