"""A bundle on trial: kept when its figures are good, given up as soon as they can no longer become so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.contracts.records import Mode
from tamiyo_runtime.update.health import Check, Figures, HealthLimits, Verdict, judge
from tests import tiny

LIMITS = HealthLimits(window=100, misses=0.1, policy=0.1, skips=0.2, latency_ratio=1.5)
GOOD = Figures(
    samples=100,
    inferences=100,
    deadline_misses=0,
    policy_failures=0,
    skipped=0,
    mode=Mode.NORMAL,
    latency_p99_ms=2.0,
    estimate_high_ms=2.0,
)
SICK = {Mode.FAULT, Mode.ROLLBACK}


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    samples = draw(st.integers(0, 150))
    skipped = draw(st.integers(0, samples))
    inferences = samples - skipped
    return Figures(
        samples=samples,
        inferences=inferences,
        deadline_misses=draw(st.integers(0, inferences)),
        policy_failures=draw(st.integers(0, inferences)),
        failures=draw(st.sampled_from((0, 0, 0, 1))),
        skipped=skipped,
        mode=draw(st.sampled_from(Mode)),
        latency_p99_ms=draw(st.none() | st.floats(0, 10)),
        estimate_high_ms=draw(st.none() | st.floats(0, 10)),
    )


def test_good_figures_over_a_full_window_confirm_and_over_less_wait() -> None:
    assert judge(GOOD, LIMITS).verdict is Verdict.CONFIRM
    assert judge(replace(GOOD, samples=99, inferences=99), LIMITS).verdict is Verdict.WAIT


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"mode": Mode.FAULT}, Check.MODE),
        ({"mode": Mode.ROLLBACK, "samples": 3, "inferences": 3}, Check.MODE),
        ({"failures": 1, "samples": 3, "inferences": 3}, Check.FAILURES),
        ({"deadline_misses": 11}, Check.MISSES),
        ({"deadline_misses": 11, "samples": 20, "inferences": 20}, Check.MISSES),  # no rest makes up for them
        ({"policy_failures": 11}, Check.POLICY),
        ({"skipped": 21, "inferences": 79}, Check.SKIPS),
        ({"skipped": 100, "inferences": 0, "latency_p99_ms": None}, Check.SKIPS),
        ({"latency_p99_ms": 3.1}, Check.LATENCY),
    ],
)
def test_each_limit_by_itself_takes_a_bundle_back(change: dict[str, Any], check: Check) -> None:
    judgement = judge(replace(GOOD, **change), LIMITS)
    assert judgement.verdict is Verdict.ROLLBACK
    assert [finding.check for finding in judgement.findings if finding.broken] == [check]
    assert judgement.reason.startswith(f"{check}: ")


@pytest.mark.parametrize(
    "change",
    [
        {"deadline_misses": 10},
        {"policy_failures": 10},
        {"skipped": 20, "inferences": 80},
        {"latency_p99_ms": 3.0},
        {"mode": Mode.SAFE},
    ],
)
def test_a_figure_on_its_limit_is_still_good(change: dict[str, Any]) -> None:
    assert judge(replace(GOOD, **change), LIMITS).verdict is Verdict.CONFIRM


@settings(max_examples=40)
@given(figures())
def test_the_verdict_is_what_the_table_of_checks_says(found: Figures) -> None:
    judgement = judge(found, LIMITS)
    assert [finding.check for finding in judgement.findings] == list(Check)
    broken = any(finding.broken for finding in judgement.findings)
    assert (judgement.verdict is Verdict.ROLLBACK) == broken == bool(judgement.reason)
    if judgement.verdict is Verdict.CONFIRM:
        assert found.samples >= LIMITS.window
        assert found.inferences > 0
        assert found.mode not in SICK
        assert found.deadline_misses <= LIMITS.misses * found.inferences
        assert found.policy_failures <= LIMITS.policy * found.inferences
        assert found.skipped <= LIMITS.skips * found.samples
    if found.mode in SICK or found.failures:
        assert judgement.verdict is Verdict.ROLLBACK


@settings(max_examples=40)
@given(figures(), st.integers(0, 50), st.integers(0, 50), st.floats(0, 10), st.booleans())
def test_worse_figures_never_save_a_bundle(
    found: Figures, misses: int, failures: int, slower_ms: float, sick: bool
) -> None:
    worse = replace(
        found,
        deadline_misses=min(found.inferences, found.deadline_misses + misses),
        policy_failures=found.policy_failures + failures,
        latency_p99_ms=None if found.latency_p99_ms is None else found.latency_p99_ms + slower_ms,
        mode=Mode.FAULT if sick else found.mode,
    )
    if judge(found, LIMITS).verdict is Verdict.ROLLBACK:
        assert judge(worse, LIMITS).verdict is Verdict.ROLLBACK


@settings(max_examples=40)
@given(figures())
def test_a_bundle_is_given_up_early_only_when_no_rest_of_the_window_could_save_it(found: Figures) -> None:
    """Shares only: where all that is left goes well, those of the full window are within the limits again."""
    left = LIMITS.window - found.samples
    if left <= 0 or found.mode in SICK:
        return
    best = replace(
        found,
        samples=LIMITS.window,
        inferences=found.inferences + left,
        latency_p99_ms=None,
    )
    assert judge(found, LIMITS).verdict is not Verdict.CONFIRM
    assert (judge(found, LIMITS).verdict is Verdict.ROLLBACK) == (judge(best, LIMITS).verdict is Verdict.ROLLBACK)


def run_data(**change: Any) -> dict[str, Any]:
    data = {
        "bundle": "tiny",
        "variant": "float",
        "samples": 1000,
        "inferences": 990,
        "deadline_misses": 2,
        "policy_failures": 0,
        "failures": 0,
        "skipped": 10,
        "mode": "degraded",
        "latency_p99_ms": 3.5,
        "counts": {"0-0": 0, "1-1": 0},
    }
    return {**data, **change}


def test_figures_of_a_run_are_held_against_the_slowest_configuration_that_ran() -> None:
    manifest = tiny.make(variants=("float",), policy=False).manifest
    runnables = manifest.variants[0].runnables
    cheap, dear = runnables[0], runnables[-1]
    for ran, expected in (((cheap,), cheap), ((cheap, dear), dear)):
        data = run_data(counts={runnable.configuration: 5 for runnable in ran} | {"never": 0})
        found = Figures.of_run(data, manifest)
        assert found.estimate_high_ms == expected.cost.latency_ms.high
    assert (found.samples, found.skipped, found.mode) == (1000, 10, Mode.DEGRADED)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        run_data(bundle="another"),
        run_data(samples=-1),
        run_data(samples="1000"),
        run_data(samples=5),
        run_data(mode="splendid"),
        run_data(latency_p99_ms="fast"),
        run_data(latency_p99_ms=float("nan")),
        run_data(counts=[1]),
    ],
)
def test_what_are_no_figures_of_this_bundle_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="figures"):
        Figures.of_run(data, tiny.make(variants=("float",), policy=False).manifest)


@pytest.mark.parametrize("limit", [{"window": 0}, {"misses": 1.1}, {"skips": -0.1}, {"latency_ratio": float("inf")}])
def test_limits_that_make_no_sense_are_refused(limit: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        HealthLimits(**limit)


@settings(max_examples=40)
@given(figures(), figures())
def test_beside_what_ran_before_limits_only_widen_and_the_same_figures_again_are_good(
    before: Figures, found: Figures
) -> None:
    beside = LIMITS.beside(before)
    if judge(found, LIMITS).verdict is Verdict.CONFIRM:
        assert judge(found, beside).verdict is Verdict.CONFIRM
    if before.samples >= LIMITS.window and before.mode not in SICK and not before.failures and before.inferences:
        possible = before.policy_failures <= before.inferences
        assert not possible or judge(before, beside).verdict is Verdict.CONFIRM
    if before.samples < LIMITS.window:
        assert beside == LIMITS


def test_a_bundle_that_does_clearly_worse_than_a_poor_one_is_given_up() -> None:
    beside = LIMITS.beside(replace(GOOD, skipped=40, inferences=60))
    assert beside == replace(LIMITS, skips=0.5)
    assert judge(replace(GOOD, skipped=50, inferences=50), beside).verdict is Verdict.CONFIRM
    assert judge(replace(GOOD, skipped=51, inferences=49), beside).verdict is Verdict.ROLLBACK
