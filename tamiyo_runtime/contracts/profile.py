"""What a bundle carries of the device profile it was compiled for: values, identity and hash, nothing to look up.

The full profile, with the source and uncertainty of each value, lives with `device_profiles`; the runtime needs
only this snapshot, so that a board never installs the profile library.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import require, require_finite

_SECTIONS = {"simulation": (), "thermal": ("ambient_c", "resistance_k_per_w")}
"""Sections of ``extra`` that the runtime reads, and what one that is there and not empty must say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSnapshot:
    """A device as the runtime sees it.

    ``active_mw`` is board power while computing, ``idle_mw`` while waiting; ``relative_error`` says how
    far off the cost model is: the truth lies within a factor of 1 + relative_error of the estimate in 90 % of cases.
    ``sha256`` is that of the profile file.
    """

    id: str
    revision: int
    sha256: str
    active_mw: float
    idle_mw: float
    memory_bytes: int
    relative_error: float
    budget: Budget
    features: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require(bool(self.id), "id", "must not be empty")
        require_finite(active_mw=self.active_mw, idle_mw=self.idle_mw, relative_error=self.relative_error)
        require(self.active_mw > 0, "active_mw", f"must be above 0, got {self.active_mw}")
        require(
            0 <= self.idle_mw <= self.active_mw,
            "idle_mw",
            f"must be in [0, {self.active_mw}], got {self.idle_mw}",
        )
        require(self.memory_bytes > 0, "memory_bytes", "must be above 0")
        for name, needed in _SECTIONS.items():
            _check_section(name, self.extra.get(name), needed)
        require(self.relative_error >= 0, "relative_error", f"must not be negative, got {self.relative_error}")


def _check_section(name: str, section: object, needed: tuple[str, ...]) -> None:
    if not section and (section is None or isinstance(section, Mapping)):
        return
    require(isinstance(section, Mapping), name, "must be an object")
    assert isinstance(section, Mapping)
    for key, value in section.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        require(number, f"{name}.{key}", f"must be a number, got {value!r}")
    for key in needed:
        require(key in section, f"{name}.{key}", f"is missing: a section {name} says {' and '.join(needed)}")
