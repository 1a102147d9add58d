"""The search for weights: it finds what was planted, and an interrupted one ends as if nothing had been."""

from __future__ import annotations

import math
import sqlite3
from dataclasses import astuple, replace
from pathlib import Path

import optuna
import pytest

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_train.config import Prices
from tamiyo_train.tuning.difference import Difference
from tamiyo_train.tuning.report import SHIPPED, TUNED, held_out, report
from tamiyo_train.tuning.study import SPAN, Search, search
from tamiyo_train.tuning.yardstick import Yardstick
from tests.unit.tamiyo_train.tuning.helpers import MODEST, PLANTED, WAITS, Made, outcomes


def peak(prices: Prices) -> float:
    """Highest at .1 for parameters; the other weights hardly matter."""
    return -abs(math.log(prices.params / 0.1)) - 0.01 * abs(math.log(prices.energy / 0.05))


def trials_of(storage: Path) -> list[tuple[dict[str, float], float | None]]:
    study = optuna.load_study(study_name="reward", storage=f"sqlite:///{storage}")
    complete = [trial for trial in study.trials if trial.state is optuna.trial.TrialState.COMPLETE]
    return [(trial.params, trial.value) for trial in complete]


def test_a_planted_optimum_is_found_and_its_weight_is_the_one_that_matters(tmp_path):
    found = search(peak, trials=60, seed=0, storage=tmp_path / "study.db")
    assert found.trials == 60
    assert abs(math.log(found.prices.params / 0.1)) < 0.4
    assert found.importance is not None
    assert max(found.importance, key=found.importance.__getitem__) == "params"
    assert sum(found.importance.values()) == pytest.approx(1.0)


def test_the_shipped_weights_are_tried_first_and_all_others_lie_within_the_span(tmp_path):
    search(peak, trials=8, seed=3, storage=tmp_path / "study.db")
    (first, value), *others = trials_of(tmp_path / "study.db")
    assert Prices(**first) == Prices() and value == peak(Prices())
    for params, _ in others:
        for name, tried in params.items():
            assert 1 / SPAN <= tried / getattr(Prices(), name) * (1 + 1e-9) <= SPAN * (1 + 1e-6)


def test_a_study_interrupted_anywhere_goes_on_with_the_trials_it_would_have_had(tmp_path):
    whole = search(peak, trials=26, seed=1, storage=tmp_path / "whole.db")
    calls = 0

    def breaks(prices: Prices) -> float:
        nonlocal calls
        calls += 1
        if calls in {4, 23}:
            raise KeyboardInterrupt
        return peak(prices)

    told: list[int] = []
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search(breaks, trials=26, seed=1, storage=tmp_path / "broken.db")
    again = search(
        breaks, trials=26, seed=1, storage=tmp_path / "broken.db", on_trial=lambda done, best: told.append(done)
    )
    assert again == whole
    assert trials_of(tmp_path / "broken.db") == trials_of(tmp_path / "whole.db")
    assert told[-1] == 26 and told[0] > 20


def test_another_seed_tries_other_weights(tmp_path):
    for seed in (0, 1):
        search(peak, trials=3, seed=seed, storage=tmp_path / f"{seed}.db")
    assert trials_of(tmp_path / "0.db")[1] != trials_of(tmp_path / "1.db")[1]


def test_a_seed_may_be_as_large_as_one_likes(tmp_path):
    assert search(peak, trials=3, seed=2**70, storage=tmp_path / "study.db").importance is not None


def test_where_the_score_never_varies_no_weight_is_said_to_matter(tmp_path):
    assert search(lambda prices: 0.5, trials=3, seed=0, storage=tmp_path / "flat.db").importance is None


