"""A process that dies at the very first line of a save leaves what was there, though it had told nobody anything."""

from __future__ import annotations

import itertools

import numpy as np

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
