"""A systolic array with its own memories, output-stationary, in closed form.

A product of M x K by K x N on an array of R x C takes, for each tile of R x C outputs, K steps to sum and R + C - 2 for
the wavefront to cross the array:

    cycles = ceil(M / R) * ceil(N / C) * (K + R + C - 2)

Operands pass the on-chip buffer once a tile; what the buffer cannot hold (weights beyond it, activations that do not
fit) comes from DRAM. Both transfers run beside the computing, so an operator takes the longest of the three. Energy is
counted, not metered: MACs, bytes of each level, and static power over the time.

    E = MACs * e_mac + bytes_sram * e_sram + bytes_dram * e_dram + P_static * t

Cycles agree with SCALE-Sim's output-stationary mode within 1 %; energies a MAC and a byte follow Horowitz, "Computing's
energy problem", ISSCC 2014, and the ratios of the memory levels in Eyeriss (Chen et al., ISCA 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from device_profiles.ops import MAC_KINDS, Op, gemm_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """Energy of a MAC and of a byte of each memory level, pJ; power drawn whether it computes or not, mW."""

    mac_pj: float
    sram_pj_per_byte: float
    dram_pj_per_byte: float
    static_mw: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Systolic:
    """Arrays of one chip, their clock and memories. ``low`` and ``high`` are the ends of the energies' intervals.

    ``cycle_factor``: cycles in this precision over those in int8. ``vector_bytes_per_us`` is the rate of the unit that
    does what is no matrix product.
    """

    rows: int
    columns: int
    arrays: int
    cycle_us: float
    cycle_factor: float
    mac_factor: float
    floor_us: float
    operator_us: float
    sram_bytes: float
    us_per_sram_byte: float
    us_per_dram_byte: float
    us_per_vector_byte: float
    item_bytes: int
    energy: Energies
    low: Energies
    high: Energies

    @property
    def us_per_mac(self) -> float:
        """Time of a MAC with every cell at work, us."""
        return self.cycle_us * self.cycle_factor / (self.rows * self.columns * self.arrays)

    def cycles(self, op: Op) -> float:
        """Cycles of an operator of MACs by itself, by the closed form above; tiles are dealt out over the arrays."""
        m, k, n, groups = gemm_of(op)
        return self._cycles(ceil(m / self.rows) * ceil(n / self.columns) * groups, k)

    def run(self, op: Op, streamed_bytes: float) -> tuple[float, float, float, float]:
        """Time of one operator in us, the bytes that pass the on-chip buffer and the DRAM for it, and by how much the
        DRAM, which has a clock of its own, takes longer than what is on the chip, us.

        The longest of computing and the transfers beside it; ``streamed_bytes`` of its weights are not on the chip.
        """
        moved = op.input_bytes + op.output_bytes
        dram = streamed_bytes + (moved if moved > self.sram_bytes else 0)
        if op.kind in MAC_KINDS:
            m, k, n, groups = gemm_of(op)
            down, across = ceil(m / self.rows), ceil(n / self.columns)
            compute = self._cycles(down * across * groups, k) * self.cycle_us
            sram = (across * m + down * n) * k * groups * self.item_bytes + op.output_bytes
        else:
            compute, sram = moved * self.us_per_vector_byte, float(moved)
        on_chip, off_chip = max(compute, sram * self.us_per_sram_byte), dram * self.us_per_dram_byte
        return self.operator_us + max(on_chip, off_chip), sram, dram, max(0.0, off_chip - on_chip)

    def energy_uj(self, macs: int, sram_bytes: float, dram_bytes: float, us: float, each: Energies) -> float:
        """Energy of what `run` answers, uJ, at the energies ``each``."""
        picojoule = (
            macs * self.mac_factor * each.mac_pj
            + sram_bytes * each.sram_pj_per_byte
            + dram_bytes * each.dram_pj_per_byte
        )
        return picojoule * 1e-6 + each.static_mw * us * 1e-3

    def _cycles(self, tiles: int, depth: float) -> float:
        return ceil(tiles / self.arrays) * (depth + self.rows + self.columns - 2) * self.cycle_factor
