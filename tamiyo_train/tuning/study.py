"""The search for weights: Optuna's tree-structured Parzen estimator over the logarithms of all five prices.

The sampler of every trial is seeded by the study's seed and the number of trials before it, and knows nothing but
those trials: a study that was interrupted goes on with the very trials it would have had. The first trial is the
shipped weights. A score has steps, and a weight that nothing depends on ends wherever it was drawn: of the best trial,
weights that may be as shipped without a loss are.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import DatabaseError, OperationalError

from tamiyo_runtime.contracts.errors import InputError
from tamiyo_train.config import Prices

SPAN = 100.0
"""Prices are searched from the shipped ones over this to the shipped ones times this."""
_NAME, _STARTUP = "reward", 20
_SEEDS_APART = 1_000_003  # more trials than any study has


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found: the best prices and their score, how many trials, and each price's share of the variance
    of the score between trials (fANOVA; None where the score never varied, and an estimate where it did)."""

    prices: Prices
    score: float
    trials: int
    importance: Mapping[str, float] | None


def search(
    score: Callable[[Prices], float],
    *,
    trials: int,
    seed: int,
    storage: Path,
    on_trial: Callable[[int, float], None] | None = None,
    on_remark: Callable[[str], None] = lambda remark: None,
) -> Search:
    """Go on until the study in the SQLite file ``storage`` has that many trials.

    ``on_trial`` is told how many there are and the best score so far. A trial that was interrupted is done again; so
    are all of them, which ``on_remark`` is told, where the file is damaged or its trials were of another score.
    """
    shipped, space = score(Prices()), _space()
    kept, before = _kept(storage, shipped, on_remark)
    study = optuna.create_study(direction="maximize")  # in memory, where asking costs no transactions
    study.add_trials(before)
    while (done := len(study.get_trials(deepcopy=False))) < trials:
        if done == 0:
            study.add_trial(create_trial(params=asdict(Prices()), distributions=space, value=shipped))
        else:
            study.sampler = _sampler(seed * _SEEDS_APART + done)
            trial = study.ask(space)
            study.tell(trial, score(Prices(**trial.params)))
        kept.add_trial(study.get_trials(deepcopy=False)[-1])
        if on_trial is not None:
            on_trial(done + 1, study.best_value)
    prices, value = _settled(Prices(**study.best_params), study.best_value, score)
    return Search(prices=prices, score=value, trials=done, importance=_importance(study, seed))


def trials_in(storage: Path) -> list[tuple[Prices, float]]:
    """Prices and score of every trial kept in a file, in order; the file has to be there."""
    trials = _opened(storage).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [(Prices(**trial.params), trial.value) for trial in trials if trial.value is not None]


def _settled(prices: Prices, value: float, score: Callable[[Prices], float]) -> tuple[Prices, float]:
    """Prices and score with every price as shipped that may be without a loss, one after the other."""
    for name, plain in asdict(Prices()).items():
        candidate = replace(prices, **{name: plain})
        if candidate != prices and (found := score(candidate)) >= value:
            prices, value = candidate, found
    return prices, value


def _kept(
    storage: Path, shipped: float, on_remark: Callable[[str], None]
) -> tuple[optuna.Study, Sequence[FrozenTrial]]:
    """The study in the file, made if it is not there, and its trials; the first is worth ``shipped``, or all go.

    Raises InputError where the file cannot be opened or something else holds it.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    try:
        study = _opened(storage)
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    except OperationalError as exc:
        raise InputError(f"cannot use {storage}: {exc.orig}", hint="close what else has it open, and --resume") from exc
    except (DatabaseError, RuntimeError) as exc:  # RuntimeError: of a version of Optuna with other tables
        on_remark(f"{storage} cannot be read ({str(exc).splitlines()[0]}); searched again")
    else:
        value = trials[0].value if trials else shipped
        if value is not None and math.isclose(value, shipped, rel_tol=1e-9, abs_tol=1e-12):
            return study, trials
        on_remark(f"{storage} is about other outcomes; searched again")
    storage.unlink()
    return _opened(storage), ()


def _opened(storage: Path) -> optuna.Study:
    """By path and not by address, in which some characters of a path would mean something."""
    engine = {"creator": lambda: sqlite3.connect(storage)}
    database = optuna.storages.RDBStorage("sqlite://", engine_kwargs=engine)
    return optuna.create_study(study_name=_NAME, storage=database, direction="maximize", load_if_exists=True)


def _space() -> dict[str, BaseDistribution]:
    return {name: FloatDistribution(value / SPAN, value * SPAN, log=True) for name, value in asdict(Prices()).items()}


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=_STARTUP, multivariate=True)


def _importance(study: optuna.Study, seed: int) -> dict[str, float] | None:
    if len({trial.value for trial in study.get_trials(deepcopy=False)}) < 2:
        return None
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed % 2**32))
    return {name: float(share) for name, share in found.items()}
