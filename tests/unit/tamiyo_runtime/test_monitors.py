"""The watches: which events they see, when they alarm and when they rest again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.reference import Reference
from tamiyo_runtime.monitors import AGAIN, LONGEST, Change, Monitors, MonitorSettings, Watch
from tamiyo_runtime.reference import confidence_of, reference_of
from tests import tiny

SPEC = InputSpec(shape=(1, 4, 4), layout="CHW", offset=3.0, scale=0.1, raw_low=-100.0, raw_high=100.0)
OPTIONS = ("c0", "c1")


def _field(count: int, *, seed: int) -> tuple[NDArray[np.float32], dict[str, NDArray[np.float64]]]:
    """Samples of a sensor whose gain and offset wander, and logits of a network that is seldom unsure."""
    random = np.random.default_rng(seed)
    wander = random.normal(5, 1, (count, 1, 1, 1)) + random.gamma(4, 0.5, (count, 1, 1, 1)) * random.normal(
        size=(count, *SPEC.shape)
    )
    logits = {name: random.normal(0, 3, (count, 4)) * scale for name, scale in zip(OPTIONS, (1.0, 3.0), strict=True)}
    return wander.astype(np.float32), logits


SAMPLES, LOGITS = _field(1000, seed=1)
REFERENCE = reference_of(SAMPLES, {"v": LOGITS}, source="made up")


def _monitors(settings: MonitorSettings | None = None, *, reference: Reference = REFERENCE) -> Monitors:
    limits = reference.confidence["v"]
    return Monitors(reference, SPEC, least_confidence=[limits[name] for name in OPTIONS], settings=settings)


def _expected(sample: NDArray[Any], reference: Reference = REFERENCE) -> tuple[bool, bool]:
    """The events in plain numpy."""
    values = sample.astype(np.float64)
    raw, mean, deviation = reference.raw, reference.mean, reference.deviation
    if not bool(np.isfinite(values).all()) or values.min() < raw.low or values.max() > raw.high:
        return True, False
    inside = mean.low <= values.mean() <= mean.high and deviation.low <= values.std() <= deviation.high
    return False, not inside


def test_events_are_those_of_plain_numpy_on_samples_like_the_reference_and_unlike_it() -> None:
    monitors = _monitors()
    fresh, _ = _field(1000, seed=2)
    streams = (fresh, fresh * 0.2 + 4, fresh * 2 - 5, fresh + 3)
    seen = [(monitors.look(sample), _expected(sample)) for stream in streams for sample in stream]
    assert all(found == wanted for found, wanted in seen)
    assert {wanted for _, wanted in seen} == {(False, False), (True, False), (False, True)}


@given(arrays.arrays(np.float32, SPEC.shape, elements=st.floats(width=32)))
def test_garbage_is_judged_as_in_plain_numpy_and_without_a_warning(sample: NDArray[np.float32]) -> None:
    with np.errstate(all="raise", under="ignore"):
        assert _monitors().look(sample)[0] == _expected(sample)[0]


def test_whole_numbers_and_floats_are_judged_alike() -> None:
    x, _ = tiny.samples(200)
    reference = reference_of(x, {}, source="made up")
    monitors = Monitors(reference, tiny.INPUT, least_confidence=[])
    assert [monitors.look(sample) for sample in x] == [monitors.look(sample.astype(np.float32)) for sample in x]
    outside = np.full(tiny.INPUT.shape, 255, np.uint8)
    assert monitors.look(outside) == (True, False)


def test_the_limits_leave_as_many_samples_of_the_reference_outside_as_its_ranks_allow() -> None:
    monitors = _monitors()
    events = [monitors.look(sample) for sample in SAMPLES]
    assert sum(out for out, _ in events) == 0  # the two that are counted lie on the limits
    assert 0 < sum(off for _, off in events) < REFERENCE.level_rank
    for name in OPTIONS:
        unsure = int(np.sum(confidence_of(LOGITS[name]) < REFERENCE.confidence["v"][name]))
        assert 0 < unsure < REFERENCE.confidence_rank


def test_events_of_the_level_are_no_more_frequent_than_bounded_with_the_stated_doubt() -> None:
    fresh, _ = _field(4000, seed=3)
    draws, wrong = 200, 0
    for seed in range(draws):
        samples, _ = _field(60, seed=100 + seed)
        reference = reference_of(samples, {}, source="made up")
        settings = MonitorSettings(doubt=0.2)  # shared by range and level: a tenth for each
        bound = Monitors(reference, SPEC, least_confidence=[], settings=settings).rates[Watch.LEVEL]
        flat = fresh.reshape(len(fresh), -1).astype(np.float64)
        mean, deviation = flat.mean(axis=1), flat.std(axis=1)
        inside = (reference.mean.low <= mean) & (mean <= reference.mean.high)
        inside &= (reference.deviation.low <= deviation) & (deviation <= reference.deviation.high)
        wrong += bool(np.mean(~inside) > bound)
    assert wrong <= 0.1 * draws + 3 * (0.1 * 0.9 * draws) ** 0.5


def test_the_reference_played_again_and_again_raises_no_alarm() -> None:
    monitors = _monitors()
    confidences = {name: confidence_of(LOGITS[name]) for name in OPTIONS}
    for turn in range(20):
        for index, sample in enumerate(SAMPLES):
            option = (turn + index // 100) % 2
            assert monitors.observe(sample, option, float(confidences[OPTIONS[option]][index])) is None
    assert monitors.alarmed == ()


@pytest.mark.parametrize(
    ("disturbed", "watch"),
    [
        pytest.param(lambda x: np.full_like(x, np.nan), Watch.RANGE, id="no number"),
        pytest.param(lambda x: np.full_like(x, np.inf), Watch.RANGE, id="infinite"),
        pytest.param(lambda x: x * 1e6, Watch.RANGE, id="other unit"),
        pytest.param(lambda x: np.full_like(x, 5), Watch.LEVEL, id="flat"),
        pytest.param(lambda x: x * 0.05 + 5, Watch.LEVEL, id="faint"),
    ],
)
def test_input_that_is_always_wrong_alarms_within_ten_inferences(disturbed: Any, watch: Watch) -> None:
    monitors = _monitors()
    changes = [monitors.observe(disturbed(sample), 0, 1.0) for sample in SAMPLES[:10]]
    assert [change for change in changes if change] == [Change((watch,), ())]
    assert monitors.alarmed == (watch,)
    assert changes.index(Change((watch,), ())) < monitors.delay(watch, 1.0) + 1


def test_answers_less_certain_than_they_were_alarm_by_the_limit_of_what_ran() -> None:
    limits = [REFERENCE.confidence["v"][name] for name in OPTIONS]
    assert limits[0] < limits[1]
    between = sum(limits) / 2
    monitors = _monitors()
    assert all(monitors.observe(SAMPLES[1], 0, between) is None for _ in range(50))
    changes = [monitors.observe(SAMPLES[1], 1, between) for _ in range(10)]
    assert Change((Watch.CONFIDENCE,), ()) in changes
    monitors = _monitors()
    assert any(monitors.observe(SAMPLES[1], 0, float("nan")) for _ in range(10))


def test_an_option_without_a_limit_is_not_watched_for_confidence() -> None:
    monitors = Monitors(REFERENCE, SPEC, least_confidence=[None, 0.5])
    assert all(monitors.observe(SAMPLES[1], 0, 0.0) is None for _ in range(100))
    assert Watch.CONFIDENCE in monitors.rates
    assert Watch.CONFIDENCE not in Monitors(REFERENCE, SPEC, least_confidence=[None]).rates


def test_an_alarm_lasts_its_hold_and_ends_when_events_are_as_rare_as_before() -> None:
    settings = MonitorSettings(hold=100)
    monitors = _monitors(settings)
    flat = np.full(SPEC.shape, 5, np.float32)
    while not monitors.alarmed:
        monitors.observe(flat, 0, 1.0)
    for _ in range(500):
        assert monitors.observe(flat, 0, 1.0) is None
    steps, change = 0, None
    while change is None:
        change = monitors.observe(SAMPLES[1], 0, 1.0)
        steps += 1
    assert change == Change((), (Watch.LEVEL,))
    assert monitors.alarmed == ()
    assert 30 < steps < 150

    short = _monitors(settings)
    while not short.alarmed:
        short.observe(flat, 0, 1.0)
    steps = next(step for step in range(1, 1000) if short.observe(SAMPLES[1], 0, 1.0))
    assert steps == 100


def test_events_that_stay_too_frequent_do_not_let_an_alarm_rest() -> None:
    monitors = _monitors(MonitorSettings(hold=1))
    rate = 5 * monitors.rates[Watch.LEVEL]
    random = np.random.default_rng(5)
    flat = np.full(SPEC.shape, 5, np.float32)
    changes = [
        change
        for _ in range(20_000)
        if (change := monitors.observe(flat if random.random() < rate else SAMPLES[1], 0, 1.0))
    ]
    assert changes[0] == Change((Watch.LEVEL,), ())
    assert len(changes) <= 1 + 2 * 4  # a false rest in 10,000 inferences on average, and the alarm after it


def test_an_alarm_that_comes_again_whenever_it_rests_is_held_longer_each_time() -> None:
    """As where the network is unsure, the bare host that runs instead is not, and nothing has changed."""
    monitors, alarms = _monitors(), []
    for step in range(100_000):
        change = monitors.observe(SAMPLES[1], *((0, 1.0) if monitors.alarmed else (1, 0.1)))
        if change and change.alarmed:
            alarms.append(step)
    gaps = np.diff(alarms)
    assert gaps.tolist() == sorted(gaps.tolist())
    assert 256 < gaps[0] < 300
    assert gaps[1:6] / gaps[:5] == pytest.approx(2.0, rel=0.1)
    assert gaps[-1] == pytest.approx(LONGEST * 256, rel=0.01)


def test_an_alarm_long_after_another_is_held_no_longer_than_that_one() -> None:
    monitors = _monitors(MonitorSettings(hold=100))
    flat, lengths = np.full(SPEC.shape, 5, np.float32), []
    for _ in range(3):
        while not monitors.alarmed:
            monitors.observe(flat, 0, 1.0)
        lengths.append(next(step for step in range(1, 1000) if monitors.observe(SAMPLES[1], 0, 1.0)))
        for _ in range(AGAIN * 100):
            monitors.observe(SAMPLES[1], 0, 1.0)
    assert lengths == [100, 100, 100]


def test_two_watches_can_change_at_once() -> None:
    monitors = Monitors(
        replace(REFERENCE, confidence_rank=REFERENCE.level_rank), SPEC, least_confidence=[0.5], settings=None
    )
    flat = np.full(SPEC.shape, 5, np.float32)
    changes = [change for _ in range(10) if (change := monitors.observe(flat, 0, 0.1))]
    assert changes[0].alarmed[:1] == (Watch.LEVEL,)
    assert set(monitors.alarmed) == {Watch.LEVEL, Watch.CONFIDENCE}


def test_the_same_stream_gives_the_same_changes() -> None:
    fresh, _ = _field(500, seed=6)
    runs = []
    for _ in range(2):
        monitors = _monitors(MonitorSettings(false_alarm=10, false_rest=10, hold=1))
        runs.append([monitors.observe(sample * 1.5, 0, 0.9) for sample in fresh])
    assert runs[0] == runs[1]
    assert any(runs[0])


def test_a_bundle_without_a_reference_has_no_monitors_and_one_with_it_has() -> None:
    bare = tiny.make(variants=("float",)).manifest
    assert Monitors.of(replace(bare, reference=None), bare.variants[0]) is None
    x, _ = tiny.samples(100)
    names = [item.configuration for item in bare.variants[0].runnables]
    logits = {name: np.random.default_rng(1).normal(size=(100, 3)) for name in names[1:]}
    manifest = replace(bare, reference=reference_of(x, {"float": logits}, source="made up"))
    monitors = Monitors.of(manifest, manifest.variants[0])
    assert monitors is not None
    assert set(monitors.rates) == set(Watch)
    assert all(monitors.observe(x[0], 0, 0.0) is None for _ in range(20))
    assert any(monitors.observe(x[0], 1, 0.0) for _ in range(20))


@pytest.mark.parametrize(
    "change", [{"false_alarm": 0.5}, {"doubt": 0.0}, {"doubt": 0.5}, {"false_rest": 0}, {"hold": 0}]
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        MonitorSettings(**change)


def test_a_reference_of_too_few_samples_is_refused_rather_than_guessed() -> None:
    with pytest.raises(SchemaError, match="16 samples or more, got 15"):
        reference_of(SAMPLES[:15], {}, source="made up")
