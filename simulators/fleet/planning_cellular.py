"""Plans for cellular networks: what a report takes and costs on each rung of the ladder, and who has coverage.

A device does not choose its rate: the network assigns it by the signal. So there is one way to send, held to the
slowest rung on which a device of the fleet stands, and the rungs are shown as classes. Line of sight and shadowing are
drawn by the channel itself, for several fleets. Others who wait for the same cell are not modelled, so reporting less
often helps the battery and nothing else. A device in motion is counted where it starts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from statistics import NormalDist

import numpy as np

from simulators.cellular.channel import fleet, start
from simulators.cellular.latency import Plan as Timing
from simulators.cellular.latency import plan as timing
from simulators.cellular.pathloss import los_probability
from simulators.cellular.preset import Preset
from simulators.cellular.rrc import Transfer
from simulators.fleet.planning_terms import TOO_WEAK, Cause, Delivery, Limit, Refused, Way
from simulators.lorawan.streams import Floats

FLEETS = 8
BY_CLASS = "as the network assigns"
_T_95 = 2.365  # Student's t of 7 degrees of freedom, two-sided 95 %
_NINE_OF_TEN = 0.9
_HALVINGS = 40

Places = Callable[[int], Floats]
"""Number of a fleet to distances (devices,) in m from the antenna."""


class Cellular:
    """A cellular network as plans see it: a preset, a report's size, and where devices stand."""

    def __init__(
        self, preset: Preset, *, payload_bytes: int, places: Places, seed: int = 0, speed_m_s: float | None = None
    ) -> None:
        """Raises ValueError for places outside the path-loss model, or more than a payload."""
        if not 0 <= payload_bytes <= preset.payload_bytes:
            raise ValueError(f"{payload_bytes} bytes do not fit a payload of {preset.payload_bytes} bytes")
        self.name = preset.name
        self._preset = preset
        self._payload_bytes = payload_bytes
        self._timing: Timing = timing(preset.access, preset.ladder, payload_bytes + preset.overhead_bytes)
        self._rungs = [self._drawn(places(number), seed + number, speed_m_s) for number in range(FLEETS)]

    def ways(self) -> Sequence[Way]:
        """The one there is."""
        return (self._way,)

    def classes(self) -> Sequence[Way]:
        """A rung each that a device stands on, the fastest first, with the share of devices; of networks with coverage
        classes, since the rungs of the others differ by hardly anything in a report."""
        if self._preset.site.allocation_hz is not None:
            return ()
        together = np.concatenate(self._rungs)
        return tuple(
            self._on(int(rung), self._class_name(int(rung)), share=float((together == rung).mean()))
            for rung in np.unique(together)[::-1]
            if rung
        )

    def radio_mw(self, way: Way, interval_s: float) -> float:
        """Mean power: promotion, transfer, tail as far as it gets, rest."""
        return self._cycle_mj(way.number, interval_s) / interval_s

    def delivery(self, way: Way, interval_s: float) -> Delivery:
        """The same at every interval: no coverage, or a block that failed at every try."""
        kept = self._timing.above[-1].astype(np.float64)
        shares = np.array([np.where(rungs > 0, kept[rungs], 0.0).mean() for rungs in self._rungs])
        away = float(np.mean([(rungs == 0).mean() for rungs in self._rungs]))
        spread = float(shares.std(ddof=1)) * math.sqrt(1 + 1 / FLEETS)
        share = float(shares.mean())
        return Delivery(
            share=share,
            error=max(_T_95 * spread, 1.0 - float(kept[1:].min())),
            lost={TOO_WEAK: away, "failed at every try": max(0.0, 1.0 - share - away)},
            fleets=FLEETS,
            reports=sum(len(rungs) for rungs in self._rungs),
        )

    @cached_property
    def _slowest(self) -> int:
        together = np.concatenate(self._rungs)
        covered = together[together > 0]
        return int(covered.min()) if covered.size else 0

    @cached_property
    def _way(self) -> Way:
        if not self._slowest:
            why = f"no device has coverage; {self.name} reaches {self._reach_m(1) or 0:.0f} m at nine of ten places"
            return Way(
                name=BY_CLASS,
                number=0,
                airtime_s=0.0,
                report_mj=0.0,
                limits=(),
                reach_m=self._reach_m(1),
                refused=Refused(way=BY_CLASS, cause=Cause.RANGE, why=why),
            )
        return self._on(self._slowest, BY_CLASS, share=1.0)

    def _on(self, rung: int, name: str, *, share: float) -> Way:
        duration_s, air_s = self._transfer(rung)
        isolated_s = 3600.0  # the tail is over by then
        resting_mj = float(self._preset.radio.rest_uj(isolated_s)) * 1e-3
        return Way(
            name=name,
            number=rung,
            airtime_s=air_s,
            report_mj=self._cycle_mj(rung, isolated_s + self._promotion_s() + duration_s) - resting_mj,
            limits=(Limit(cause=Cause.RADIO, interval_s=self._promotion_s() + duration_s),),
            reach_m=self._reach_m(rung),
            share=share,
        )

    def _class_name(self, rung: int) -> str:
        ladder = self._preset.ladder
        return f"coupling loss to {-ladder.edges_db[rung - 1]:g} dB, {ladder.bits_per_s[rung] * 1e-3:.3g} kb/s"

    def _promotion_s(self) -> float:
        """From the deepest rest."""
        promotion = self._preset.radio.promotion_after(math.inf)
        return promotion.duration_s.value if promotion else 0.0

    def _transfer(self, rung: int) -> tuple[float, float]:
        """Connected time of a report and the part of it that is sending, on average over waits and retries."""
        times, access = self._timing, self._preset.access
        again = times.mean_retries(rung)
        duration_s = 1e-3 * (access.request_period_ms / 2 + float(times.floor_ms[rung]))
        duration_s += 1e-3 * again * float(times.harq_ms[rung])
        return duration_s, min(duration_s, times.air_s[rung] + again * self._preset.ladder.air_s[rung])

    def _cycle_mj(self, rung: int, interval_s: float) -> float:
        """From one report to the next."""
        radio = self._preset.radio
        duration_s, air_s = self._transfer(rung)
        megabits = 8e-6 * (self._payload_bytes + self._preset.overhead_bytes)
        sent_uj = radio.transfer_uj(Transfer(start_s=0.0, duration_s=duration_s, air_s=air_s, megabits=megabits))
        gap_s = max(0.0, interval_s - duration_s)
        promotion = radio.promotion_after(gap_s)
        if promotion is None:
            return 1e-3 * (sent_uj + float(radio.tail_uj(gap_s)))
        gap_s = max(0.0, gap_s - promotion.duration_s.value)
        between_uj = float(radio.tail_uj(gap_s)) + float(radio.rest_uj(gap_s))
        return 1e-3 * (promotion.energy_uj + sent_uj + between_uj)

    def _reach_m(self, rung: int) -> float | None:
        """Where nine of ten places are on that rung or above; None beyond the range of TR 38.901."""
        site, edge_db = self._preset.site, self._preset.ladder.edges_db[rung - 1]

        def covered(distance_m: float) -> float:
            seen = float(los_probability(site.scenario, distance_m))
            share = 0.0
            for los, weight in ((True, seen), (False, 1.0 - seen)):
                sigma_db, _ = site.shadowing(distance_m, los=los)
                signal = NormalDist(site.signal_db(distance_m, los=los), sigma_db)
                share += weight * (1.0 - signal.cdf(edge_db))
            return share

        near_m, far_m = 10.0, farthest_m(self._preset)
        if covered(far_m) >= _NINE_OF_TEN:
            return None
        for _ in range(_HALVINGS):
            middle_m = (near_m + far_m) / 2
            near_m, far_m = (middle_m, far_m) if covered(middle_m) >= _NINE_OF_TEN else (near_m, middle_m)
        return near_m

    def _drawn(self, distances_m: Floats, seed: int, speed_m_s: float | None) -> np.ndarray:
        devices = fleet(
            self._preset, range(len(distances_m)), seed=seed, distance_m=distances_m.tolist(), speed_m_s=speed_m_s
        )
        rungs: np.ndarray = self._preset.ladder.rung(start(devices).shadow_db + devices.mean_db)
        return rungs


def farthest_m(preset: Preset) -> float:
    """The end of the path-loss model's range."""
    return {"rma": 10_000.0}.get(preset.site.scenario, 5_000.0)
