from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cellular.presets import PRESETS
from simulators.cellular.rates import (
    CQI_64QAM,
    SINR_DB,
    cqi_ladder,
    noise_dbm,
    resource_blocks,
    shannon_bits,
    slot_s,
)

# TS 38.214 table 5.2.2.1-2: modulation bits and code rate x 1024 of CQI 1..15
MODULATION = (2, 2, 2, 2, 2, 2, 4, 4, 4, 6, 6, 6, 6, 6, 6)
CODE_RATE = (78, 120, 193, 308, 449, 602, 378, 490, 616, 466, 567, 666, 772, 873, 948)


@pytest.mark.parametrize("numerology", range(5))
def test_slots_halve_with_every_numerology(numerology: int) -> None:
    assert slot_s(numerology) == pytest.approx((1.0, 0.5, 0.25, 0.125, 0.0625)[numerology] * 1e-3)


@pytest.mark.parametrize("cqi", range(15))
def test_efficiency_is_modulation_times_code_rate(cqi: int) -> None:
    assert CQI_64QAM[cqi] == pytest.approx(MODULATION[cqi] * CODE_RATE[cqi] / 1024, abs=6e-5)


def test_the_tables_rise() -> None:
    for table in (CQI_64QAM, SINR_DB):
        assert len(table) == 15
        assert all(low < high for low, high in pairwise(table))


@pytest.mark.parametrize(
    ("snr_db", "bits"), [(-5, 0.238), (0, 0.600), (5, 1.234), (10, 2.076), (15, 3.017), (20, 3.995), (40, 4.4)]
)
def test_the_attenuated_shannon_bound_is_that_of_tr_36_942(snr_db: float, bits: float) -> None:
    assert float(shannon_bits(snr_db)) == pytest.approx(bits, abs=5e-4)


def test_every_cqi_stays_below_the_capacity_of_its_sinr() -> None:
    for sinr_db, bits in zip(SINR_DB, CQI_64QAM, strict=True):
        assert bits < math.log2(1 + 10 ** (sinr_db / 10))


@pytest.mark.parametrize(
    ("spacing_khz", "bandwidth_mhz", "blocks"),
    [(15, 5, 25), (15, 20, 106), (30, 20, 51), (30, 100, 273), (120, 100, 66)],
)
def test_resource_blocks_are_those_of_ts_38_101(spacing_khz: int, bandwidth_mhz: int, blocks: int) -> None:
    assert resource_blocks(spacing_khz, bandwidth_mhz) == blocks
    assert blocks * 12 * spacing_khz < bandwidth_mhz * 1000


@given(st.integers(0, 4), st.integers(1, 273), st.floats(0.05, 1), st.lists(st.floats(-60, 60), min_size=1))
def test_the_rate_rises_with_the_signal_up_to_the_peak_of_ts_38_306(
    numerology: int, blocks: int, share: float, signals: list[float]
) -> None:
    ladder = cqi_ladder(numerology=numerology, blocks=blocks, uplink_share=share, harq_s=8e-3)
    symbol_s = 1e-3 / (14 << numerology)
    peak = 1 * 6 * (948 / 1024) * blocks * 12 / symbol_s * (1 - 0.08) * share
    rungs = ladder.rung(np.array(sorted(signals), dtype=np.float32))
    rates = np.array(ladder.bits_per_s)[rungs]
    assert bool((np.diff(rates) >= 0).all())
    assert rates.max() <= peak * (1 + 1e-4)
    assert ladder.bits_per_s[-1] == pytest.approx(peak, rel=1e-4)


def test_the_signal_that_reaches_an_edge_is_on_its_rung() -> None:
    ladder = cqi_ladder(numerology=0, blocks=1, harq_s=8e-3)
    assert ladder.rung(np.array(SINR_DB, dtype=np.float32)).tolist() == list(range(1, 16))
    assert ladder.rung(np.array([-1.9, -99, np.nan], dtype=np.float32)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(("name", "peak"), [("lte-cat1", 5.16e6), ("lte-cat4", 51.024e6)])
def test_a_category_never_exceeds_its_transport_block(name: str, peak: float) -> None:
    # TS 36.306 table 4.1-2: 5160 and 51024 bits a millisecond
    assert max(PRESETS[name].ladder.bits_per_s) <= peak


def test_noise_of_a_megahertz() -> None:
    assert noise_dbm(1e6, 5.0) == pytest.approx(-109.0)


def test_bad_numbers_are_refused_with_the_legal_ones() -> None:
    with pytest.raises(ValueError, match=r"0\.\.4"):
        slot_s(5)
    with pytest.raises(ValueError, match="5, 10, 15"):
        resource_blocks(30, 0)
    with pytest.raises(ValueError, match="15, 30, 120"):
        resource_blocks(7, 20)
    with pytest.raises(ValueError, match="above 0"):
        noise_dbm(0.0, 5.0)
    with pytest.raises(ValueError, match=r"1\.\.273"):
        cqi_ladder(numerology=1, blocks=0, harq_s=0)
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        cqi_ladder(numerology=1, blocks=1, uplink_share=0.0, harq_s=0)
