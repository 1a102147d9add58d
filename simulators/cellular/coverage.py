"""LTE-M and NB-IoT: transport blocks sent many times over, the more the weaker the signal.

A device in a coverage class sends ``processes`` blocks of ``block_bits``, each ``repetitions`` times, and then waits
for control, switching and the next grant:

    cycle = processes repetitions transmit + overhead           rate = processes block_bits / cycle

With three blocks of 1000 bits, 1 ms each and 5 ms of overhead that is the 375 kb/s of a half-duplex Cat M1; with one of
4 ms and 12 ms the 62.5 kb/s of a Cat NB1. The class is chosen by coupling loss, whose maximum (MCL) is 144, 154 and
164 dB by TR 45.820. Which block and how many repetitions an operator takes for a class is up to him; the classes below
are chosen here so that the signal at the class's edge, times the repetitions, reaches the rate of the block by the
attenuated Shannon bound of TR 36.942 (a test holds that).
"""

from __future__ import annotations

from dataclasses import dataclass

from simulators.cellular.rates import Ladder, noise_dbm

NPUSCH_RESOURCE_UNITS = (1, 2, 3, 4, 5, 6, 8, 10)
NPUSCH_BITS: tuple[tuple[int, ...], ...] = (
    (16, 32, 56, 88, 120, 152, 208, 256),
    (24, 56, 88, 144, 176, 208, 256, 344),
    (32, 72, 144, 176, 208, 256, 328, 424),
    (40, 104, 176, 208, 256, 328, 440, 568),
    (56, 120, 208, 256, 328, 408, 552, 680),
    (72, 144, 224, 328, 424, 504, 680, 872),
    (88, 176, 256, 392, 504, 600, 808, 1000),
    (104, 224, 328, 472, 584, 712, 1000),
    (120, 256, 392, 536, 680, 808),
    (136, 296, 456, 616, 776, 936),
    (144, 328, 504, 680, 872, 1000),
    (176, 376, 584, 776, 1000),
    (208, 440, 680, 1000),
)
"""Transport block of NPUSCH format 1 by I_TBS and number of resource units: TS 36.213 V13, table 16.5.1.2-2."""
RESOURCE_UNIT_S = {12: 1e-3, 6: 2e-3, 3: 4e-3, 1: 8e-3}
"""Length of a resource unit by tones of 15 kHz: TS 36.211, table 10.1.2.3-1."""
_REPETITIONS = tuple(1 << power for power in range(8))
_SINGLE_TONE_SYMBOLS = 96
"""Data symbols of a resource unit of one tone: TS 36.101, table A.2.4-1."""
PUSCH_BITS = (152, 208, 256, 328, 408, 504, 600, 712, 808, 936)
"""Transport block of six resource blocks by I_TBS 0..9, within Cat M1's 1000 bits: TS 36.213, table 7.1.7.2.1-1."""
_PUSCH_SYMBOLS = 6 * 12 * 12
"""Data symbols of six resource blocks in a subframe: two of 14 symbols carry pilots."""
CRC_BITS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class CoverageClass:
    """One way to send, for coupling losses up to ``mcl_db``.

    ``transmit_s``: a block, once. ``overhead_s``: control, switching and gaps of a cycle. ``symbols``: data symbols of
    a block, for its code rate. ``bandwidth_hz``: what the power is spread over.
    """

    mcl_db: float
    block_bits: int
    transmit_s: float
    symbols: int
    bandwidth_hz: float
    overhead_s: float
    processes: int = 1
    repetitions: int = 1

    def __post_init__(self) -> None:
        if not (self.block_bits > 0 and self.transmit_s > 0 and self.overhead_s >= 0 and self.bandwidth_hz > 0):
            raise ValueError(f"no block of {self.block_bits} bits takes {self.transmit_s} s in {self.bandwidth_hz} Hz")
        if self.processes < 1 or self.repetitions < 1:
            raise ValueError(f"{self.processes} processes and {self.repetitions} repetitions must be at least 1")

    @property
    def cycle_s(self) -> float:
        """From one grant to the next."""
        return self.processes * self.repetitions * self.transmit_s + self.overhead_s

    @property
    def bits_per_s(self) -> float:
        """What cycle after cycle carries."""
        return self.processes * self.block_bits / self.cycle_s

    @property
    def bits_per_symbol(self) -> float:
        """Of one repetition, check sum included."""
        return (self.block_bits + CRC_BITS) / self.symbols

    def snr_db(self, *, power_dbm: float, noise_figure_db: float) -> float:
        """Of one repetition at the class's edge."""
        return power_dbm - self.mcl_db - noise_dbm(self.bandwidth_hz, noise_figure_db)


