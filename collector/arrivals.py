"""What can come in from the broker, as far as the store is concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.contracts.skim import Skim


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame that came in from a device. ``received_s``: Unix seconds; ``epoch`` of the clock they are from.

    ``epoch`` is None when that clock is known to be wrong: see `SteadyClock`.
    """

    device: str
    frame: Skim
    received_s: float
    epoch: int | None = 0


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a device, or its last will, said of itself: a birth or a state."""

    device: str
    birth: Mapping[str, Any] | None
    state: Mapping[str, Any] | None
    received_s: float


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be understood."""

    topic: str
    reason: str
    payload: bytes
    received_s: float


Arrival = Delivery | Announcement | Rejected
