"""A policy that a run is given instead of teaching one: that of the package, or one that a course taught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch


class GivenPolicy(Protocol):
    """Weights that fit the run's host."""

    @property
    def policy(self) -> Mapping[str, torch.Tensor]:
        """The weights by name."""
        ...

    def lesson(self) -> dict[str, Any]:
        """Where they came from, for the run's record."""
        ...
