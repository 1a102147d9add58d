from __future__ import annotations

import hashlib
import math
import re
import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from device_profiles.figures import Basis
from device_profiles.loader import load_profile, profile_ids
from device_profiles.ops import OpKind
from tamiyo_runtime.contracts.document import dump, load
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.profile import ProfileSnapshot
from tamiyo_runtime.contracts.running import PROFILE_FEATURES

PI = resources.files("device_profiles").joinpath("data/raspberry-pi-4.toml").read_text()


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes the Pi's profile with every match of a pattern replaced; returns the path."""

    def edit(pattern: str, replacement: str) -> str:
        changed, count = re.subn(pattern, replacement, PI, flags=re.MULTILINE)
        assert count, f"{pattern} matches nothing"
        path = tmp_path / "my.toml"
        path.write_text(changed)
        return str(path)

    return edit


def test_boards_and_microcontrollers_are_known_by_sorted_ids() -> None:
    assert list(profile_ids()) == sorted(profile_ids())
    assert {
        *("x86-64", "coral-usb", "coral-m2", "cortex-m4", "cortex-m7", "jetson-nano", "gpu-server", "cloud-tpu"),
        *("ethos-u55-128", "ethos-u65-256", "ethos-u85-256", "generic-asic"),
        *("raspberry-pi-zero-2", "raspberry-pi-3", "raspberry-pi-4", "raspberry-pi-5"),
    } <= set(profile_ids())


def test_a_misspelt_id_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="raspbery-pi-4") as caught:
        load_profile("raspbery-pi-4")
    assert caught.value.hint.startswith("did you mean raspberry-pi-4")


@pytest.mark.parametrize("name", profile_ids())
def test_every_figure_has_a_source_and_an_interval_or_is_a_choice(name: str) -> None:
    profile = load_profile(name)
    for key, figure in profile.figures.items():
        assert len(figure.citation.text) > 20, key
        assert figure.low <= figure.value <= figure.high, key
        assert (figure.citation.basis is Basis.CHOICE) == key.startswith("budget."), key


@pytest.mark.parametrize("name", profile_ids())
def test_every_source_of_a_profile_is_cited(name: str) -> None:
    document = tomllib.loads(resources.files("device_profiles").joinpath(f"data/{name}.toml").read_text())
    cited = {figure.citation.text for figure in load_profile(name).figures.values()}
    assert {source["text"] for source in document["sources"].values()} == cited


@pytest.mark.parametrize("name", profile_ids())
def test_a_snapshot_carries_identity_features_and_budget_and_survives_a_round_trip(name: str) -> None:
    profile = load_profile(name)
    snapshot = profile.snapshot()
    raw = resources.files("device_profiles").joinpath(f"data/{name}.toml").read_bytes()
    assert snapshot.sha256 == hashlib.sha256(raw).hexdigest()
    assert set(snapshot.features) == set(PROFILE_FEATURES)
    assert snapshot.budget.airtime_s_per_hour == 36
    assert snapshot.extra["simulation"]["jitter_max"] >= 1
    assert load(ProfileSnapshot, dump(snapshot)) == snapshot


def test_features_are_logarithms_of_the_rated_figures() -> None:
    pi = load_profile("raspberry-pi-4").snapshot().features
    assert 10 ** pi["profile_log10_macs_per_ms"] == pytest.approx(1.5e6 / 0.124)
    assert 10 ** pi["profile_log10_dispatch_us"] == pytest.approx(15)
    coral = load_profile("coral-usb").snapshot().features
    assert 10 ** coral["profile_log10_macs_per_ms"] == pytest.approx(1.81e9)
    assert 10 ** coral["profile_log10_dispatch_us"] == pytest.approx(1655)
    assert coral["profile_log10_active_mw"] == pytest.approx(math.log10(5000))


def test_the_host_of_the_coral_stick_computes_like_the_pi() -> None:
    pi, coral = load_profile("raspberry-pi-4"), load_profile("coral-usb")
    for section in ("compute", *(f"work.{precision}" for precision in Precision)):
        for key, figure in pi.figures.items():
            if key.startswith(f"{section}."):
                host = coral.figures[key]
                assert (host.value, host.low, host.high, host.unit) == (
                    figure.value,
                    figure.low,
                    figure.high,
                    figure.unit,
                )
    assert set(pi.rates[Precision.INT8].work_us) == set(OpKind)


def test_a_figure_that_a_profile_does_not_have_is_an_error() -> None:
    with pytest.raises(SchemaError, match=r"no figure 'accelerator\.floor_us'"):
        load_profile("raspberry-pi-4").value("accelerator.floor_us")


def test_a_file_of_the_users_own_is_loaded_by_path(edited: Callable[[str, str], str]) -> None:
    profile = load_profile(edited('^id = "raspberry-pi-4"', 'id = "my-board"'))
    assert profile.id == "my-board"
    assert profile.rates == load_profile("raspberry-pi-4").rates


