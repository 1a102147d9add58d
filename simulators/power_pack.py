"""What feeds a board that hangs on no socket: a battery, what charges it, and the state of both as time passes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulators.battery import Battery
from simulators.faults.outage import BOOT_S, PowerLost
from simulators.harvest import DAY_S, NONE, Harvest, Solar
from simulators.supply import Charged, follow, full
from tamiyo_runtime.contracts.document import require

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
        require(self.supply_v > 0, "supply_v", f"must be above 0, got {self.supply_v}")
        require(0 < self.share <= 1, "share", f"must be in (0, 1], got {self.share}")

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

    @property
    def share(self) -> float:
        """Of the battery's charge that is left, 0..1."""
        return float(self._state.charge_mah[0]) / self._pack.battery.capacity_mah

    def draw(self, start_s: float, end_s: float, power_mw: float) -> None:
        """Draw this power for that time; raises PowerLost when the voltage breaks down on the way."""
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
        if on_s[0] < end_s - start_s - 1e-9:
            at_s = start_s + float(on_s[0])
            raise PowerLost(at_s=at_s, back_s=self._back_s(end_s, power_mw), boot_s=pack.boot_s, why="brown-out")

    def _back_s(self, now_s: float, power_mw: float) -> float:
        """When there is voltage again, infinite when not within 400 days; the state is taken on to then."""
        end_s, pack = now_s + _PATIENCE_S, self._pack
        while not self._state.on[0] and now_s < end_s:
            until_s = (now_s // DAY_S + 1) * DAY_S
            if np.isfinite(pack.harvest.segment_s):
                until_s = (now_s // pack.harvest.segment_s + 1) * pack.harvest.segment_s
            before = self._state
            self._state, on_s = follow(
                pack.battery,
                before,
                now_s,
                until_s,
                devices=self._devices,
                load_ma=power_mw / pack.supply_v,
                harvest=pack.harvest,
            )
            if on_s[0] > 0:
                most_mah = pack.battery.charge_at(pack.battery.recover_v)
                self._state = Charged(np.full(1, float(most_mah)), np.ones(1, dtype=np.bool_))
                return until_s - float(on_s[0])
            now_s = until_s
        return now_s if self._state.on[0] else float("inf")
