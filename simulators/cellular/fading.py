"""What changes while time goes by: shadowing that remembers, and outages that last.

Shadowing in dB is a Gauss-Markov process: x[t + 1] = rho x[t] + sqrt(1 - rho^2) sigma n, with rho = exp(-v dt / d_corr)
(Gudmundson, Electronics Letters 27(23), 1991; TR 38.901, 7.4.4). Outages are a two-state chain: good to bad with
probability p a step, bad to good with r, so that p / (p + r) of the time is bad and an outage lasts 1 / r steps
(Gilbert 1960). Both are vectorised along time without changing a bit of what a loop would give, whatever the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.streams import Floats

BLOCK = 64
"""Steps that are scanned together. A scan begins at a multiple, wherever a batch does: rounding is then the same."""


def correlation(*, speed_m_s: float, step_s: float, distance_m: float) -> float:
    """Of shadowing a step apart; 1 for a device that stands still. Raises ValueError for what cannot be."""
    if not (0 <= speed_m_s < math.inf and step_s > 0 and distance_m > 0):
        raise ValueError(
            f"speed {speed_m_s} m/s must be at least 0, step {step_s} s and correlation distance {distance_m} m above 0"
        )
    return math.exp(-speed_m_s * step_s / distance_m)


def gauss_markov(innovations: Floats, rho: Floats, before: Floats) -> tuple[Floats, Floats]:
    """Scan of (devices, steps) innovations, already scaled, and the last value; steps in whole blocks.

    ``rho``, ``before``: (devices,). Within a block by doubling, from block to block one after the other.
    """
    devices, steps = innovations.shape
    scanned = innovations.reshape(devices, steps // BLOCK, BLOCK)
    # rho, rho^2, ... by products: the rounding of a power may depend on the batch
    decay: Floats = np.multiply.accumulate(np.repeat(rho[:, None], BLOCK, axis=1), axis=1)
    for shift in (1, 2, 4, 8, 16, 32):
        scanned[..., shift:] += decay[:, shift - 1, None, None] * scanned[..., :-shift]
    carried = np.empty(scanned.shape[:2], dtype=np.float32)
    last, over = before, decay[:, -1]
    for block in range(steps // BLOCK):
        carried[:, block] = last
        last = scanned[:, block, -1] + over * last
    scanned += decay[:, None, :] * carried[..., None]
    return scanned.reshape(devices, steps), last


@dataclass(frozen=True, slots=True, kw_only=True)
class Outages:
    """A two-state chain: ``begins`` and ``ends`` are probabilities a step.

    ``begins + ends`` is at most 1: beyond it, outages would come more often right after one than later.
    """

    begins: float
    ends: float

    def __post_init__(self) -> None:
        if not (0 <= self.begins < 1 and 0 < self.ends <= 1 and self.begins + self.ends <= 1):
            raise ValueError(
                f"outages that begin with {self.begins} and end with {self.ends} a step:"
                " legal are 0 <= begins < 1, 0 < ends <= 1, begins + ends <= 1"
            )

    @property
    def share(self) -> float:
        """Of time that is bad."""
        return self.begins / (self.begins + self.ends)

    @property
    def mean_steps(self) -> float:
        """Length of an outage."""
        return 1 / self.ends

    def run(self, drawn: Floats, before: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether each step of (devices, steps) is bad, by a uniform a step and the (devices,) states before.

        A draw below ``begins`` leads to bad from either state and one from ``1 - ends`` on to good; in between the
        state stays. So the state is what the last deciding draw says, and a running maximum finds it.
        """
        places = np.arange(2, 2 * drawn.shape[1] + 2, 2, dtype=np.int32)
        bad = drawn < np.float32(self.begins)
        decides = bad | (drawn >= np.float32(1 - self.ends))
        decisions = decides * places
        decisions += bad
        if decisions.shape[1]:
            decisions[:, 0] = np.maximum(decisions[:, 0], before)
        return (np.maximum.accumulate(decisions, axis=1) & 1).astype(np.bool_)
