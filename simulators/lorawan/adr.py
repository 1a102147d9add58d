"""Adaptive data rate, both halves, as pure functions.

The network speeds a device up: Semtech's algorithm as The Things Network and ChirpStack run it takes the best SNR of
the last 20 uplinks, and each 3 dB above what the data rate needs plus a margin buys one step, first of data rate, then
of power. The device slows itself down when it hears nothing for long (LoRaWAN 1.0.x, 4.3.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass

STEP_DB = 3.0
SNR_FLOOR_DB = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}
"""What a demodulator needs: SX1276 data sheet, table 13."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a device sends with: data rate up is faster, power index up is weaker."""

    data_rate: int
    power_index: int


def network_settings(
    now: Settings, *, best_snr_db: float, needed_snr_db: float, margin_db: float, fastest: int, weakest: int
) -> Settings:
    """What the network orders. Data rate is never lowered from here; power is raised when the margin is missing."""
    steps = int((best_snr_db - needed_snr_db - margin_db) // STEP_DB)
    data_rate, power_index = now.data_rate, now.power_index
    faster = max(0, min(steps, fastest - data_rate))
    data_rate += faster
    steps -= faster
    if steps > 0:
        power_index = min(weakest, power_index + steps)
    elif steps < 0:
        power_index = max(0, power_index + steps)
    return Settings(data_rate, power_index)


def device_settings(now: Settings, *, unheard: int, limit: int, delay: int, slowest: int) -> Settings:
    """What the device falls back to after ``unheard`` uplinks without a downlink: full power first, then one data rate
    slower every ``delay`` uplinks."""
    over = unheard - limit
    if over < delay or over % delay:
        return now
    if now.power_index > 0:
        return Settings(now.data_rate, 0)
    return Settings(max(slowest, now.data_rate - 1), 0)


def asks_for_answer(unheard: int, limit: int) -> bool:
    """Whether the device sets ADRACKReq."""
    return unheard >= limit
