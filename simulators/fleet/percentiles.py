"""Percentiles of each device's values, in one pass over all of them."""

from __future__ import annotations

import numpy as np

from simulators.lorawan.streams import Floats, Ints

SHARES = (0.50, 0.95, 0.99)


def percentiles(device: Ints, values: Floats, count: int) -> tuple[Floats, ...]:
    """Nearest-rank percentiles 50, 95 and 99, (devices,) each; NaN for a device without a value."""
    order = np.lexsort((values, device))
    ranked = values[order]
    begins = np.searchsorted(device[order], np.arange(count + 1))
    many = np.diff(begins)
    found = []
    for share in SHARES:
        place = begins[:-1] + np.maximum(np.ceil(share * many).astype(np.int64) - 1, 0)
        column = np.full(count, np.nan)
        column[many > 0] = ranked[place[many > 0]]
        found.append(column)
    return tuple(found)