def test_cycles_and_nanoseconds_are_two_ways_to_say_one_thing(edited: Callable[[str, str], str]) -> None:
    path = edited(
        r'^conv2d = \{ value = 0.124, low = 0.09, high = 0.24, unit = "cycle/MAC"',
        'conv2d = { value = 0.0826667, low = 0.06, high = 0.16, unit = "ns/MAC"',
    )
    in_ns = load_profile(path).rates[Precision.INT8].work_us[OpKind.CONV2D]
    assert in_ns == pytest.approx(load_profile("raspberry-pi-4").rates[Precision.INT8].work_us[OpKind.CONV2D])


@pytest.mark.parametrize(
    ("pattern", "replacement", "path", "hint"),
    [
        ("^active_mw", "activ_mw", "power: unknown key 'activ_mw'", "active_mw"),
        (r"^\[thermal\]", "[termal]", "unknown key 'termal'", "thermal"),
        (r"^\[work.int8\]", "[work.int4]", "work: unknown key 'int4'", "int8"),
        ("^dispatch_us.*$", "", r"compute: missing key 'dispatch_us'", ""),
        (
            '^(dispatch_us.*)unit = "us"',
            r'\1unit = "ms"',
            r"compute.dispatch_us.unit: 'ms'",
            "convert the figure to us",
        ),
        (r"^dispatch_us = \{ value = 15", "dispatch_us = { value = 25", "low <= value <= high is false", ""),
        (r"^dispatch_us = \{ value = 15", 'dispatch_us = { value = "15"', "must be a finite number", ""),
        (r"^dispatch_us = \{ value = 15", "dispatch_us = { value = nan", "must be a finite number", ""),
        (r"^dispatch_us = \{ value = 15,", "dispatch_us = { vaule = 15,", "unknown key 'vaule'", "value"),
        ("^dispatch_us.*$", "dispatch_us = 15", "must be a table", "value = ..."),
        ('^(dispatch_us.*source = )"dispatch"', r'\1"dispach"', "'dispach' is not in", "did you mean dispatch"),
        (
            r"^active_mw = \{ value = 3000, low = 2700, high = 4000",
            "active_mw = { value = 3, low = 2.7, high = 4",
            "power.active_mw.value: 3 mW is not plausible",
            "another unit",
        ),
        (
            r"^active_mw = \{ value = 3000, low = 2700",
            "active_mw = { value = 2400, low = 2300",
            "power.idle_mw: 2500 mW is above the active 2400 mW",
            "",
        ),
        (
            r"^latency_ms = \{ value = 1.0",
            "latency_ms = { value = 0.001",
            "budget.latency_ms.value: 0.001 ms is not plausible",
            "",
        ),
        (r"^latency_ms = \{ value", "latency_ms = { low = 1, value", "a choice has no interval", "leave out"),
        (
            r"^recover_c = .*$",
            'recover_c = { value = 81, low = 80, high = 82, unit = "C", source = "board" }',
            "ambient_c <",
            "",
        ),
        ('^basis = "estimate"', 'basis = "guess"', "'guess' is not one of", ""),
        ("^revision = 2", "revision = true", "revision: must be an integer", ""),
        ('^id = "raspberry-pi-4"', 'id = "Raspberry Pi"', "is not lower-case words", ""),
        ("^schema = .*$", 'schema = "tamiyo.profile/2"', "is newer than", "upgrade"),
        ("^title = .*$", "title = 4", "must be a non-empty string", ""),
        (r"^\[thermal\]", "[[thermal]]", "thermal: must be a table", ""),
        (r"^\[sources.mlperf\]$", "[sources]\nbare = 3\n[sources.mlperf]", "sources.bare: must be a table", ""),
        (r"^\[sources.mlperf\]", "[sources.mlperf.more]", "unknown key 'more'", "basis"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_what_is_legal(
    edited: Callable[[str, str], str], pattern: str, replacement: str, path: str, hint: str
) -> None:
    name = edited(pattern, replacement)
    with pytest.raises(SchemaError) as caught:
        load_profile(name)
    assert path in caught.value.message
    assert name in caught.value.message
    assert hint in (caught.value.hint or "")


def test_watts_that_pass_for_milliwatts_are_caught_by_the_energy_of_a_mac(edited: Callable[[str, str], str]) -> None:
    name = edited(
        r"^(active|idle)_mw = \{ value = \d+, low = \d+, high = \d+", r"\1_mw = { value = 15, low = 14, high = 16"
    )
    with pytest.raises(SchemaError, match="pJ a MAC") as caught:
        load_profile(name)
    assert "in W" in (caught.value.hint or "")


def test_a_missing_file_a_folder_and_a_file_that_is_no_toml_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_profile(str(tmp_path / "absent.toml"))
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(InputError, match="cannot read"):
        load_profile(str(tmp_path / "folder.toml"))
    (tmp_path / "broken.toml").write_bytes(b"id = \xff")
    with pytest.raises(InputError, match="is not TOML"):
        load_profile(str(tmp_path / "broken.toml"))
    (tmp_path / "huge.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="larger than"):
        load_profile(str(tmp_path / "huge.toml"))
