"""The allocator that comes with the package: weights, and a card that says how it was made."""

from __future__ import annotations

import functools
import hashlib
import json
from importlib.resources import files
from typing import Any

from safetensors.torch import load

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_train.regions.learned import Learned, SplitWorth
from tamiyo_train.regions.telemetry import FEATURES

_NAME = "allocator"


def card() -> dict[str, Any]:
    """The card: what it was taught on, and what it explains of it."""
    found: dict[str, Any] = json.loads((files(__name__) / f"{_NAME}.json").read_text())
    return found


@functools.cache
def allocator() -> Learned:
    """The allocator as it was taught; raises IntegrityError when its weights or features are not those of the card."""
    known, body = card(), (files(__name__) / f"{_NAME}.safetensors").read_bytes()
    if hashlib.sha256(body).hexdigest() != known["weights_sha256"] or tuple(known["features"]) != FEATURES:
        raise IntegrityError("the shipped allocator is not that of its card", hint="install the package anew")
    network = SplitWorth()
    network.load_state_dict(load(body))
    return Learned(network)
