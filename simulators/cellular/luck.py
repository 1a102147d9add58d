"""What chance has in store for the transfers of one device, in their order: the same however many are drawn at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulators.cellular.channel import Draw, Fleet
from simulators.cellular.streams import normals, uniforms, words


@dataclass(frozen=True, slots=True)
class Luck:
    """One transfer: ``wait`` and ``harq`` in [0, 1); delay of the core network; what is left of a handover's gap."""

    wait: float
    harq: float
    core_ms: float
    gap_ms: float


def luck(devices: Fleet, first: int, count: int) -> list[Luck]:
    """Transfers ``first`` to ``first + count`` of a fleet's first device."""
    preset = devices.preset
    drawn = words(devices.streams[Draw.TRANSFER][:1], 3 * first, 3 * count)[0].reshape(count, 3).T
    wait, harq = uniforms(drawn[0].copy())
    core, gap = normals(drawn[1].copy())
    hit, left = uniforms(drawn[2].copy())
    gaps_ms = preset.handover.left_ms(gap, left)
    gaps_ms[hit >= np.float32(preset.handover.share(devices.speed_m_s))] = 0
    columns = (wait, harq, preset.core.delay_ms(core), gaps_ms)
    return [Luck(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
