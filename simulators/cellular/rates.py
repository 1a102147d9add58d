"""From signal to rate: CQI tables of TS 38.214, slots of TS 38.211, resource blocks of TS 38.101, and SINR.

    SINR   = power + gains - losses - (-174 dBm/Hz + 10 lg bandwidth + noise figure) - rise of noise by interference
    rate   = efficiency(CQI(SINR)) 12 N_RB (1 - overhead) / T_s share        T_s = 1 ms / (14 2^mu)

which is the peak rate of TS 38.306, section 4.1.2, with the CQI's efficiency in place of Q_m R_max, rank 1, and the
share of slots that are uplink. A device is given the whole allocation when it sends: no other users. CQI is defined for
the downlink; the uplink is adapted along the same table here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

CQI_64QAM = (
    *(0.1523, 0.2344, 0.3770, 0.6016, 0.8770, 1.1758, 1.4766, 1.9141),
    *(2.4063, 2.7305, 3.3223, 3.9023, 4.5234, 5.1152, 5.5547),
)
"""Bits a resource element of CQI 1..15: TS 38.214 table 5.2.2.1-2, and TS 36.213 table 7.2.3-1 for LTE."""
SINR_DB = (-1.89, -0.82, 0.95, 2.95, 4.90, 7.39, 8.89, 11.02, 13.32, 14.68, 16.62, 18.91, 21.58, 24.88, 29.32)
"""SINR at which 90 % of blocks of CQI 1..15 of the 64-QAM table arrive: ``SINR90pc`` of the AIMM simulator."""
UPLINK_OVERHEAD = 0.08
"""Of TS 38.306, section 4.1.2, for uplink below 7 GHz; 0.10 above."""
THERMAL_DBM_HZ = -174.0

_RESOURCE_BLOCKS: dict[int, dict[int, int]] = {
    15: {5: 25, 10: 52, 15: 79, 20: 106, 25: 133, 30: 160, 40: 216, 50: 270},
    30: {5: 11, 10: 24, 15: 38, 20: 51, 25: 65, 30: 78, 40: 106, 50: 133, 60: 162, 80: 217, 90: 245, 100: 273},
    120: {50: 32, 100: 66, 200: 132, 400: 264},
}
"""TS 38.101-1 table 5.3.2-1 and TS 38.101-2 table 5.3.2-1."""


def slot_s(numerology: int) -> float:
    """Slot of numerology 0..4 (TS 38.211, table 4.3.2-1); raises ValueError for another."""
    if not 0 <= numerology <= 4:
        raise ValueError(f"numerology {numerology} is not in 0..4 (15, 30, 60, 120, 240 kHz)")
    return 1e-3 / float(1 << numerology)


def resource_blocks(spacing_khz: int, bandwidth_mhz: int) -> int:
    """Resource blocks of an NR channel; raises ValueError with the legal values."""
    if spacing_khz not in _RESOURCE_BLOCKS:
        raise ValueError(f"spacing {spacing_khz} kHz is not one of {_listed(_RESOURCE_BLOCKS)}")
    table = _RESOURCE_BLOCKS[spacing_khz]
    if bandwidth_mhz not in table:
        raise ValueError(f"bandwidth {bandwidth_mhz} MHz is not one of {_listed(table)} at {spacing_khz} kHz")
    return table[bandwidth_mhz]


def noise_dbm(bandwidth_hz: float, noise_figure_db: float) -> float:
    """Thermal noise of a receiver at 290 K; raises ValueError unless the bandwidth is above 0."""
    if not bandwidth_hz > 0:
        raise ValueError(f"bandwidth {bandwidth_hz} Hz is not above 0")
    return THERMAL_DBM_HZ + 10 * math.log10(bandwidth_hz) + noise_figure_db


def shannon_bits(snr_db: ArrayLike, *, share: float = 0.6, most: float = 4.4) -> NDArray[np.float64]:
    """Bits a hertz of TR 36.942, annex A: an attenuated, capped Shannon bound. An oracle for tables."""
    return np.minimum(share * np.log2(1 + 10 ** (np.asarray(snr_db, dtype=np.float64) / 10)), most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """What a signal is worth: rung 0 below the first edge, rung i from ``edges_db[i - 1]`` on.

    ``bits_per_s``: rate of every rung, 0 on rung 0. ``block_bits``: what one HARQ process carries at once, ``air_s``
    how long the device sends for that. ``harq_s``: from a block that fails to the end of its next try.
    """

    edges_db: tuple[float, ...]
    bits_per_s: tuple[float, ...]
    block_bits: tuple[float, ...]
    air_s: tuple[float, ...]
    harq_s: tuple[float, ...]

    def __post_init__(self) -> None:
        rungs = len(self.edges_db) + 1
        columns = (self.bits_per_s, self.block_bits, self.air_s, self.harq_s)
        if any(len(column) != rungs for column in columns):
            raise ValueError(f"{rungs - 1} edges make {rungs} rungs: give as many rates, blocks, times and retries")
        if list(self.edges_db) != sorted(self.edges_db) or list(self.bits_per_s) != sorted(self.bits_per_s):
            raise ValueError("edges and rates must rise")

    def rung(self, signal_db: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Rung of each signal. By comparisons, which for sixteen rungs are faster than a search."""
        rungs = np.zeros(signal_db.shape, dtype=np.uint8)
        for edge_db in self.edges_db:
            rungs += signal_db >= np.float32(edge_db)
        return rungs


def cqi_ladder(
    *,
    numerology: int,
    blocks: int,
    uplink_share: float = 1.0,
    overhead: float = UPLINK_OVERHEAD,
    peak_bits_per_s: float = math.inf,
    harq_s: float,
) -> Ladder:
    """The ladder of a CQI table; a category's ``peak_bits_per_s`` cuts it off.

    Raises ValueError for a numerology, a number of resource blocks or a share that cannot be.
    """
    if not 1 <= blocks <= 273:
        raise ValueError(f"{blocks} resource blocks are not in 1..273: the bandwidth must be above 0")
    if not (0 < uplink_share <= 1 and 0 <= overhead < 1):
        raise ValueError(f"uplink_share {uplink_share} must be in (0, 1] and overhead {overhead} in [0, 1)")
    slot = slot_s(numerology)
    elements = 12 * blocks * 14 * (1 - overhead)  # of a slot
    rates = [min(bits * elements / slot * uplink_share, peak_bits_per_s) for bits in CQI_64QAM]
    return Ladder(
        edges_db=SINR_DB,
        bits_per_s=(0.0, *rates),
        block_bits=(1.0, *(rate * slot / uplink_share for rate in rates)),
        air_s=(0.0, *(slot,) * len(rates)),
        harq_s=(harq_s,) * (len(rates) + 1),
    )


def _listed(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values)
