"""A process that dies at the very first line of a save leaves what was there, though it had told nobody anything."""

from __future__ import annotations

import itertools
import threading
import warnings

import numpy as np
import pytest

from tamiyo_train.faults.killed import killed_mid_swap
from tamiyo_train.faults.scene import scene


def is_early(seed: int) -> bool:
    """Whether the kill that is drawn from a seed comes within the first lines."""
    rng = np.random.default_rng(seed)
    rng.integers(3)
    return bool(rng.random() < 0.5 and rng.uniform() < 1e-4)


def test_a_process_killed_before_it_opened_its_log_leaves_the_old_state() -> None:
    seed = next(seed for seed in itertools.count() if is_early(seed))
    made = scene("digits", None, 1)
    made.rewind()
    outcome = killed_mid_swap(made, np.random.default_rng(seed))
    assert "killed 0.0%" in outcome.fault
    assert outcome.whole
    assert outcome.metric == 0.0


def fails(*arguments: object) -> None:
    raise SystemExit(7)


def test_a_process_that_ends_by_itself_is_told_from_one_that_outlived_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamiyo_train.faults.killed._swap_and_die", fails)
    made = scene("digits", None, 1)
    made.rewind()
    outcome = killed_mid_swap(made, np.random.default_rng(0))
    assert (outcome.whole, outcome.told) == (False, "ended by itself, with exit status 7")


def test_processes_die_where_they_are_to_though_this_one_has_threads_which_a_fork_would_warn_of() -> None:
    made, ends = scene("digits", None, 1), set[str]()
    resting = threading.Event()
    thread = threading.Thread(target=resting.wait, daemon=True)
    thread.start()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(3):
            made.rewind()
            outcome = killed_mid_swap(made, np.random.default_rng(seed))
            assert (outcome.whole, outcome.metric, outcome.steps) == (True, 0.0, 0), outcome
            ends.add(outcome.fault)
    resting.set()
    thread.join()
    assert len(ends) == 3
