"""How much longer one inference takes than the median: log-normal, cut off both ways, drawn by address."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulators.lorawan.streams import Purpose, normals
from tamiyo_runtime.contracts.document import require, require_finite

Floats = NDArray[np.float64]
_BLOCK = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """``sigma``: standard deviation of ln(latency / median); ``most``: largest factor, and 1 / the smallest."""

    sigma: float
    most: float
    seed: int = 0

    def __post_init__(self) -> None:
        require_finite(jitter_sigma=self.sigma, jitter_max=self.most)
        require(self.sigma >= 0, "jitter_sigma", f"must not be negative, got {self.sigma}")
        require(self.most >= 1, "jitter_max", f"must be at least 1, got {self.most}")

    def factors(self, devices: ArrayLike, index: ArrayLike) -> Floats:
        """Factor of inference number ``index`` of each device, broadcast against each other."""
        drawn = normals(self.seed, Purpose.JITTER, devices, index)
        bound = math.log(self.most)
        return np.asarray(np.exp(np.clip(drawn * self.sigma, -bound, bound)))


class Jitter:
    """The factors of one device in their order, drawn in blocks."""

    def __init__(self, *, sigma: float, most: float, seed: int, device: int) -> None:
        self._spread, self._device = Spread(sigma=sigma, most=most, seed=seed), device
        self._index, self._block = 0, list[float]()

    def next(self) -> float:
        """The next one."""
        if self._spread.sigma == 0:
            return 1.0
        place = self._index % _BLOCK
        if place == 0:
            indices = np.arange(self._index, self._index + _BLOCK)
            self._block = self._spread.factors(self._device, indices).tolist()
        self._index += 1
        return self._block[place]
