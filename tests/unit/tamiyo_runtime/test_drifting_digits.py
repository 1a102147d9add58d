"""The monitors on real scans: digits in three disjoint parts, to teach a model, for the reference, for the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from simulators.faults.sensor import FAULTS
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.monitors import Monitors, Watch
from tamiyo_runtime.reference import confidence_of, reference_of

SPEC = InputSpec(shape=(1, 8, 8), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)


@dataclass(frozen=True)
class Digits:
    kept: NDArray[np.float32]
    field: NDArray[np.float32]
    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = samples.reshape(len(samples), -1) / 16 @ self.weights.T + self.bias
        return found

    def monitors(self) -> Monitors:
        reference = reference_of(self.kept, {"v": {"c": self.logits(self.kept)}}, source="digits")
        return Monitors(reference, SPEC, least_confidence=[reference.confidence["v"]["c"]])

    def first_alarm(self, samples: NDArray[np.float32], count: int) -> tuple[int, tuple[Watch, ...]] | None:
        """After how many of ``count`` samples, played in a seeded order, and whose."""
        monitors, confidences = self.monitors(), confidence_of(self.logits(samples))
        for step, index in enumerate(np.random.default_rng(1).integers(0, len(samples), count), 1):
            if (change := monitors.observe(samples[index], 0, float(confidences[index]))) is not None:
                return step, change.alarmed
        return None


@pytest.fixture(scope="module")
def digits() -> Digits:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    bunch = load_digits()
    x = bunch.images[:, None].astype(np.float32)
    taught, kept, field = np.split(np.random.default_rng(0).permutation(len(x)), [1079, 1438])
    model = LogisticRegression(max_iter=200).fit(x[taught].reshape(-1, 64) / 16, bunch.target[taught])
    assert model.score(x[field].reshape(-1, 64) / 16, bunch.target[field]) > 0.95
    return Digits(x[kept], x[field], model.coef_, model.intercept_)


def test_scans_that_nobody_has_seen_raise_no_alarm_nor_does_the_reference_itself(digits: Digits) -> None:
    assert digits.first_alarm(digits.field, 20_000) is None
    assert digits.first_alarm(digits.kept, 20_000) is None


@pytest.mark.parametrize(
    ("fault", "watch", "within"),
    [
        ("no numbers", Watch.RANGE, 10),
        ("another unit", Watch.RANGE, 10),
        ("stuck at half", Watch.LEVEL, 10),
        ("dark", Watch.LEVEL, 10),
        ("saturated", Watch.LEVEL, 10),
        ("inverted contrast", Watch.LEVEL, 10),
        ("half the contrast", Watch.LEVEL, 10),
        ("brighter by a quarter", Watch.LEVEL, 10),
        ("every 4th column dead", Watch.LEVEL, 50),
        ("moved by a quarter", Watch.CONFIDENCE, 150),
        ("upside down", Watch.CONFIDENCE, 250),
        ("noise, 25 % of the range", Watch.LEVEL, 800),
    ],
)
def test_a_faulty_sensor_alarms_within_so_many_samples(digits: Digits, fault: str, watch: Watch, within: int) -> None:
    random = np.random.default_rng(2)
    faulty = np.stack([FAULTS[fault](sample, SPEC, random) for sample in digits.field])
    found = digits.first_alarm(faulty, within)
    assert found is not None
    assert watch in found[1]


def test_a_sensor_that_freezes_on_a_plausible_sample_is_not_seen(digits: Digits) -> None:
    """A limit of what is watched, stated in docs/monitors.md."""
    surest = int(confidence_of(digits.logits(digits.field)).argmax())
    assert digits.monitors().look(digits.field[surest]) == (False, False)
    assert digits.first_alarm(digits.field[surest : surest + 1], 5000) is None
