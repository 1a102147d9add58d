"""Closed-form costs of blueprints in places, counted once: they are asked for at every decision, slot by slot."""

from __future__ import annotations

import functools
from collections.abc import Callable

from tamiyo_train.footprint import Footprint, Layer
from tamiyo_train.slots import Slot

KNOWN = 4096
"""Pairs of blueprint and place that are remembered."""


@functools.lru_cache(maxsize=KNOWN)
def footprint_in(layers: Callable[[Slot], tuple[Layer, ...]], place: Slot) -> Footprint:
    """Footprint of the blueprint whose closed form is ``layers`` in a place it fits."""
    return Footprint.of(layers(place))
