"""What the cellular radios of many devices spend, transfer by transfer: `simulators.cellular.rrc` for arrays.

A transfer pays its promotion and its connected time; the tail after it, and the rest after that, are paid when it is
known how long they lasted: as the next transfer begins, or the run ends. A radio has rested for ever as a run begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulators.cellular.rrc import CHARGED, Radio
from simulators.lorawan.streams import Floats, Ints


@dataclass(slots=True, kw_only=True)
class Spending:
    """Millijoules by cause, and since when each radio is free: (devices,) each; -inf before its first transfer."""

    radio: Radio
    promotion_mj: Floats
    connected_mj: Floats
    tail_mj: Floats
    rest_mj: Floats
    free_s: Floats

    @classmethod
    def of(cls, radio: Radio, count: int) -> Spending:
        """Nothing spent yet."""
        zeros = [np.zeros(count) for _ in range(4)]
        return cls(
            radio=radio,
            promotion_mj=zeros[0],
            connected_mj=zeros[1],
            tail_mj=zeros[2],
            rest_mj=zeros[3],
            free_s=np.full(count, -np.inf),
        )

    def transfer(self, device: Ints, begin_s: Floats, connected_s: Floats, air_s: Floats, megabits: float) -> Floats:
        """Transfers of some devices, none twice, in order of time for each; returns how long promotions take."""
        self._idle(device, begin_s)
        gap_s = begin_s - self.free_s[device]
        promoted_s, promoted_mj = np.zeros(device.size), np.zeros(device.size)
        since_s = 0.0
        for phase in self.radio.phases:
            if phase.state not in CHARGED:
                promotion = self.radio.promotions[phase.state]
                found = (gap_s >= since_s) & ((gap_s < phase.until_s) | (phase.until_s == math.inf))
                promoted_s[found] = promotion.duration_s.value
                promoted_mj[found] = promotion.energy_uj * 1e-3
            since_s = phase.until_s
        self.promotion_mj[device] += promoted_mj
        radio = self.radio
        self.connected_mj[device] += (
            radio.connected_mw.value * (connected_s - air_s)
            + radio.sending_mw.value * air_s
            + radio.mj_per_megabit.value * megabits
        )
        self.free_s[device] = begin_s + promoted_s + connected_s
        return promoted_s

    def end(self, until_s: float) -> None:
        """The run is over: what tails and rest have taken until then."""
        count = self.free_s.size
        self._idle(np.arange(count), np.maximum(self.free_s, until_s))

    def columns(self) -> dict[str, Floats]:
        """By the names that results have."""
        return {
            "radio_sending_mj": self.connected_mj,
            "radio_listening_mj": self.tail_mj,
            "radio_waiting_mj": self.promotion_mj,
            "radio_sleep_mj": self.rest_mj,
        }

    def _idle(self, device: Ints, until_s: Floats) -> None:
        first = np.isneginf(self.free_s[device])
        gap_s = np.where(first, 0.0, until_s - np.where(first, 0.0, self.free_s[device]))
        self.tail_mj[device] += self.radio.tail_uj(gap_s) * 1e-3
        deepest_mw = self.radio.phases[-1].power_mw.value
        self.rest_mj[device] += np.where(first, deepest_mw * until_s, self.radio.rest_uj(gap_s) * 1e-3)
