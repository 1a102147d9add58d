from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from simulators.cellular.coverage import (
    LTE_M,
    NB_IOT,
    NPUSCH_BITS,
    NPUSCH_RESOURCE_UNITS,
    CoverageClass,
    coverage_ladder,
    npusch,
    pusch_m1,
)
from simulators.cellular.rates import shannon_bits


def test_a_half_duplex_cat_m1_reaches_375_kbit_s() -> None:
    # three blocks of 1000 bits in 8 ms: the category's published peak
    assert replace(LTE_M[0], block_bits=1000).bits_per_s == pytest.approx(375e3)


def test_cat_nb1_reaches_its_published_62_5_kbit_s_with_twelve_tones() -> None:
    best = npusch(mcl_db=144.0, i_tbs=12, resource_units=4, repetitions=1, overhead_s=12e-3, tones=12)
    assert best.bits_per_s == pytest.approx(62.5e3)
    assert best.block_bits / best.transmit_s == pytest.approx(250e3)  # while it sends


def test_one_tone_sends_at_20_8_kbit_s_at_most() -> None:
    best = npusch(mcl_db=144.0, i_tbs=10, resource_units=6, repetitions=1, overhead_s=12e-3)
    assert best.block_bits / best.transmit_s == pytest.approx(20.8e3, rel=0.01)
    assert best.bits_per_s == pytest.approx(16.9e3, rel=0.02)


def test_the_widest_classes_carry_the_160_bit_s_that_tr_38_913_asks_for_at_164_db() -> None:
    for classes in (NB_IOT, LTE_M):
        assert classes[-1].mcl_db == 164.0
        assert classes[-1].bits_per_s >= 160


@pytest.mark.parametrize(("i_tbs", "units", "bits"), [(0, 2, 32), (3, 1, 40), (5, 1, 72), (12, 4, 1000), (6, 10, 1000)])
def test_transport_blocks_are_those_of_ts_36_213(i_tbs: int, units: int, bits: int) -> None:
    # the first three are reference channels of TS 36.101, A.2.4
    assert NPUSCH_BITS[i_tbs][NPUSCH_RESOURCE_UNITS.index(units)] == bits


def test_transport_blocks_rise_along_rows_and_columns_and_end_at_1000_bits() -> None:
    assert all(list(row) == sorted(row) and row[-1] <= 1000 for row in NPUSCH_BITS)
    for column in range(4):
        bits = [row[column] for row in NPUSCH_BITS]
        assert bits == sorted(bits)


@pytest.mark.parametrize("chosen", [*NB_IOT, *LTE_M], ids=lambda chosen: f"{chosen.mcl_db:g} dB {chosen.symbols}")
def test_the_signal_at_the_edge_carries_the_block_with_its_repetitions(chosen: CoverageClass) -> None:
    noise_figure_db = 3.0  # TR 45.820's base station
    snr_db = chosen.snr_db(power_dbm=23.0, noise_figure_db=noise_figure_db) + 10 * math.log10(chosen.repetitions)
    assert chosen.bits_per_symbol <= float(shannon_bits(snr_db))


@pytest.mark.parametrize("classes", [NB_IOT, LTE_M])
def test_the_ladder_falls_with_coupling_loss_and_ends_at_the_last_class(classes: tuple[CoverageClass, ...]) -> None:
    ladder = coverage_ladder(classes)
    losses = np.arange(100, 170, 0.5, dtype=np.float32)
    rates = np.array(ladder.bits_per_s)[ladder.rung(-losses)]
    assert bool((np.diff(rates) <= 0).all())
    assert rates[0] == classes[0].bits_per_s
    assert bool((rates[losses > 164] == 0).all())
    assert bool((rates[losses <= 164] > 0).all())


def test_what_the_standard_does_not_have_is_refused_with_what_it_has() -> None:
    good = {"mcl_db": 144.0, "i_tbs": 9, "resource_units": 6, "repetitions": 1, "overhead_s": 0.0}
    for wrong, listed in (
        ({"repetitions": 3}, "1, 2, 4, 8"),
        ({"tones": 2}, "12, 6, 3, 1"),
        ({"i_tbs": 11}, r"0\.\.10"),
        ({"resource_units": 8}, "1, 2, 3, 4, 5, 6 at"),
        ({"resource_units": 7}, "1, 2, 3"),
    ):
        with pytest.raises(ValueError, match=listed):
            npusch(**{**good, **wrong})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"0\.\.9"):
        pusch_m1(mcl_db=144.0, i_tbs=10, repetitions=1, overhead_s=0, processes=1)
    with pytest.raises(ValueError, match="0 bits"):
        replace(NB_IOT[0], block_bits=0)
    with pytest.raises(ValueError, match="at least 1"):
        replace(NB_IOT[0], repetitions=0)
