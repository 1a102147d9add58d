"""Many seeded faults, spread over processes, and what they say about the governor.

Trial i is a fault of kind i modulo the number of kinds, drawn from the campaign's seed and i alone: the result does not
depend on the number of processes, nor on which other trials were done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tamiyo_runtime.contracts.errors import BudgetError
from tamiyo_train.audit import verify
from tamiyo_train.faults import arithmetic, broken, checkpoints, explosions, killed  # noqa: F401  (they register)
from tamiyo_train.faults.bound import lower_bound
from tamiyo_train.faults.kinds import Trial, kinds
from tamiyo_train.faults.scene import scene
from tamiyo_train.pool import Workers, crew_of
from tamiyo_train.same_data import bound
from tamiyo_train.seeding import derive, one_thread
from tamiyo_train.tasks import stages

FLOOR = 0.98
"""What the lower bound of the rollback rate has to reach."""
_CHUNK = 8
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindSummary:
    """Trials of one kind. ``slowest``: most steps between fault and detection, None when none was detected."""

    kind: str
    faults: int
    rolled_back: int
    slowest: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole campaign."""

    task: str
    seed: int
    trials: tuple[Trial, ...]

    @property
    def rolled_back(self) -> int:
        """Faults that were detected in time, restored bit by bit, with the metric as before."""
        return sum(trial.rolled_back for trial in self.trials)

    @property
    def rate(self) -> float:
        """The rollback rate, fraction."""
        return self.rolled_back / len(self.trials)

    @property
    def bound(self) -> float:
        """Its one-sided 95 % Clopper-Pearson lower bound."""
        return lower_bound(self.rolled_back, len(self.trials))

    @property
    def missed(self) -> tuple[Trial, ...]:
        """Faults that were not rolled back."""
        return tuple(trial for trial in self.trials if not trial.rolled_back)

    def by_kind(self) -> list[KindSummary]:
        """A summary for each kind, in the order of the registry."""
        summaries = []
        for kind in sorted({trial.kind for trial in self.trials}):
            own = [trial for trial in self.trials if trial.kind == kind]
            steps = [trial.steps for trial in own if trial.steps is not None]
            rolled_back = sum(trial.rolled_back for trial in own)
            summaries.append(
                KindSummary(kind=kind, faults=len(own), rolled_back=rolled_back, slowest=max(steps, default=None))
            )
        return summaries

    def to_json(self) -> dict[str, Any]:
        """For programs: figures, a summary by kind, and every fault that was missed."""
        return {
            "task": self.task,
            "seed": self.seed,
            "faults": len(self.trials),
            "rolled_back": self.rolled_back,
            "rate": self.rate,
            "lower_bound_95": self.bound,
            "floor": FLOOR,
            "kinds": [asdict(summary) for summary in self.by_kind()],
            "missed": [asdict(trial) for trial in self.missed],
        }

    def check(self) -> None:
        """Raise BudgetError when the bound is below the floor."""
        if self.bound < FLOOR:
            raise BudgetError(
                f"{self.rolled_back} of {len(self.trials)} faults were rolled back: the lower bound {self.bound:.4f} "
                f"is below {FLOOR}",
                hint="the faults that were missed are listed"
                if self.missed
                else "none was missed; 149 faults are the fewest that can show .98",
            )


def run_campaign(
    *,
    faults: int,
    seed: int,
    task: str = "digits",
    data: str | None = None,
    chosen: Sequence[str] = (),
    processes: Workers = 2,
    on_progress: OnProgress | None = None,
) -> Report:
    """Do the trials; ``chosen`` kinds, all if none is given; ``data``: the user's own files, in the format ``task``.

    Raises UnknownNameError before any work.
    """
    if data is None:
        stages.get(task)
    for name in chosen:
        kinds.get(name)
    names = list(chosen) or sorted(kinds.names())
    plan = [(index, names[index % len(names)]) for index in range(faults)]
    chunks = [plan[start : start + _CHUNK] for start in range(0, faults, _CHUNK)]
    trials: list[Trial] = []
    if on_progress is not None:
        on_progress(0, faults)
    with crew_of(processes) as crew:
        job, before = bound(do_trials, task, data)
        futures = [crew.submit(job, *before, task, data, seed, chunk) for chunk in chunks]
        for future in crew.done(futures):
            trials += future.result()
            if on_progress is not None:
                on_progress(len(trials), faults)
    return Report(task=task, seed=seed, trials=tuple(sorted(trials, key=lambda trial: trial.index)))


def do_trials(task: str, data: str | None, seed: int, plan: Sequence[tuple[int, str]]) -> list[Trial]:
    """Trials by index and kind, one after the other in this process."""
    trials = []
    with one_thread():
        made = scene(task, data, seed)
        for index, name in plan:
            made.rewind()
            rng = np.random.default_rng(derive(seed, "fault", index))
            outcome = kinds.get(name)(made, rng)
            trials.append(Trial(kind=name, index=index, **asdict(outcome)))
        made.rewind()
        verify(made.audit.entries)
    return trials
