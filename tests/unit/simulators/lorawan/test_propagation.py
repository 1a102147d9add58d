from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulators.lorawan.tr38901  # noqa: F401  files itself
from simulators.lorawan.propagation import Shadowing, Site, log_distance, loss_db, path_losses
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError

HATA_AND_OTHERS = tuple(name for name in path_losses.names() if not name.startswith("tr38901"))
SITE = Site(frequency_hz=868e6, gateway_height_m=30, device_height_m=1.5)


@pytest.mark.parametrize(
    ("model", "distance_m", "expected_db"),
    [
        # Okumura-Hata at 868 MHz, 30 m and 1.5 m: computed from Hata (1980) by a second program
        *[("okumura-hata-urban", *row) for row in ((1e3, 125.99), (2e3, 136.60), (5e3, 150.61), (1e4, 161.22))],
        *[("okumura-hata-suburban", *row) for row in ((1e3, 116.15), (2e3, 126.75), (5e3, 140.77), (1e4, 151.37))],
        *[("okumura-hata-rural", *row) for row in ((1e3, 97.64), (2e3, 108.25), (5e3, 122.26), (1e4, 132.87))],
        ("lorasim-indoor", 40, 127.41),  # LoRaSim 0.2.1
        ("lorasim-indoor", 100, 135.69),  # FLoRa's table for the same place
        ("oulu", 1e3, 128.95),  # FLoRa
        ("oulu", 1e4, 152.15),
        ("ns3-lorawan", 1, 7.7),  # ns-3 lorawan's examples
        ("ns3-lorawan", 1e3, 120.5),
        ("free-space", 1e3, 91.22),  # Friis
        # TR 38.901 table 7.4.1-1, UMa without line of sight: 13.54 + 39.08 log10(d3D) + 20 log10(f) with d3D 1000.28 m
        ("tr38901-uma-nlos", 1e3, 129.56),
    ],
)
def test_a_model_gives_the_published_loss(model: str, distance_m: float, expected_db: float) -> None:
    assert loss_db(path_losses.get(model), np.array([distance_m]), SITE)[0] == pytest.approx(expected_db, abs=0.01)


@given(st.sampled_from(HATA_AND_OTHERS), st.floats(1, 1e5), st.floats(1.01, 10))
def test_farther_is_never_louder(model: str, distance_m: float, times: float) -> None:
    near, far = loss_db(path_losses.get(model), np.array([distance_m, distance_m * times]), SITE)
    assert far > near


def test_tr_38901_starts_at_10_m_and_ends_where_the_report_does() -> None:
    near, ten = loss_db(path_losses.get("tr38901-umi-los"), np.array([1.0, 10.0]), SITE)
    assert near == ten
    with pytest.raises(InputError, match="5001 m") as refused:
        loss_db(path_losses.get("tr38901-umi-los"), np.array([5001.0]), SITE)
    assert "okumura-hata" in str(refused.value.hint)


@pytest.mark.parametrize("model", [name for name in HATA_AND_OTHERS if name.startswith("okumura-hata")])
def test_okumura_hata_never_loses_less_than_free_space(model: str) -> None:
    distances = np.geomspace(1, 20_000, 200)
    losses = loss_db(path_losses.get(model), distances, SITE)
    assert (losses >= loss_db(path_losses.get("free-space"), distances, SITE)).all()


def test_nearer_than_a_metre_counts_as_a_metre() -> None:
    zero, metre = loss_db(path_losses.get("free-space"), np.array([0.0, 1.0]), SITE)
    assert zero == metre
    assert math.isfinite(zero)


def test_shadowing_has_its_spread_its_correlation_and_its_seed() -> None:
    draw = Shadowing(sigma_db=7.8, correlation=0.5).draw_db(seed=3, devices=20_000, gateways=3)
    assert draw.shape == (3, 20_000)
    assert draw.std(axis=1) == pytest.approx([7.8] * 3, rel=0.03)
    assert np.corrcoef(draw)[0, 1] == pytest.approx(0.5, abs=0.03)
    independent = Shadowing(sigma_db=7.8).draw_db(seed=3, devices=20_000, gateways=2)
    assert np.corrcoef(independent)[0, 1] == pytest.approx(0, abs=0.03)
    same = Shadowing(sigma_db=7.8, correlation=1).draw_db(seed=3, devices=100, gateways=2)
    assert (same[0] == same[1]).all()
    assert not Shadowing().draw_db(seed=3, devices=4, gateways=2).any()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 3), st.integers(1, 3))
def test_a_link_keeps_its_shadow_whatever_links_there_are_besides(d1: int, d2: int, g1: int, g2: int) -> None:
    shadowing = Shadowing(sigma_db=6, correlation=0.3)
    one = shadowing.draw_db(seed=9, devices=d1, gateways=g1)
    two = shadowing.draw_db(seed=9, devices=d2, gateways=g2)
    devices, gateways = min(d1, d2), min(g1, g2)
    assert (one[:gateways, :devices] == two[:gateways, :devices]).all()


def test_a_mistake_names_what_is_legal() -> None:
    with pytest.raises(UnknownNameError) as name:
        path_losses.get("okumura-hata")
    assert "okumura-hata-urban" in str(name.value.hint)
    for wrong in (-1.0, math.nan):
        with pytest.raises(InputError, match=f"{wrong:g} m"):
            loss_db(path_losses.get("free-space"), np.array([1.0, wrong]), SITE)
    with pytest.raises(SchemaError, match="sigma_db"):
        Shadowing(sigma_db=-1)
    with pytest.raises(SchemaError, match="correlation"):
        Shadowing(correlation=1.5)
    with pytest.raises(SchemaError, match="gateway_height_m"):
        Site(gateway_height_m=0)
    with pytest.raises(InputError, match="above 0"):
        log_distance(reference_m=0, reference_db=1, exponent=2)
