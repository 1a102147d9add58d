"""The allocator that comes with the package: weights, and a card that says how it was made."""

from __future__ import annotations

import functools
from typing import Any

from safetensors.torch import load

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train import packaged
from tamiyo_train.regions.learned import Learned, SplitWorth
from tamiyo_train.regions.telemetry import FEATURES

_NAME = "allocator"


def card() -> dict[str, Any]:
    """The card: what it was taught on, and what it explains of it."""
    return packaged.card(__name__, _NAME)


@functools.cache
def allocator() -> Learned:
    """The allocator as it was taught; raises IntegrityError when it is damaged or reads other features."""
    body = packaged.weights(__name__, _NAME)
    if tuple(card()["features"]) != FEATURES:
        raise IntegrityError("the shipped allocator reads other features", hint="install the package anew")
    network = SplitWorth()
    network.load_state_dict(load(body))
    return Learned(network)
