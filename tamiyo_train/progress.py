"""How far a phase of a run has come: training steps over all its jobs, those in other processes among them."""

from __future__ import annotations

from collections.abc import Callable

from tamiyo_train.pool import Counter, Crew

OnProgress = Callable[[str, int, int, str], None]
"""Called with phase, steps done, steps in all and a note; the first call of a phase says what was done before."""


class Phase:
    """One phase: register its jobs, begin, remark on what comes in, end."""

    def __init__(self, name: str, crew: Crew, report: OnProgress) -> None:
        self._name = name
        self._crew = crew
        self._report = report
        self._totals: dict[Counter, int] = {}
        self._note = ""

    def counter(self, total: int, *, done: int = 0) -> Counter:
        """A counter for a job of ``total`` steps, of which some may be done."""
        counter = self._crew.counter()
        self._totals[counter] = total
        self._crew.set(counter, done)
        return counter

    def is_done(self, counter: Counter) -> None:
        """A job need not be done again."""
        self._crew.set(counter, self._totals[counter])

    def begin(self) -> None:
        """All jobs are registered; from here on the crew's news are passed on."""
        self._crew.on_count = self._tell
        self._tell()

    def remark(self, note: str) -> None:
        """A result came in."""
        self._note = note
        self._tell()

    def end(self, note: str) -> None:
        """All jobs are done."""
        for counter, total in self._totals.items():
            self._crew.set(counter, total)
        self.remark(note)
        self._crew.on_count = None

    def _tell(self) -> None:
        done = sum(min(self._crew.count(counter), total) for counter, total in self._totals.items())
        self._report(self._name, done, sum(self._totals.values()), self._note)


def silent(phase: str, done: int, total: int, note: str) -> None:
    """Reports nothing."""
