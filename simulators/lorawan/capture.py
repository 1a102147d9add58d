"""When one packet survives another: signal-to-interference thresholds and the symbols that must be clear.

By default a packet survives an interferer of the same channel when it is stronger by the threshold of (its own
modulation, the interferer's), or when they do not overlap from the first preamble symbol that a receiver needs until
the end. Each interferer is weighed alone, as in LoRaSim; where channels are so full that several overlap at once that
is optimistic, and the models whose names begin with ``energy`` add them up as ns-3 lorawan does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from simulators.lora import symbol_s
from simulators.lorawan.chips import FACTORS, Radio
from simulators.lorawan.interference import Rule
from simulators.lorawan.region import DataRate
from simulators.lorawan.streams import Floats
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.contracts.registry import Registry

BANDWIDTHS_HZ = (125_000, 250_000, 500_000)
MODULATIONS = tuple((factor, hz) for hz in BANDWIDTHS_HZ for factor in FACTORS)
"""Index of a modulation: spreading factors 7 to 12 at 125 kHz, then at 250 and 500 kHz."""
PREAMBLE_SYMBOLS = 8
NOISE_FIGURE_DB = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Thresholds in dB, rows the wanted packet's factor 7 to 12, columns the interferer's, and how many of the last
    preamble symbols a receiver needs. Where bandwidths differ the highest threshold of the row between unlike factors
    counts: an estimate."""

    sir_db: tuple[tuple[float, ...], ...]
    preamble_needed: int = 5
    rule: Rule = Rule.STRONGEST

    def __post_init__(self) -> None:
        if [len(row) for row in self.sir_db] != [len(FACTORS)] * len(FACTORS):
            raise SchemaError("sir_db", f"{len(self.sir_db)} rows are not a 6 x 6 matrix", hint="SF7 to SF12 each way")
        if not 0 <= self.preamble_needed <= PREAMBLE_SYMBOLS:
            raise SchemaError("preamble_needed", f"{self.preamble_needed} is not in 0 to {PREAMBLE_SYMBOLS}")

    def table_db(self) -> Floats:
        """(18, 18) thresholds by `MODULATIONS`."""
        matrix = np.array(self.sir_db, dtype=np.float64)
        others = np.where(np.eye(len(FACTORS), dtype=bool), -np.inf, matrix).max(axis=1)
        across = np.repeat(others[:, None], len(FACTORS), axis=1)
        rows = [[matrix if one == two else across for two in BANDWIDTHS_HZ] for one in BANDWIDTHS_HZ]
        return np.block(rows)

    def lead_s(self) -> Floats:
        """(18,) seconds from the start of a packet until interference begins to matter."""
        spare = PREAMBLE_SYMBOLS - self.preamble_needed
        return np.array([spare * symbol_s(factor, hz) for factor, hz in MODULATIONS])


captures: Registry[Capture] = Registry("lora-captures", noun="LoRa capture model")
_INF = float("inf")


def _diagonal(same_db: float) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(same_db if one == two else -_INF for two in FACTORS) for one in FACTORS)


# Goursaud and Gorce (2015) as ns-3 lorawan has them, 6 dB for the same factor
GOURSAUD = Capture(
    sir_db=(
        (6, -16, -18, -19, -19, -20),
        (-24, 6, -20, -22, -22, -22),
        (-27, -27, 6, -23, -25, -25),
        (-30, -30, -30, 6, -26, -28),
        (-33, -33, -33, -33, 6, -29),
        (-36, -36, -36, -36, -36, 6),
    )
)
# Croce et al., IEEE Communications Letters 22(4), 2018, as ns-3 lorawan and FLoRa have them; 1 dB for the same
CROCE = Capture(
    sir_db=(
        (1, -8, -9, -9, -9, -9),
        (-11, 1, -11, -12, -13, -13),
        (-15, -13, 1, -13, -14, -15),
        (-19, -18, -17, 1, -17, -18),
        (-22, -22, -21, -20, 1, -20),
        (-25, -25, -25, -24, -23, 1),
    )
)
captures.register("goursaud")(GOURSAUD)
captures.register("croce")(CROCE)
captures.register("energy-goursaud")(replace(GOURSAUD, rule=Rule.ENERGY))
captures.register("energy-croce")(replace(CROCE, rule=Rule.ENERGY))
captures.register("same-factor")(Capture(sir_db=_diagonal(6.0)))
# LoRaSim 0.2.1, loraDir.py: unlike factors do not meet, and the last symbols of the earlier packet do not count
captures.register("lorasim")(Capture(sir_db=_diagonal(6.0), rule=Rule.LORASIM))
captures.register("aloha")(Capture(sir_db=_diagonal(_INF), preamble_needed=PREAMBLE_SYMBOLS))


def modulation(rate: DataRate) -> int:
    """Index of a LoRa data rate in `MODULATIONS`; raises InputError for FSK, whose reception is not modelled."""
    if rate.spreading_factor is None:
        raise InputError("reception of FSK is not modelled", hint="choose one of the LoRa data rates")
    return MODULATIONS.index((rate.spreading_factor, rate.bandwidth_hz))


def sensitivities_dbm(radio: Radio) -> Floats:
    """(18,) weakest signals by `MODULATIONS`."""
    return np.array([radio.hears_dbm(factor, hz) for factor, hz in MODULATIONS])


def noise_dbm() -> Floats:
    """(18,) thermal noise by `MODULATIONS`: -174 dBm/Hz, the bandwidth, a noise figure of 6 dB."""
    return np.array([-174.0 + 10.0 * np.log10(hz) + NOISE_FIGURE_DB for _, hz in MODULATIONS])
