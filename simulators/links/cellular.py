"""5G, LTE, LTE-M and NB-IoT as the runtime's telemetry sees them: one simulated device, one payload after the other.

A payload waits for coverage, wakes the radio if it sleeps, asks for a grant, and is sent at the rate of the moment; it
goes on at the rate of the next step where it lasts longer than one, and stands still in an outage. It is lost when a
block failed at every HARQ try: RLC would send it again, here the runtime's spool does. Energy is the radio's:
promotion, connected time and the tail the transfer causes, less what it takes over of the tail before
(`simulators.cellular.rrc`); idle and power saving are charged to nobody.

Licensed spectrum has no duty cycle: the level is always 1, and no airtime is charged to a budget that was made for one.
One seed is one channel and one set of draws: runs are identical. Place, speed and network are the preset's or the
caller's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from simulators.cellular.channel import Cursor, Fleet, after, fleet, start, walk
from simulators.cellular.latency import Plan, plan
from simulators.cellular.luck import Luck, luck
from simulators.cellular.preset import Preset
from simulators.cellular.presets import preset
from simulators.cellular.rrc import Account, Transfer
from tamiyo_runtime.link import Lasting, Transmission, links

_CHUNK = 256  # steps, and transfers, to compute at a time
_PLANS = 64  # sizes to remember
_REACH_SIGMAS = 4.0  # a device on the move is that lucky once in 30,000 steps
_PATIENCE_STEPS = 10_000_000  # without coverage, on average; such a wait is computed step by step


class Coverage:
    """The steps of one device: rung of the ladder, 0 in an outage. Computed as far as somebody looks.

    The first step that is asked for is the channel's first: a real clock may begin at the machine's uptime.
    """

    def __init__(self, device: Fleet) -> None:
        self._device = device
        self._cursor: Cursor = start(device)
        self._chunks: list[bytes] = []
        self._origin: int | None = None

    def before(self, step: int) -> bool:
        """Whether a step is before the first that was asked for."""
        return self._origin is not None and step < self._origin

    def rung(self, step: int) -> int:
        """The rung at a step; raises ValueError before the first that was asked for."""
        self._origin = step if self._origin is None else self._origin
        if step < self._origin:
            raise ValueError(f"step {step} is before the first, {self._origin}")
        step -= self._origin
        while step >= len(self._chunks) * _CHUNK:
            first = len(self._chunks) * _CHUNK
            done = walk(self._device, self._cursor, first, _CHUNK)
            following = after(self._cursor, done, first, first + _CHUNK)
            assert following is not None
            self._cursor = following
            self._chunks.append(np.where(done.bad, 0, done.rung)[0].astype(np.uint8).tobytes())
        return self._chunks[step // _CHUNK][step % _CHUNK]


class CellularLink(Lasting):
    """Uplink of one preset; implements `tamiyo_runtime.link.Link`. ``air_s``: time the radio has sent for, so far."""

    options = ("distance_m", "speed_m_s", "seed")
    example = "distance_m=300&speed_m_s=1.4&seed=1"
    network: ClassVar[str] = "5g-sa-mid-band"

    def __init__(
        self,
        *,
        seed: int = 0,
        distance_m: float | None = None,
        speed_m_s: float | None = None,
        network: Preset | None = None,
        device: int = 0,
    ) -> None:
        """``device``: number in a fleet, whose channel and chances it has.

        Raises ValueError for a place outside the path-loss model or without coverage, and a broken seed."""
        if seed % 1 != 0:  # an option is read as a float where it is no integer
            raise ValueError(f"seed {seed} is not a whole number")
        self.preset = network or preset(self.network)
        self._plan = lru_cache(_PLANS)(self._planned)
        site = self.preset.site
        self.distance_m = site.distance_m if distance_m is None else distance_m
        self._device = fleet(self.preset, [device], seed=int(seed), distance_m=self.distance_m, speed_m_s=speed_m_s)
        self._coverage = Coverage(self._device)
        self._account = Account(self.preset.radio)
        self._free_s = -math.inf
        self._sent = 0
        self.air_s = 0.0
        self._lucks: list[Luck] = []
        sight = "in sight of" if bool(self._device.los[0]) else "behind buildings,"
        self.sources = self.preset.sources
        self.label = f"{self.preset.name} (simulated, {sight} an antenna {self.distance_m:g} m away)"
        self._check_reach()

    def max_payload_bytes(self) -> int:
        """Of the preset."""
        return self.preset.payload_bytes

    def ready_at_s(self, size_bytes: int, now_s: float) -> float:
        """When the payload before has left and there is coverage."""
        self._check(size_bytes)
        return self.covered_at_s(max(now_s, self._free_s))

    def transmit(self, size_bytes: int, now_s: float) -> Transmission:
        """Send a payload; its latency ends at the server."""
        ready_at_s = self.ready_at_s(size_bytes, now_s)
        if now_s < ready_at_s:
            raise ValueError(f"{size_bytes} bytes may not be sent at {now_s} s, not before {ready_at_s} s")
        transfer = self._plan(size_bytes)
        chance = self._luck()
        promotion_s = self._account.promotion_s(now_s)
        connected_s = now_s + promotion_s
        end_s, air_s, rung = self._carry(transfer, connected_s + 1e-3 * chance.wait * transfer.wait_ms)
        failed = transfer.failures(rung, chance.harq)
        again = min(failed, self.preset.access.tries - 1)
        air_s += again * self.preset.ladder.air_s[rung]
        end_s += again * self.preset.ladder.harq_s[rung] + 1e-3 * chance.gap_ms
        energy_uj = self._account.charge_uj(
            Transfer(
                start_s=now_s,
                duration_s=end_s - connected_s,
                air_s=min(air_s, end_s - connected_s),
                megabits=8e-6 * (size_bytes + self.preset.overhead_bytes),
            )
        )
        self._free_s = end_s
        self.air_s += air_s
        return Transmission(
            delivered=failed < self.preset.access.tries,
            airtime_s=0.0,
            latency_s=end_s - now_s + 1e-3 * chance.core_ms,
            energy_uj=energy_uj,
        )

    def sustainable_bytes_per_s(self) -> float:
        """Payload rate of full frames one after the other, on average over shadowing and outages."""
        size_bytes, access = self.max_payload_bytes(), self.preset.access
        transfer = self._plan(size_bytes)
        rate = 0.0
        for rung, share in enumerate(self._shares()):
            took_ms = float(transfer.floor_ms[rung]) + access.request_period_ms / 2
            took_ms += transfer.mean_retries(rung) * float(transfer.harq_ms[rung])
            rate += share * size_bytes / (took_ms * 1e-3)
        return rate * (1 - self.preset.outages.share)

    def level(self, now_s: float) -> float:
        """There is no credit to use up."""
        return 1.0

    def covered_at_s(self, now_s: float) -> float:
        """When there is coverage: ``now_s``, or the end of the outage."""
        step = math.floor(now_s / self.preset.step_s)
        if self._coverage.rung(step):
            return now_s
        while not self._coverage.rung(step):
            step += 1
        return step * self.preset.step_s

    def outages(self, since_s: float, until_s: float) -> Iterator[tuple[float, float]]:
        """Begin and end of each stretch without coverage that begins in ``since_s <= t < until_s``.

        The first step that was ever asked for counts as a beginning.
        """
        step_s = self.preset.step_s
        first, end = math.ceil(since_s / step_s), math.ceil(until_s / step_s)
        if first >= end:
            return
        self._coverage.rung(first)
        before = self._covered(first - 1)
        for step in range(first, end):
            here = self._covered(step)
            if before and not here:
                yield step * step_s, self.covered_at_s(step * step_s)
            before = here

    def _covered(self, step: int) -> bool:
        return self._coverage.before(step) or bool(self._coverage.rung(step))

    def _luck(self) -> Luck:
        place = self._sent % _CHUNK
        if not place:
            self._lucks = luck(self._device, self._sent, _CHUNK)
        self._sent += 1
        return self._lucks[place]

    def _carry(self, transfer: Plan, asked_s: float) -> tuple[float, float, int]:
        """When data that asks for its grant at ``asked_s`` has been decoded, time on air, and the last rung."""
        step_s, access = self.preset.step_s, self.preset.access
        now_s = self.covered_at_s(asked_s) + access.grant_ms * 1e-3
        left, air_s = 1.0, 0.0
        while True:
            step = math.floor(now_s / step_s)
            rung = self._coverage.rung(step)
            step_end_s = (step + 1) * step_s
            if rung:
                whole_s = transfer.data_ms[rung] * 1e-3
                done = min(left, (step_end_s - now_s) / whole_s)
                air_s += done * transfer.air_s[rung]
                if done == left:
                    return now_s + left * whole_s + access.station_ms * 1e-3, air_s, rung
                left -= done
            now_s = step_end_s

    def _shares(self) -> list[float]:
        """Share of the time on each rung."""
        edges = (-math.inf, *self.preset.ladder.edges_db, math.inf)
        device = self._device
        if self._stands:
            shadow = start(device).shadow_db + device.mean_db
            here = int(self.preset.ladder.rung(shadow)[0])
            return [float(rung == here) for rung in range(len(edges) - 1)]
        signal = NormalDist(float(device.mean_db[0]), float(device.sigma_db[0]))
        below = [signal.cdf(edge) if math.isfinite(edge) else float(edge > 0) for edge in edges]
        return [above - under for under, above in pairwise(below)]

    def _planned(self, size_bytes: int) -> Plan:
        return plan(self.preset.access, self.preset.ladder, size_bytes + self.preset.overhead_bytes)

    def _check(self, size_bytes: int) -> None:
        if not 0 <= size_bytes <= self.max_payload_bytes():
            raise ValueError(f"{size_bytes} bytes do not fit a payload of {self.max_payload_bytes()} bytes")

    @property
    def _stands(self) -> bool:
        """Whether shadowing never changes: of a device that stands still, or so slow that it is lost in rounding."""
        return float(self._device.rho[0]) == 1.0

    def _check_reach(self) -> None:
        device, needed_db = self._device, self.preset.ladder.edges_db[0]
        luck_db = start(device).shadow_db if self._stands else device.sigma_db * _REACH_SIGMAS
        best_db = float((device.mean_db + luck_db)[0])
        if best_db < needed_db:
            raise ValueError(
                f"no coverage {self.distance_m:g} m away: the signal is at most {best_db:.1f} dB and {needed_db:g} dB"
                f" are needed; the preset's distance is {self.preset.site.distance_m:g} m"
            )
        if self._stands:
            return
        uncovered = self._shares()[0]
        steps = uncovered / (1 - uncovered) / (1 - float(device.rho[0]))  # shadowing is another after 1 / (1 - rho)
        if steps > _PATIENCE_STEPS:
            raise ValueError(
                f"no coverage {self.distance_m:g} m away: at {device.speed_m_s:g} m/s it is away for"
                f" {steps * self.preset.step_s / 86_400:.0f} days at a time; go faster, or nearer"
            )


def _named(name: str) -> type[CellularLink]:
    title = "".join(part.capitalize() for part in name.split("-"))
    members = {"network": name, "carries_raw": name not in _NARROW, "__doc__": f"Uplink of the preset {name}."}
    return type(f"Cellular{title}", (CellularLink,), members)


_NARROW = ("lte-m", "nb-iot")
NETWORKS = {
    "5g": "5g-sa-mid-band",
    "5g-nsa": "5g-nsa-low-band",
    "5g-mmwave": "5g-nsa-mmwave",
    "lte": "lte-cat4",
    "lte-cat1": "lte-cat1",
    "lte-m": "lte-m",
    "nb-iot": "nb-iot",
}
"""A preset by the name of its link."""
for _name, _network in NETWORKS.items():
    links.register(_name)(_named(_network))
