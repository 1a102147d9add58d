from __future__ import annotations

import numpy as np
import pytest

from simulators.faults.sensor import FAULTS
from tamiyo_runtime.contracts.manifest import InputSpec

SPEC = InputSpec(shape=(1, 6, 8), layout="CHW", offset=0.0, scale=1.0, raw_low=-2.0, raw_high=10.0)
BEYOND = {"no numbers", "another unit"}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_changes_a_sample_keeps_its_form_and_leaves_the_original_alone(name: str) -> None:
    sample = np.random.default_rng(1).uniform(-2, 9, SPEC.shape).astype(np.float32)
    before = sample.copy()
    found, again = (FAULTS[name](sample, SPEC, np.random.default_rng(2)) for _ in range(2))
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(sample, before)
    assert (found.shape, found.dtype) == (sample.shape, np.float32)
    assert not np.array_equal(found, sample)
    inside = bool(np.isfinite(found).all()) and SPEC.raw_low <= found.min() and found.max() <= SPEC.raw_high
    assert inside == (name not in BEYOND)
