"""Tasks: fixed disjoint splits, laws that keep what they promise, and data that would teach nonsense is refused."""

from __future__ import annotations

import builtins
import random
from functools import partial

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import InputError, MissingExtraError, SchemaError, UnknownNameError
from tamiyo_train.tasks import checkerboard, clusters, mnist1d, moons, spheres, spirals, stages, xor
from tamiyo_train.tasks.base import Split
from tamiyo_train.tasks.digits import digits, from_arrays
from tamiyo_train.tasks.generated import generated, plane

GENERATED = ("checkerboard", "clusters", "complex-moons", "moons", "spheres", "spirals", "xor")
DIGITS_SHA256 = "bfc07b0dd3b020c1acf55ad80ecb844068cde74230cbe299a73f7f2eed32fd0f"


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    return digits()


@pytest.fixture(scope="module")
def sequences():
    return stages.get("mnist1d")()


@pytest.fixture
def raw(task):
    x = np.concatenate([split.x for split in task.splits().values()])
    y = np.concatenate([split.y for split in task.splits().values()])
    return x.copy(), y.copy()


def rows_of(found) -> list[bytes]:
    return [row.tobytes() for split in found.splits().values() for row in split.x.reshape(len(split), -1)]


def test_every_digit_is_in_exactly_one_split(task):
    rows = rows_of(task)
    assert len(rows) == 1797
    assert len(set(rows)) == 1797  # the data set holds no duplicate, so a repeated row would be a leak


def test_splits_are_about_sixty_twenty_twenty_and_keep_the_shares_of_classes(task):
    sizes = {name: len(split) / 1797 for name, split in task.splits().items()}
    assert sizes["train"] == pytest.approx(0.6, abs=0.01)
    assert sizes["gate"] + sizes["score"] == pytest.approx(0.2, abs=0.01)
    assert sizes["test"] == pytest.approx(0.2, abs=0.01)
    for split in task.splits().values():
        shares = np.bincount(split.y, minlength=10) / len(split)
        assert shares.min() > 0.09 and shares.max() < 0.11


def test_the_digits_are_those_that_published_runs_were_made_on(task):
    assert task.sha256() == DIGITS_SHA256


def test_validation_is_both_halves(task):
    assert len(task.validation) == len(task.gate) + len(task.score)


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_task_is_the_same_every_time_and_its_splits_share_nothing(name):
    found = stages.get(name)()
    rows = rows_of(found)
    assert found.sha256() == stages.get(name)().sha256()
    assert [len(split) for split in found.splits().values()] == [2000, 500, 500, 1000]
    assert len(set(rows)) == len(rows)
    for split in found.splits().values():
        counts = np.bincount(split.y, minlength=len(found.classes))
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", GENERATED)
def test_the_raw_range_fits_the_law_closely_enough_for_int8(name):
    found = stages.get(name)()
    low, high = found.input.raw_low, found.input.raw_high
    largest = max(float(np.abs(split.x).max()) for split in found.splits().values())
    assert low == -high
    assert 0.6 * high < largest <= high


def likelihood_rule(draw, noise: float, *, points: int = 20_000, samples: int = 1_500) -> float:
    """Accuracy of the best rule for gaussian noise round what ``draw`` gives without any, by simulation."""
    clean, noisy = draw(points, rng=rng(1), noise=0.0), draw(samples, rng=rng(2), noise=noise)
    right = 0
    for x, y in zip(np.split(noisy.x, 10), np.split(noisy.y, 10), strict=True):
        density = np.exp(-((x[:, None] - clean.x[None]) ** 2).sum(axis=2) / (2 * noise**2))
        right += int(((density[:, clean.y == 1].sum(axis=1) > density[:, clean.y == 0].sum(axis=1)) == y).sum())
    return right / samples


@pytest.mark.parametrize(
    ("draw", "noise", "limit"),
    [
        (spirals.draw, 0.02, spirals.BAYES),
        (moons.draw, 0.1, moons.BAYES["moons"]),
        (partial(moons.draw, patches=0.25), 0.1, moons.BAYES["complex-moons"]),
    ],
)
def test_the_best_rule_on_curves_reaches_the_stated_limit(draw, noise, limit):
    assert likelihood_rule(draw, noise) == pytest.approx(limit, abs=0.004)


