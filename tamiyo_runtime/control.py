"""The port through which a running session is changed from outside: by signed orders, an update, or a signal.

The loop asks a few times a second, between two samples, so a change never costs one. Whoever implements the port has
done the slow part before: a bundle that is handed over is verified, loaded and warm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.summary import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A bundle, ready to run. ``policy`` None: the governor chooses alone."""

    bundle: Bundle
    executor: Executor
    policy: Policy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to hold from the next sample on. None leaves things as they are.

    ``loaded`` replaces what runs, ``budget`` the limits, and the counts of `Turn.tally` start again with what is new;
    without a budget a new bundle runs under the limits that held before. ``use_policy`` switches the policy off or on.
    """

    loaded: Loaded | None = None
    budget: Budget | None = None
    use_policy: bool | None = None


class Control(Protocol):
    """Asked by the loop's thread. Must not block, and must not raise."""

    def poll(self, turn: Turn) -> Change | None:
        """What is to change now; ``turn`` says how the run is doing since the last bundle was loaded."""

    def refused(self, change: Change, problem: str) -> None:
        """A change could not be made, as when not even the bare host fits the budget; all is as it was before."""
