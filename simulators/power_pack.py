"""What feeds a board that hangs on no socket: a battery, what charges it, and the state of both as time passes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulators.battery import Battery
from simulators.faults.outage import BOOT_S, PowerLost
from simulators.harvest import DAY_S, NONE, Harvest, Solar
from simulators.supply import Charged, follow, full
from tamiyo_runtime.contracts.document import require, require_finite

_PATIENCE_S = 400 * DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerPack:
    """``supply_v``: the board's own voltage, behind a linear regulator: its power over it is the battery's current.

    ``share``: of the capacity, at the start.
    """

    battery: Battery
    harvest: Harvest = NONE
    supply_v: float = 3.3
    share: float = 1.0
    boot_s: float = BOOT_S

    def __post_init__(self) -> None:
        require_finite(supply_v=self.supply_v, boot_s=self.boot_s)
        most_v = self.battery.curve[-1][1]
        require(
            0 < self.supply_v <= most_v,
            "supply_v",
            f"must be above 0 and at most the {most_v:g} V of a full battery, which no linear regulator raises,"
            f" got {self.supply_v:g}",
        )
        require(0 < self.share <= 1, "share", f"must be in (0, 1], got {self.share}")
        require(self.boot_s >= 0, "boot_s", f"must not be negative, got {self.boot_s}")

    def cell(self, *, seed: int, device: int) -> Cell:
        """The pack of one device, from now on; the sky over it is that of ``seed``."""
        harvest = self.harvest
        return Cell(
            replace(self, harvest=replace(harvest, seed=seed) if isinstance(harvest, Solar) else harvest), device
        )


class Cell:
    """A pack in use."""

    def __init__(self, pack: PowerPack, device: int) -> None:
        self._pack, self._devices = pack, np.array([device])
        self._state: Charged = full(pack.battery, 1, share=pack.share)
        self._as_of_s = 0.0

    @property
    def share(self) -> float:
        """Of the battery's charge that is left, 0..1."""
        return float(self._state.charge_mah[0]) / self._pack.battery.capacity_mah

    def draw(self, start_s: float, end_s: float, power_mw: float) -> None:
        """Draw this power for that time; raises PowerLost when the voltage breaks down on the way."""
        on_s = self._follow(start_s, end_s, power_mw)
        if on_s < end_s - start_s - 1e-9:
            back_s = self._back_s(end_s, power_mw)
            raise PowerLost(at_s=start_s + on_s, back_s=back_s, boot_s=self._pack.boot_s, why="brown-out")

    def rest(self, until_s: float) -> None:
        """Nothing is drawn until then, but the harvest comes in and the battery discharges itself."""
        if until_s > self._as_of_s:
            self._follow(self._as_of_s, until_s, 0.0)

    def _follow(self, start_s: float, end_s: float, power_mw: float) -> float:
        """Take the state on; the seconds that the board was on."""
        pack = self._pack
        self._state, on_s = follow(
            pack.battery,
            self._state,
            start_s,
            end_s,
            devices=self._devices,
            load_ma=power_mw / pack.supply_v,
            harvest=pack.harvest,
        )
        self._as_of_s = end_s
        return float(on_s[0])

    def _back_s(self, now_s: float, power_mw: float) -> float:
        """When there is voltage again, infinite when not within 400 days; the state is taken on to then."""
        end_s, pack = now_s + _PATIENCE_S, self._pack
        while not self._state.on[0] and now_s < end_s:
            until_s = (now_s // DAY_S + 1) * DAY_S
            if np.isfinite(pack.harvest.segment_s):
                until_s = (now_s // pack.harvest.segment_s + 1) * pack.harvest.segment_s
            on_s = self._follow(now_s, until_s, power_mw)
            if on_s > 0:
                most_mah = pack.battery.charge_at(pack.battery.recover_v)
                self._state = Charged(np.full(1, float(most_mah)), np.ones(1, dtype=np.bool_))
                self._as_of_s = until_s - on_s
                return self._as_of_s
            now_s = until_s
        return now_s if self._state.on[0] else float("inf")
