from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest

from simulators.cellular.figures import Basis, Figure, published
from simulators.cellular.preset import Preset
from simulators.cellular.presets import PRESETS, preset
from simulators.cellular.rrc import CHARGED, Radio, State
from tamiyo_runtime.contracts.errors import UnknownNameError


def figures(radio: Radio) -> Iterator[Figure]:
    yield from (radio.connected_mw, radio.sending_mw, radio.mj_per_megabit)
    yield from (phase.power_mw for phase in radio.phases)
    for promotion in radio.promotions.values():
        yield from (promotion.duration_s, promotion.power_mw)


@pytest.mark.parametrize("one", PRESETS.values(), ids=PRESETS)
def test_every_part_says_where_it_is_from(one: Preset) -> None:
    parts = {field.name for field in dataclasses.fields(Preset)}
    assert set(one.sources) <= parts
    assert {"site", "ladder", "access", "core", "outages", "handover", "radio"} <= set(one.sources)
    assert all(one.sources.values())
    assert one.handover.source
    assert PRESETS[one.name] is one


@pytest.mark.parametrize("one", PRESETS.values(), ids=PRESETS)
def test_powers_fall_from_sending_to_sleep(one: Preset) -> None:
    radio = one.radio
    powers = [radio.sending_mw.value, radio.connected_mw.value, *(phase.power_mw.value for phase in radio.phases)]
    assert powers == sorted(powers, reverse=True)
    assert radio.phases[-1].state in (State.IDLE, State.PSM)
    assert any(phase.state in CHARGED for phase in radio.phases)


def test_a_figure_says_how_it_is_known() -> None:
    bases = {figure.basis for one in PRESETS.values() for figure in figures(one.radio)}
    assert bases == set(Basis)
    with pytest.raises(ValueError, match="needs its source"):
        published(1.0, "")
    with pytest.raises(ValueError, match=r"not in \[0, inf\)"):
        published(-1.0, "x")


def test_figures_of_the_data_sheet_and_the_artifact_are_those() -> None:
    module = PRESETS["lte-m"].radio
    assert module.phases[-1].power_mw.value == pytest.approx(2.7e-3 * 3.7)  # nRF9160: PSM floor 2.7 uA
    assert module.phases[-2].power_mw.value == pytest.approx(18e-3 * 3.7)  # eDRX of 81.92 s, Cat M1
    assert PRESETS["nb-iot"].radio.phases[-2].power_mw.value == pytest.approx(37e-3 * 3.7)  # the same, Cat NB1
    # slope of uplink power, mW per Mb/s: SIGCOMM 2021 artifact
    assert PRESETS["5g-nsa-low-band"].radio.mj_per_megabit.value == 32.2
    assert PRESETS["5g-nsa-mmwave"].radio.mj_per_megabit.value == 8.88
    # Huang et al., MobiSys 2012: promotion 260 ms at 1210 mW, tail 11.6 s at 1060 mW, base 1288 mW, 438 mW per Mb/s
    lte = PRESETS["lte-cat4"].radio
    promotion = lte.promotions[State.IDLE]
    assert (promotion.duration_s.value, promotion.power_mw.value) == (0.26, 1210)
    assert (lte.connected_s, lte.phases[1].power_mw.value) == (11.6, 1060)
    assert (lte.connected_mw.value, lte.mj_per_megabit.value) == (1288, 438)
    # inactivity timer of about 10.2 s: SIGCOMM 2021 artifact
    assert {PRESETS[name].radio.connected_s for name in PRESETS if name.startswith("5g")} == {10.2}


@pytest.mark.parametrize(
    "change", [{"gain_db": math.nan}, {"allocation_hz": 0.0}, {"frequency_ghz": 0.1}, {"distance_m": math.inf}]
)
def test_a_site_that_makes_no_sense_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(change.values())))):
        dataclasses.replace(PRESETS["lte-cat4"].site, **change)  # type: ignore[arg-type]


def test_a_misspelt_preset_is_refused_with_near_names() -> None:
    assert preset("nb-iot") is PRESETS["nb-iot"]
    with pytest.raises(UnknownNameError) as near:
        preset("nb-iott")
    assert near.value.hint == "did you mean nb-iot?"
    with pytest.raises(UnknownNameError) as far:
        preset("zzz")
    assert "5g-sa-mid-band" in str(far.value.hint)


def test_a_figure_of_another_network_or_read_off_traces_is_not_called_published() -> None:
    slope, other = PRESETS["5g-sa-mid-band"].radio.mj_per_megabit, PRESETS["5g-nsa-low-band"].radio.mj_per_megabit
    assert slope.value == other.value
    assert (slope.basis, other.basis) == (Basis.ESTIMATE, Basis.PUBLISHED)