@pytest.mark.parametrize("blobs", [2, 3, 4, 5])
def test_clusters_can_be_told_apart_as_purely_as_asked_for_and_no_better(blobs):
    found = clusters.draw(40_000, rng=rng(), blobs=blobs)
    centres = np.array([found.x[found.y == blob].mean(axis=0) for blob in range(blobs)])
    nearest = ((found.x[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.97 <= clusters.BAYES <= 0.98
    assert float(np.mean(nearest == found.y)) == pytest.approx(clusters.BAYES, abs=0.003)


def test_purity_of_two_blobs_is_the_gaussian_tail():
    assert clusters.purity_of(2, 0.5) == pytest.approx(0.97725, abs=1e-5)  # Phi(2)


def test_spheres_are_told_apart_by_their_radius_as_well_as_stated():
    found = spheres.draw(40_000, rng=rng())
    outer = np.linalg.norm(found.x, axis=1) > 1 + spheres.GAP / 2
    assert float(np.mean(outer == found.y)) == pytest.approx(spheres.BAYES, abs=0.002)
    assert spheres.BAYES >= 0.99


@pytest.mark.parametrize("squares", [2, 3, 4, 7])
def test_a_checkerboard_is_ruled_by_its_squares_alone(squares):
    found = checkerboard.draw(4_000, rng=rng(), squares=squares)
    fields = np.floor((found.x.astype(np.float64) + 1) / 2 * squares).astype(int)
    assert np.array_equal(fields.sum(axis=1) % 2, found.y)
    counts = np.unique(fields, axis=0, return_counts=True)[1]
    assert len(counts) == squares**2
    assert counts.min() > 0.5 * counts.max()


def test_xor_is_the_parity_of_its_relevant_inputs_and_of_nothing_less():
    found = xor.draw(8_000, rng=rng(), relevant=5, inputs=12)
    bits = found.x > 0
    assert float(np.mean(bits[:, :5].sum(axis=1) % 2 == found.y)) > 0.999
    for column in range(12):
        assert abs(float(np.mean(bits[:, column] == found.y)) - 0.5) < 0.03
    assert abs(float(np.mean(bits[:, :4].sum(axis=1) % 2 == found.y)) - 0.5) < 0.03


@pytest.mark.parametrize(
    ("draw", "bad", "named"),
    [
        (spirals.draw, {"turns": 0}, "turns"),
        (spirals.draw, {"noise": float("nan")}, "noise"),
        (moons.draw, {"noise": -0.1}, "noise"),
        (moons.draw, {"patches": 1.0}, "patches"),
        (clusters.draw, {"blobs": 6}, "blobs"),
        (clusters.draw, {"purity": 1.0}, "purity"),
        (spheres.draw, {"dimensions": 1}, "dimensions"),
        (spheres.draw, {"gap": 0.12, "noise": 0.2}, "gap"),
        (checkerboard.draw, {"squares": 1}, "squares"),
        (checkerboard.draw, {"margin": 1.0}, "margin"),
        (xor.draw, {"relevant": 9, "inputs": 8}, "relevant"),
        (xor.draw, {"inputs": 0}, "inputs"),
    ],
)
def test_bad_parameters_are_refused_by_name(draw, bad, named):
    with pytest.raises(SchemaError, match=named):
        draw(100, rng=rng(), **bad)


def test_too_few_samples_for_every_class_are_refused():
    with pytest.raises(SchemaError, match="too few for 5 classes"):
        clusters.draw(4, rng=rng(), blobs=5)


def test_a_generator_whose_output_is_unfit_is_refused():
    def poisoned(samples, /, *, rng):
        found = moons.draw(samples, rng=rng)
        found.x[7] = np.nan
        return found

    def one_class(samples, /, *, rng):
        return Split(x=moons.draw(samples, rng=rng).x, y=np.zeros(samples, np.int64))

    for draw, bound, problem in (
        (poisoned, 2.25, "number 7"),
        (one_class, 2.25, "class 1"),
        (moons.draw, 1, "expected"),
    ):
        with pytest.raises(InputError, match=problem):
            generated("unfit", draw, classes=("a", "b"), spec=plane(bound), seed=0)


def test_mnist1d_keeps_its_test_set_and_splits_the_rest_by_class(sequences):
    sizes = {name: len(split) for name, split in sequences.splits().items()}
    assert sizes["test"] == 1000
    assert sizes["train"] + sizes["gate"] + sizes["score"] == 4000
    assert min(sizes["gate"], sizes["score"]) >= 390
    assert len(set(rows_of(sequences))) == 5000
    assert sequences.input.shape == sequences.train.x.shape[1:] == (1, 40)


def test_generating_mnist1d_leaves_the_global_generators_alone():
    random.seed(11)
    np.random.seed(11)
    expected = random.random(), np.random.rand()
    random.seed(11)
    np.random.seed(11)
    with mnist1d.global_generators_kept():
        random.seed(42)
        np.random.seed(42)
        np.random.rand(3)
    assert (random.random(), np.random.rand()) == expected


def test_the_generators_are_restored_when_generating_fails():
    np.random.seed(11)
    before = np.random.get_state()[1].copy()
    with pytest.raises(RuntimeError), mnist1d.global_generators_kept():
        np.random.seed(42)
        raise RuntimeError
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_missing_package_is_named_with_what_to_type(monkeypatch):
    plain = builtins.__import__

    def blocked(name, *arguments, **keywords):
        if name.partition(".")[0] == "mnist1d":
            raise ImportError(name)
        return plain(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(MissingExtraError) as caught:
        stages.get("mnist1d")()
    assert "tamiyo-edge[train]" in caught.value.hint


def test_unfit_sequences_are_refused(sequences):
    test = sequences.test
    x = sequences.train.x.copy()
    x[3, 0, 0] = np.inf
    with pytest.raises(InputError, match="number 3"):
        mnist1d.from_arrays(x, sequences.train.y, test_x=test.x, test_y=test.y)
    with pytest.raises(InputError, match="class 9"):
        mnist1d.from_arrays(
            sequences.train.x, sequences.train.y, test_x=test.x[test.y != 9], test_y=test.y[test.y != 9]
        )


def test_nan_is_refused_and_located(raw):
    x, y = raw
    x[17, 0, 3, 3] = np.nan
    with pytest.raises(InputError, match="number 17"):
        from_arrays(x, y)


def test_a_wrong_shape_is_refused(raw):
    x, y = raw
    with pytest.raises(InputError, match="expected"):
        from_arrays(x[:, :, :7], y)


def test_a_missing_class_is_named(raw):
    x, y = raw
    with pytest.raises(InputError, match="class 4"):
        from_arrays(x[y != 4], y[y != 4])


def test_scaled_samples_are_refused_because_the_specification_scales(raw):
    x, y = raw
    with pytest.raises(InputError, match=r"\[0.0, 16.0\]"):
        from_arrays(x - 1, y)


def test_labels_and_samples_must_match(raw):
    x, y = raw
    with pytest.raises(InputError, match="labels"):
        from_arrays(x, y[:-1])
    with pytest.raises(InputError, match="integers"):
        from_arrays(x, y.astype(np.float32))
    with pytest.raises(InputError, match=r"0\.\.9"):
        from_arrays(x, y + 1)


def test_a_class_too_small_to_split_is_refused(raw):
    x, y = raw
    few = np.concatenate([np.flatnonzero(y != 4), np.flatnonzero(y == 4)[:2]])
    with pytest.raises(InputError, match="class 4 has 2 samples"):
        from_arrays(x[few], y[few])


def test_a_misspelt_stage_gets_the_near_name():
    with pytest.raises(UnknownNameError) as caught:
        stages.get("digit")
    assert caught.value.near[0] == "digits"