def test_tuning_on_outcomes_finds_the_price_of_training_that_was_planted_and_says_what_it_changes(tmp_path):
    found = outcomes(PLANTED)
    yardstick = Yardstick({0.01: found.rows(~held_out(found))})
    shipped = yardstick.score(Prices())
    best = search(yardstick.score, trials=30, seed=0, storage=tmp_path / "study.db")
    made = report({0.01: found}, best, score_shipped=shipped, seed=0)
    tuned, before = made.row(TUNED), made.row(SHIPPED)
    assert best.score > shipped
    assert best.prices.training_macs > 0.004 / 5.5  # above it the modest habit is worth more
    assert tuned.point.accuracy == pytest.approx(MODEST.accuracy)
    assert tuned.levels_changed == 2 and before.levels_changed == 0
    assert tuned.volume_change.low > 0 and made.better
    assert tuned.accuracy_change.mean == pytest.approx(-0.004)
    assert before.volume_change == before.accuracy_change == Difference(mean=0.0, low=0.0, high=0.0)
    assert made.row("training_macs x 10").levels_changed == 2
    assert made.row("params x 0").levels_changed == 0
    assert (made.draws, made.draws_held_out, made.levels, made.habits) == (9, 3, 2, 3)
    assert len(made.rows) == 3 + 2 * len(astuple(Prices())) + 1
    alone = made.row("training_macs tuned")
    assert alone.prices == replace(Prices(), training_macs=best.prices.training_macs)
    assert alone.point == tuned.point


def test_weights_that_give_too_much_accuracy_away_are_not_called_better():
    frugal = Made(accuracy=0.79, training=1.1)
    found = outcomes([WAITS, frugal, MODEST])
    stingy = replace(Prices(), training_macs=0.04)
    best = Search(prices=stingy, score=1.0, trials=1, importance=None)
    made = report({0.01: found}, best, score_shipped=0.0, seed=0)
    assert made.row(TUNED).accuracy_change.mean < -0.005
    assert not made.better


def test_weights_that_nothing_depends_on_stay_as_shipped(tmp_path):
    found = outcomes(PLANTED)
    best = search(Yardstick({0.01: found}).score, trials=30, seed=0, storage=tmp_path / "study.db")
    assert best.prices == replace(Prices(), training_macs=best.prices.training_macs) != Prices()
    assert max(value for _, value in trials_of(tmp_path / "study.db") if value is not None) == best.score


def test_a_study_that_cannot_be_read_is_searched_again_to_the_same_end(tmp_path):
    storage, remarks = tmp_path / "study.db", list[str]()
    whole = search(peak, trials=6, seed=1, storage=storage)
    before = trials_of(storage)
    storage.write_bytes(storage.read_bytes()[:5000])
    assert search(peak, trials=6, seed=1, storage=storage, on_remark=remarks.append) == whole
    assert trials_of(storage) == before
    assert len(remarks) == 1 and "searched again" in remarks[0] and "study.db" in remarks[0]


def test_trials_of_other_outcomes_are_not_gone_on_with(tmp_path):
    storage, remarks = tmp_path / "study.db", list[str]()
    search(lambda prices: peak(prices) + 1, trials=6, seed=1, storage=storage)
    again = search(peak, trials=6, seed=1, storage=storage, on_remark=remarks.append)
    assert again == search(peak, trials=6, seed=1, storage=tmp_path / "fresh.db")
    assert trials_of(storage) == trials_of(tmp_path / "fresh.db")
    assert len(remarks) == 1 and "other outcomes" in remarks[0]


def test_a_study_that_something_else_holds_is_left_as_it_is(tmp_path):
    storage = tmp_path / "study.db"
    search(peak, trials=2, seed=1, storage=storage)
    before = storage.read_bytes()
    other = sqlite3.connect(storage)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(InputError, match="locked"):
        search(peak, trials=3, seed=1, storage=storage)
    other.close()
    assert storage.read_bytes() == before


@pytest.mark.parametrize("name", ["a?b=1", "50 %20", "#1"])
def test_any_name_of_a_folder_will_do(name, tmp_path):
    (tmp_path / name).mkdir()
    search(peak, trials=2, seed=0, storage=tmp_path / name / "study.db")
    assert (tmp_path / name / "study.db").stat().st_size > 0
    assert search(peak, trials=3, seed=0, storage=tmp_path / name / "study.db").trials == 3
    assert [path.name for path in tmp_path.iterdir()] == [name]
