"""The search for weights: Optuna's tree-structured Parzen estimator over the logarithms of all five prices.

The sampler of every trial is seeded by the study's seed and the number of trials before it, and knows nothing but
those trials: a study that was interrupted goes on with the very trials it would have had. The first trial is the
shipped weights.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from tamiyo_train.config import Prices

SPAN = 100.0
"""Prices are searched from the shipped ones over this to the shipped ones times this."""
_NAME, _STARTUP = "reward", 20
_SEEDS_APART = 1_000_003  # more trials than any study has


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What a search found: the best prices and their score, how many trials, and each price's share of the variance
    of the score between trials (fANOVA; None where the score never varied)."""

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
) -> Search:
    """Go on until the study in the SQLite file ``storage`` has that many trials.

    ``on_trial`` is told how many there are and the best score so far. A trial that was interrupted is done again.
    """
    kept, space = _kept(storage), _space()
    study = optuna.create_study(direction="maximize")  # in memory, where asking costs no transactions
    study.add_trials(kept.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    while (done := len(study.get_trials(deepcopy=False))) < trials:
        if done == 0:
            shipped = create_trial(params=asdict(Prices()), distributions=space, value=score(Prices()))
            study.add_trial(shipped)
        else:
            study.sampler = _sampler(seed * _SEEDS_APART + done)
            trial = study.ask(space)
            study.tell(trial, score(Prices(**trial.params)))
        kept.add_trial(study.get_trials(deepcopy=False)[-1])
        if on_trial is not None:
            on_trial(done + 1, study.best_value)
    return Search(
        prices=Prices(**study.best_params), score=study.best_value, trials=done, importance=_importance(study, seed)
    )


def _kept(storage: Path) -> optuna.Study:
    """The study in the file, made if it is not there."""
    logging.getLogger("optuna").setLevel(logging.WARNING)
    return optuna.create_study(
        study_name=_NAME, storage=f"sqlite:///{storage.absolute()}", direction="maximize", load_if_exists=True
    )


def _space() -> dict[str, BaseDistribution]:
    return {name: FloatDistribution(value / SPAN, value * SPAN, log=True) for name, value in asdict(Prices()).items()}


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=_STARTUP, multivariate=True)


def _importance(study: optuna.Study, seed: int) -> dict[str, float] | None:
    if len({trial.value for trial in study.get_trials(deepcopy=False)}) < 2:
        return None
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=seed))
    return {name: float(share) for name, share in found.items()}
