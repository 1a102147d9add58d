"""How much of what a packet bears an interferer takes, as a whole number: sums of it do not depend on their order.

Under `Rule.ENERGY` the energies of interferers add up, each by the time that it overlaps, as ns-3 lorawan has it but
for one thing: there factors are judged apart, here all together. Levels are rounded to 1/64 dB and overlaps to 2^-20 of
the packet, so that two engines which meet the same overlaps in another order come to the same verdict bit for bit.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from simulators.lorawan.streams import Floats, Ints


class Rule(StrEnum):
    """How interferers of a channel are weighed.

    STRONGEST: each alone, from the first preamble symbol that a receiver needs until the end. LORASIM: the same, but
    the end of the earlier packet does not count either where the newcomer's preamble is spared. ENERGY: all together.
    """

    STRONGEST = "strongest"
    LORASIM = "lorasim"
    ENERGY = "energy"


BEARABLE = 1 << 36
"""More is too much: an interferer right at its threshold for the whole packet."""
TOO_MUCH = BEARABLE + 1
_STEPS_A_DB = 64
_LEAST_DB, _MOST_DB = -60.0, 40.0
_LEVELS: Ints = np.rint(
    2.0**16 * 10.0 ** (np.arange(_LEAST_DB * _STEPS_A_DB, _MOST_DB * _STEPS_A_DB + 1) / (10.0 * _STEPS_A_DB))
).astype(np.int64)
_LEVELS[0] = 0
_LEVEL_LIST: list[int] = _LEVELS.tolist()
_OVERLAP_STEPS = 2.0**20


def shares(excess_db: Floats, overlap: Floats) -> Ints:
    """What interferers take that are ``excess_db`` above their threshold for the share ``overlap`` of a packet."""
    level = np.rint((np.clip(excess_db, _LEAST_DB, _MOST_DB) - _LEAST_DB) * _STEPS_A_DB).astype(np.int64)
    taken: Ints = _LEVELS[level] * np.rint(overlap * _OVERLAP_STEPS).astype(np.int64)
    return taken


def share(excess_db: float, overlap: float) -> int:
    """The same of one interferer."""
    level = round((min(max(excess_db, _LEAST_DB), _MOST_DB) - _LEAST_DB) * _STEPS_A_DB)
    return _LEVEL_LIST[level] * round(overlap * _OVERLAP_STEPS)
