from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from exporters.request import ExportRequest, SeedModule
from exporters.validate import check_request
from tamiyo_runtime.contracts.errors import InputError, UnknownNameError


def _with_nan(samples: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    samples = samples.copy()
    samples[3, 0, 2, 2] = np.nan
    return samples


def test_a_sound_request_passes(request_: ExportRequest) -> None:
    check_request(request_)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"calibration": r.calibration[:, :, :5]}, r"calibration: samples of shape \[1, 5, 6\]"),
        (lambda r: {"calibration": r.calibration[:3]}, "calibration: 3 samples, at least 16"),
        (lambda r: {"calibration": _with_nan(r.calibration)}, "calibration: sample 3 holds a NaN"),
        (lambda r: {"calibration": np.zeros_like(r.calibration)}, "every value is 0"),
        (lambda r: {"calibration": np.repeat(r.calibration[:1], 64, axis=0)}, "64 samples, but only 1 different ones"),
        (lambda r: {"calibration": np.tile(r.calibration[:15], (4, 1, 1, 1))}, "only 15 different ones; at least 16"),
        (lambda r: {"calibration": r.calibration / 16 - 1}, r"values in \[-1"),
        (lambda r: {"test_inputs": _with_nan(r.test_inputs)}, "test_inputs: sample 3 holds a NaN"),
        (lambda r: {"test_labels": r.test_labels[:-1]}, "test_labels: shape"),
        (lambda r: {"test_labels": r.test_labels + 1}, "classes 1..4, the network has 0..3"),
        (lambda r: {"classes": r.classes[:1]}, "1 classes"),
        (lambda r: {"name": "../up"}, "the name '../up'"),
        (lambda r: {"trunk": []}, "no trunk"),
        (
            lambda r: {"seeds": [*r.seeds, SeedModule(slot=2, blueprint="x", module=r.seeds[0].module)]},
            "one a slot|slots",
        ),
        (lambda r: {"seeds": [SeedModule(slot=3, blueprint="x", module=r.seeds[0].module)]}, "3 slots"),
        (lambda r: {"accuracy_floor": 95.0}, r"not in \[0, 1\]"),
        (lambda r: {"policy": replace(r.policy, samples=r.policy.samples[:0])}, "policy samples"),
    ],
)
def test_a_request_that_cannot_be_exported_is_refused_with_the_values(
    request_: ExportRequest, change: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_request(replace(request_, **change(request_)))


def test_a_feature_that_never_changes_is_no_fault(request_: ExportRequest) -> None:
    samples = request_.calibration.copy()
    samples[:, :, 0] = 0
    check_request(replace(request_, calibration=samples))


def test_a_way_to_quantise_that_is_not_known_is_refused_with_near_names(request_: ExportRequest) -> None:
    with pytest.raises(UnknownNameError) as caught:
        check_request(replace(request_, quantise="qta"))
    assert caught.value.hint == "did you mean qat?"


def test_more_seeds_than_can_be_measured_are_refused(request_: ExportRequest) -> None:
    seeds = [SeedModule(slot=i, blueprint="x", module=request_.seeds[0].module) for i in range(7)]
    trunk = [request_.trunk[0]] * 7 + [request_.trunk[-1]]
    with pytest.raises(InputError, match="7 seeds make 128 configurations"):
        check_request(replace(request_, seeds=seeds, trunk=trunk))