def npusch(
    *, mcl_db: float, i_tbs: int, resource_units: int, repetitions: int, overhead_s: float, tones: int = 1
) -> CoverageClass:
    """A class of NB-IoT at 15 kHz. Raises ValueError, with the legal values, for what TS 36.213 does not have."""
    if tones not in RESOURCE_UNIT_S:
        raise ValueError(f"{tones} tones are not one of {', '.join(map(str, RESOURCE_UNIT_S))}")
    if repetitions not in _REPETITIONS:
        raise ValueError(f"{repetitions} repetitions are not one of {', '.join(map(str, _REPETITIONS))}")
    if not 0 <= i_tbs < len(NPUSCH_BITS) or (tones == 1 and i_tbs > 10):
        raise ValueError(f"I_TBS {i_tbs} is not in 0..{10 if tones == 1 else 12} with {tones} tones")
    legal = NPUSCH_RESOURCE_UNITS[: len(NPUSCH_BITS[i_tbs])]
    if resource_units not in legal:
        raise ValueError(
            f"{resource_units} resource units are not one of {', '.join(map(str, legal))} at I_TBS {i_tbs}"
        )
    symbols = _SINGLE_TONE_SYMBOLS if tones == 1 else 144
    return CoverageClass(
        mcl_db=mcl_db,
        block_bits=NPUSCH_BITS[i_tbs][legal.index(resource_units)],
        transmit_s=resource_units * RESOURCE_UNIT_S[tones],
        symbols=resource_units * symbols,
        bandwidth_hz=15e3 * tones,
        overhead_s=overhead_s,
        repetitions=repetitions,
    )


def pusch_m1(*, mcl_db: float, i_tbs: int, repetitions: int, overhead_s: float, processes: int) -> CoverageClass:
    """A class of LTE-M over all six resource blocks; raises ValueError for an I_TBS beyond 0..9."""
    if not 0 <= i_tbs < len(PUSCH_BITS):
        raise ValueError(f"I_TBS {i_tbs} is not in 0..{len(PUSCH_BITS) - 1}")
    return CoverageClass(
        mcl_db=mcl_db,
        block_bits=PUSCH_BITS[i_tbs],
        transmit_s=1e-3,
        symbols=_PUSCH_SYMBOLS,
        bandwidth_hz=1.08e6,
        overhead_s=overhead_s,
        processes=processes,
        repetitions=repetitions,
    )


NB_IOT = (
    npusch(mcl_db=144.0, i_tbs=9, resource_units=6, repetitions=1, overhead_s=12e-3),
    npusch(mcl_db=154.0, i_tbs=6, resource_units=6, repetitions=4, overhead_s=19e-3),
    npusch(mcl_db=164.0, i_tbs=5, resource_units=6, repetitions=32, overhead_s=75e-3),
)
"""One tone of 15 kHz. Overhead: NPDCCH of 1, 8 and 64 ms, 8 ms to the start of NPUSCH, 3 ms to the next NPDCCH."""
LTE_M = (
    pusch_m1(mcl_db=128.0, i_tbs=9, repetitions=1, overhead_s=5e-3, processes=3),
    pusch_m1(mcl_db=144.0, i_tbs=6, repetitions=16, overhead_s=13e-3, processes=3),
    pusch_m1(mcl_db=154.0, i_tbs=5, repetitions=128, overhead_s=32e-3, processes=1),
    pusch_m1(mcl_db=164.0, i_tbs=4, repetitions=1024, overhead_s=256e-3, processes=1),
)
"""Modes A (three processes) and B. Overhead: MPDCCH with a share of the repetitions, and switching."""


def coverage_ladder(classes: tuple[CoverageClass, ...]) -> Ladder:
    """Rungs by minus the coupling loss: the widest class first. Raises ValueError when rates do not fall with MCL."""
    ordered = sorted(classes, key=lambda one: -one.mcl_db)
    return Ladder(
        edges_db=tuple(-one.mcl_db for one in ordered),
        bits_per_s=(0.0, *(one.bits_per_s for one in ordered)),
        block_bits=(1.0, *(float(one.block_bits) for one in ordered)),
        air_s=(0.0, *(one.repetitions * one.transmit_s for one in ordered)),
        harq_s=(ordered[0].cycle_s, *(one.cycle_s for one in ordered)),
    )
