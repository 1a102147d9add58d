"""Traces of many devices: at each step the rate, an outage or none, and the latency of one transfer.

Work is cut into tiles that fit a core's cache. Neither tiles nor batches show in the result: same seed, same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulators.cellular.channel import Cursor, Draw, Fleet, Steps, after, walk, whole_blocks
from simulators.cellular.fading import BLOCK
from simulators.cellular.latency import Plan
from simulators.cellular.streams import Floats, normals, uniforms, words, words_at

_TILE = 1 << 14
_TILE_STEPS = 1 << 10


@dataclass(frozen=True, slots=True)
class Trace:
    """(devices, steps) each. ``latency_ms`` is ``inf`` in an outage, out of reach, and where every try failed."""

    outage: NDArray[np.bool_]
    bits_per_s: Floats
    latency_ms: Floats


def advance(devices: Fleet, cursor: Cursor, steps: int, transfer: Plan) -> tuple[Trace, Cursor]:
    """The next ``steps`` of every device, and where to go on. ``transfer``: whose latency is asked.

    Latency is that of a connected device which sends at a random moment of the step; a promotion comes on top
    (`simulators.cellular.rrc`). Raises ValueError below one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps are none: at least 1")
    shape = (len(devices), steps)
    trace = Trace(np.empty(shape, np.bool_), np.empty(shape, np.float32), np.empty(shape, np.float32))
    total = whole_blocks(cursor.step % BLOCK + steps)
    height = _TILE // min(total, _TILE_STEPS)
    shadow, bad = np.empty(len(devices), np.float32), np.empty(len(devices), np.bool_)
    for top in range(0, len(devices), height):
        part = slice(top, top + height)
        ended = _rows(devices.rows(part), cursor.rows(part), steps, transfer, _part(trace, part))
        shadow[part], bad[part] = ended.shadow_db, ended.bad
    return trace, Cursor(cursor.step + steps, shadow, bad)


def _rows(devices: Fleet, cursor: Cursor, steps: int, transfer: Plan, into: Trace) -> Cursor:
    end, first = cursor.step + steps, cursor.first
    before, ended = Cursor(first, cursor.shadow_db, cursor.bad), None
    while first < end:
        count = min(whole_blocks(end - first), _TILE_STEPS if len(devices) > 1 else _TILE)
        done = walk(devices, before, first, count)
        ended = ended or after(before, done, first, end)
        place = slice(max(first, cursor.step) - cursor.step, min(first + count, end) - cursor.step)
        kept = slice(max(first, cursor.step) - first, min(first + count, end) - first)
        latency = _latency(devices, done, first, count, transfer)
        into.outage[:, place] = done.bad[:, kept]
        rates = np.array(devices.preset.ladder.bits_per_s, dtype=np.float32).take(done.rung)
        rates[done.bad] = 0
        into.bits_per_s[:, place] = rates[:, kept]
        into.latency_ms[:, place] = latency[:, kept]
        following = after(before, done, first, first + count)
        assert following is not None
        before, first = following, first + count
    return ended or before


def _latency(devices: Fleet, done: Steps, first: int, count: int, transfer: Plan) -> Floats:
    wait, harq = uniforms(words(devices.streams[Draw.RADIO], first, count))
    latency = transfer.radio_ms(done.rung, wait, harq)
    latency += devices.preset.core.delay_ms(done.spare_normal)
    handover = devices.preset.handover
    row, column = np.nonzero(done.spare_uniform < np.float32(handover.share(devices.speed_m_s)))
    if len(row):
        starts, places = devices.streams[Draw.GAP][row], 2 * (first + column)
        normal, left = normals(words_at(starts, places))[0], uniforms(words_at(starts, places + 1))[0]
        latency[row, column] += handover.left_ms(normal, left)
    latency[done.bad | transfer.lost(done.rung, harq)] = np.inf
    return latency


def _part(trace: Trace, rows: slice) -> Trace:
    return Trace(trace.outage[rows], trace.bits_per_s[rows], trace.latency_ms[rows])
