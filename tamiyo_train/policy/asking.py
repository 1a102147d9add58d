"""What to ask for, so that the governor grants what a plan wants: the rule's own choice where that comes to the same.

The governor grants what is asked for if it may run, else the most accurate part of it that may. So a seed that is only
too slow need not be left out of what is asked for: deadlines are the governor's business, and it knows them better than
a network does. What is left to learn is which seeds do not pay for their energy. Of all that comes to the same, the
wanted answer is what differs least from the runtime's choice without a policy.
"""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from simulators.episodes.tables import Bools, Ints, Tables

NOTHING = -1
"""Granted where no option may run."""


class Asking(NamedTuple):
    """``gates``: (lanes, slots), to ask for. ``granted``: (lanes, 2^slots), the option that each pattern of gates comes
    to, slot 0 the highest bit; NOTHING where no option may run.
    """

    gates: Bools
    granted: Ints


def by_rule(tables: Tables) -> Bools:
    """What the runtime asks for without a policy, (lanes, slots): the most accurate option."""
    return np.asarray(tables.gates[np.arange(len(tables)), tables.rank.argmax(axis=1)])


def granted(tables: Tables, allowed: Bools) -> Ints:
    """The option that the governor comes to from each pattern, (lanes, 2^slots), if only the ``allowed`` may run."""
    lanes, options = tables.rank.shape
    key = np.where(allowed & (tables.rank >= 0), tables.rank * options + np.arange(options), NOTHING)
    own = np.take_along_axis(key, tables.find, axis=1)
    parts = own.reshape(lanes, *[2] * tables.present.shape[1])
    for axis in range(1, parts.ndim):
        without, with_it = parts.take(0, axis=axis), parts.take(1, axis=axis)
        parts = np.stack([without, np.maximum(without, with_it)], axis=axis)
    best = parts.reshape(own.shape)
    best = np.where(best >= 0, best, key.max(axis=1, keepdims=True))
    found = np.where(own >= 0, own, best)
    return np.asarray(np.where(found >= 0, found % options, NOTHING))


def asking(tables: Tables, wanted: Ints, allowed: Bools) -> Asking:
    """How to get the ``wanted`` options, (lanes,), where the ``allowed`` ones, (lanes, options), may run."""
    comes_to = granted(tables, allowed)
    patterns = np.array(list(product((False, True), repeat=tables.present.shape[1])))
    changes = (patterns[None] != by_rule(tables)[:, None]).sum(axis=2)
    rank = np.take_along_axis(tables.rank, tables.find, axis=1)
    serves = (comes_to == wanted[:, None]) | (comes_to == NOTHING)
    far = (changes + 1) * tables.rank.shape[1] - rank
    named = rank >= 0
    at = np.where(serves & named, far, np.iinfo(far.dtype).max).argmin(axis=1)
    served = (serves & named).any(axis=1)
    own = tables.gates[np.arange(len(tables)), wanted]
    return Asking(np.where(served[:, None], patterns[at], own), comes_to)
