"""The runtime's governor over arrays of lanes: `tamiyo_runtime.governor`, decision by decision the same.

That module says what is decided and why; here it is written once more for many devices at a time, and a test holds the
two together over random states. Reasons are left out, but for what they do to the state.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulators.episodes.tables import Bools, Floats, Ints, Tables
from tamiyo_runtime.governor import COOLING_K, SKIP

_RISE, _FALL, _FALL_BELOW_1 = 0.25, 0.05, 0.01


class Governors(NamedTuple):
    """What the governors remember, (lanes,) each; names as in `tamiyo_runtime.governor.State`."""

    current: Ints
    since_ms: Floats
    bucket_uj: Floats
    at_ms: Floats
    envelope: Floats
    hot: Bools


class Grants(NamedTuple):
    """Options granted, SKIP for none, with what was reserved for them and the slowdown they were granted at."""

    option: Ints
    reserved_uj: Floats
    slowdown: Floats


class Met(NamedTuple):
    """What the boards meet: ``temperature_c`` -inf where it is not known."""

    slowdown: Floats
    waited_ms: Floats
    temperature_c: Floats


def start(tables: Tables, now_ms: Floats) -> Governors:
    """Full buckets, nothing running, estimates taken at their word."""
    lanes = len(tables)
    skip = np.full(lanes, SKIP)
    return Governors(skip, now_ms.copy(), tables.burst_uj.copy(), now_ms.copy(), np.ones(lanes), np.zeros(lanes, bool))


def level_uj(tables: Tables, state: Governors, now_ms: Floats) -> Floats:
    """Of the buckets now."""
    return np.minimum(state.bucket_uj + tables.power_mw * (now_ms - state.at_ms), tables.burst_uj)


def fill(tables: Tables, state: Governors, now_ms: Floats) -> Floats:
    """Of the buckets now, 0..1; 1 without a limit."""
    with np.errstate(invalid="ignore"):
        share = np.clip(level_uj(tables, state, now_ms) / tables.burst_uj, 0.0, 1.0)
    return np.where(np.isinf(tables.burst_uj), 1.0, share)


def decide(tables: Tables, state: Governors, proposal: Ints, met: Met, now_ms: Floats) -> tuple[Grants, Governors]:
    """Grant an option to each lane, or skip it; the worst case is taken from the bucket."""
    lanes, index = np.arange(len(tables)), np.arange(tables.rank.shape[1])
    level, envelope, current = level_uj(tables, state, now_ms), state.envelope, state.current
    stretch, draw = met.slowdown * envelope, met.slowdown * np.maximum(envelope, 1.0)
    hot = met.temperature_c >= np.where(state.hot, tables.hot_c - COOLING_K, tables.hot_c)
    thermal = (met.temperature_c >= tables.limit_c)[:, None] | (
        hot[:, None] & (index > 0) & (tables.settled_c >= tables.hot_c[:, None])
    )
    needs_ms = tables.latency_worst_ms * stretch[:, None] * tables.margin[:, None]
    late = needs_ms + met.waited_ms[:, None] > tables.deadline_ms[:, None]
    late_at_once = needs_ms > tables.deadline_ms[:, None]
    need_uj = tables.energy_worst_uj * draw[:, None]
    barred = ~tables.fits_memory | thermal | (tables.rank < 0)
    refused = barred | late | (need_uj > level[:, None])

    with np.errstate(invalid="ignore"):
        most = (tables.reserve_share * tables.burst_uj)[:, None]
        room = np.minimum(most, np.maximum(0.0, tables.burst_uj[:, None] - need_uj))
    rises = ((current != SKIP) & np.isfinite(tables.burst_uj))[:, None] & (current[:, None] < index)
    unfit = barred | late | (need_uj + np.where(rises, room, 0.0) > level[:, None])  # going up needs a reserve
    by_latency = ~barred[lanes, proposal] & late[lanes, proposal]
    proposal_ok = ~unfit[lanes, proposal]

    asked = tables.gates[lanes, proposal]
    subset = ~(tables.gates & ~asked[:, None, :]).any(axis=2)
    open_ = ~unfit & (index != proposal[:, None])
    score = np.where(open_, tables.rank + np.where(subset, len(index), 0), -1)
    fallback = np.where(score.max(axis=1) >= 0, score.argmax(axis=1), SKIP)
    chosen = np.where(proposal_ok, proposal, fallback)
    skipped = chosen == SKIP

    held = np.maximum(current, 0)
    stays = (current != SKIP) & ~refused[lanes, held]
    changed = ~skipped & (chosen != current)
    rising = changed & (current != SKIP) & (current < chosen) & (now_ms - state.since_ms < tables.dwell_ms)
    kept = rising & stays
    only_waited = (current != SKIP) & (met.waited_ms > 0)
    only_waited &= ~barred[lanes, held] & ~late_at_once[lanes, held] & (need_uj[lanes, held] <= level)
    cut_once = changed & ~kept & ~proposal_ok & by_latency & only_waited
    chosen = np.where(kept, current, chosen)
    standing = np.where(kept | cut_once | skipped, current, chosen)
    since_ms = np.where(changed & ~kept & ~cut_once, now_ms, state.since_ms)

    late_only = ~(barred[:, 0]) & late[:, 0] & ~late_at_once[:, 0]
    relaxed = np.where(skipped & ~late_only, _follow(envelope, np.minimum(envelope, 1.0)), envelope)
    reserved = np.where(skipped, 0.0, need_uj[lanes, np.maximum(chosen, 0)])
    after = Governors(standing, since_ms, level - reserved, now_ms.copy(), relaxed, hot)
    return Grants(np.where(skipped, SKIP, chosen), reserved, met.slowdown), after


def settle(
    tables: Tables, state: Governors, grants: Grants, *, latency_ms: Floats, energy_uj: Floats, now_ms: Floats
) -> Governors:
    """Account for inferences that have ended; lanes that were skipped stay as they are."""
    ran = grants.option != SKIP
    level = np.minimum(level_uj(tables, state, now_ms) + grants.reserved_uj - energy_uj, tables.burst_uj)
    worst_ms = tables.latency_worst_ms[np.arange(len(tables)), np.maximum(grants.option, 0)] * grants.slowdown
    envelope = np.maximum(_follow(state.envelope, latency_ms / worst_ms), tables.floor)
    return state._replace(
        bucket_uj=np.where(ran, level, state.bucket_uj),
        at_ms=np.where(ran, now_ms, state.at_ms),
        envelope=np.where(ran, envelope, state.envelope),
    )


def _follow(envelope: Floats, ratio: Floats) -> Floats:
    gap = ratio - envelope
    falls = np.where(envelope > 1.0, _FALL, _FALL_BELOW_1) * gap
    return envelope + np.where(gap > 0, np.minimum(gap, _RISE), falls)
