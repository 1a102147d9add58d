"""Calibration: the rates that made the times are found, the interval keeps its word, what is no use is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_profiles.calibrate import Calibration, calibrate, split
from device_profiles.calibrate_file import rewrite
from device_profiles.calibrate_picture import picture
from device_profiles.cost import estimate
from device_profiles.least_squares import fit_relative, non_negative
from device_profiles.loader import load_profile, read_profile
from device_profiles.measured import Sample, samples_of
from device_profiles.ops import OpKind
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import IncompatibleError, InputError, SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.runs import Runs
from tests.unit.device_profiles import synthetic_runs as synthetic

PROFILE = load_profile("raspberry-pi-4")
BOTH = tuple(Precision)


def samples(**keywords: object) -> list[Sample]:
    return samples_of({"runs.json": synthetic.runs(**keywords)}, needed=BOTH)[0]


@pytest.fixture(scope="module")
def exact() -> Calibration:
    return calibrate(PROFILE, samples(noise=0.02))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(0, 20))
def test_no_other_non_negative_vector_fits_better(seed: int, columns: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(columns + 1 + more, columns)), rng.normal(size=columns + 1 + more)
    x = non_negative(a, b, start=rng.random(columns) < 0.5)
    gradient = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert gradient.max() < 1e-7  # nothing gains by growing ...
    assert np.abs(gradient[x > 0]).max(initial=0.0) < 1e-7  # ... and nothing above 0 by shrinking


def test_a_few_wild_runs_do_not_bend_the_rates() -> None:
    rng = np.random.default_rng(1)
    terms = rng.uniform(0.1, 10, (60, 3))
    measured = terms @ np.array([1.0, 3.0, 0.5])
    measured[:4] *= 30
    z = fit_relative(terms, measured, prior_weight=0.03, floor=0.02)
    assert z == pytest.approx([1.0, 3.0, 0.5], rel=0.05)


def test_what_no_run_tells_stays_as_it_was() -> None:
    terms = np.array([[1.0, 0.0], [2.0, 0.0], [5.0, 0.0]])
    assert fit_relative(terms, terms[:, 0] * 4, prior_weight=0.03, floor=0.02) == pytest.approx([4.0, 1.0], rel=0.05)


def test_the_rates_that_made_the_times_are_found(exact: Calibration) -> None:
    for precision in Precision:
        truth = synthetic.TRUTH[precision]
        for kind in (OpKind.CONV2D, OpKind.DEPTHWISE_CONV2D, OpKind.FULLY_CONNECTED):
            assert exact.rates[f"work.{precision}.{kind}"].value == pytest.approx(truth.work_us[kind], rel=0.15)
        assert truth.kernels is not None
        assert exact.lanes[precision] == (truth.kernels.depth, truth.kernels.width)
        assert exact.rates[f"kernels.{precision}.window"].value == pytest.approx(truth.kernels.window_us, rel=0.25)
        assert exact.rates[f"kernels.{precision}.softmax"].value == pytest.approx(0.009, rel=0.1)
    assert exact.rates["compute.dispatch_us"].value == pytest.approx(12.0, rel=0.05)
    assert exact.relative_error < 0.12
    assert exact.coverage > 0.85
    assert all(rate.low <= rate.value <= rate.high for rate in exact.rates.values())


def test_the_interval_holds_about_nine_of_ten_graphs_it_has_not_seen() -> None:
    found = [calibrate(PROFILE, samples(seed=seed, noise=0.1), seed=seed) for seed in range(4)]
    assert 0.87 <= np.mean([item.coverage for item in found]) <= 0.985
    assert all(0.12 < item.relative_error < 0.35 for item in found)  # 1.645 sigma is 0.18; the rest pays for confidence


def test_graphs_kept_out_do_not_move_the_rates() -> None:
    whole = samples(noise=0.05)
    held = split(whole, seed=3)
    changed = [replace(s, p50_us=s.p50_us * 7) if out else s for s, out in zip(whole, held, strict=True)]
    first, second = calibrate(PROFILE, whole, seed=3), calibrate(PROFILE, changed, seed=3)
    assert first.rates == second.rates
    assert second.coverage < 0.2 < first.coverage


def test_a_third_of_every_family_and_precision_is_kept_out() -> None:
    whole = samples()
    held = split(whole, seed=0)
    for precision in Precision:
        for family in ("conv2d", "softmax", "network"):
            own = [out for s, out in zip(whole, held, strict=True) if (s.family, s.precision) == (family, precision)]
            assert 0.25 <= sum(own) / len(own) <= 0.42
    assert held == split(whole, seed=0) != split(whole, seed=1)


def test_the_file_written_prices_graphs_as_the_calibration_did(exact: Calibration, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(rewrite(read_profile(PROFILE.id), exact, machine=synthetic.MACHINE, when="today", identity="mine"))
    known = load_profile(str(file))
    assert (known.id, known.revision) == ("mine", PROFILE.revision + 1)
    assert known.export == PROFILE.export
    assert known.points == PROFILE.points
    assert known.source is Source.CALIBRATED
    assert known.value("model.relative_error") == pytest.approx(exact.relative_error, rel=1e-3)
    predicted = {item.id: item.predicted_us for item in exact.predictions}
    for sample in samples(noise=0.02):
        cost = estimate(known, [sample.ops], precision=sample.precision)
        assert cost.latency_ms.value * 1e3 == pytest.approx(predicted[sample.id], rel=0.01)
    block = known.validation[-1]
    assert (block.figure, block.held_out, block.rows) == ("latency", True, len(exact.held_out))
    assert block.mean_error == pytest.approx(exact.mean_error, abs=1e-4)
    assert "board" in block.against
    again = rewrite(file.read_bytes(), exact, machine=synthetic.MACHINE, when="today")
    assert again.count(b"Calibrated with") == 1


def test_the_picture_shows_every_graph(exact: Calibration) -> None:
    drawn = ElementTree.fromstring(picture(exact, title="<board> & more"))
    assert len(drawn.findall(".//{*}circle")) == len(exact.predictions)


def test_runs_of_several_machines_are_refused() -> None:
    other = synthetic.runs(machine=replace(synthetic.MACHINE, device="another"))
    with pytest.raises(InputError, match="a\\.json is of device 'board', b\\.json of 'another'"):
        samples_of({"a.json": synthetic.runs(), "b.json": other}, needed=BOTH)


def test_runs_of_one_machine_are_merged_by_graph() -> None:
    first = synthetic.runs(noise=0.0)
    slower = replace(first, runs=tuple(replace(r, relative=r.relative * 3) for r in first.runs))
    merged, _ = samples_of({"a": first, "b": slower}, needed=BOTH)
    assert [s.p50_us for s in merged] == pytest.approx([r.p50_us * 2 for r in first.runs])


def test_times_are_brought_to_the_speed_of_the_reference() -> None:
    steady = synthetic.runs()
    moody = replace(  # half of the medians fell into slow rounds; the ratios to the reference did not change
        steady,
        runs=tuple(
            replace(r, p50_us=r.p50_us * 1.5, round_high_us=r.p50_us * 1.5) if number % 2 else r
            for number, r in enumerate(steady.runs)
        ),
    )
    brought, _ = samples_of({"a": moody}, needed=BOTH)
    assert [s.p50_us for s in brought] == pytest.approx([r.p50_us for r in steady.runs])


def test_what_cannot_be_fitted_is_refused_with_the_reason() -> None:
    whole = synthetic.runs()
    with pytest.raises(InputError, match="say nothing of single operators"):
        samples_of({"a": replace(whole, subject="bundle")}, needed=BOTH)
    floats = replace(whole, runs=tuple(r for r in whole.runs if r.precision is Precision.FLOAT32))
    with pytest.raises(IncompatibleError, match="no run is in int8"):
        samples_of({"a": floats}, needed=BOTH)
    odd = replace(whole.runs[0], ops=(replace(whole.runs[0].ops[0], kind="sorting"),))
    with pytest.raises(InputError, match="class 'sorting'"):
        samples_of({"a": replace(whole, runs=(odd, *whole.runs[1:]))}, needed=BOTH)
    with pytest.raises(InputError, match="at least 30 are needed"):
        calibrate(PROFILE, samples()[:40])
    dry = [s for s in samples(each=15) if not any(op.kind is OpKind.FULLY_CONNECTED for op in s.ops)]
    with pytest.raises(InputError, match="0 runs in float32 have a fully_connected operator"):
        calibrate(PROFILE, dry)
    with pytest.raises(IncompatibleError, match="prices an accelerator"):
        calibrate(load_profile("coral-usb"), samples())


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        (b'"p50_us":', b'"p50_us":NaN,"was":', SchemaError),
        (b'"tamiyo.runs/1"', b'"tamiyo.runs/2"', SchemaVersionError),
        (b'"tamiyo.runs/1"', b'"tamiyo.manifest/1"', SchemaError),
        (b'"rounds":50', b'"rounds":0', SchemaError),
    ],
)
def test_a_broken_file_of_runs_is_a_schema_error(old: bytes, new: bytes, error: type[Exception]) -> None:
    raw = synthetic.runs().to_json()
    assert Runs.from_json(raw, path="runs.json").runs
    with pytest.raises(error, match=r"runs\.json"):
        Runs.from_json(raw.replace(old, new, 1), path="runs.json")
