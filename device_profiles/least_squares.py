"""Non-negative least squares on relative errors: what rates are fitted with.

Times span three orders of magnitude and a rate cannot be negative, so what is made small is ln(predicted / measured),
and robustly: graphs that the model has no idea of must not bend the rates of all others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_ROUNDS = 12
_TUNING = 1.5  # spreads of the residuals beyond which a residual counts linearly
_LEAST_SPREAD = 0.01


def non_negative(a: Matrix, b: Vector, *, start: NDArray[np.bool_] | None = None) -> Vector:
    """x >= 0 of least |a x - b|, by the active-set method of Lawson and Hanson; a: (rows, columns) of full rank.

    ``start`` says which elements are likely above 0: a good guess saves most of the time.
    """
    columns = a.shape[1]
    gram, target = a.T @ a, a.T @ b
    x = np.zeros(columns)
    free = np.zeros(columns, bool) if start is None else start.copy()
    tolerance = 1e-10 * max(1.0, float(np.abs(target).max(initial=0.0)))
    for _ in range(3 * columns):
        while free.any():
            trial = np.zeros(columns)
            trial[free] = np.linalg.solve(gram[np.ix_(free, free)], target[free])
            below = free & (trial <= 0)
            if not below.any():
                x = trial
                break
            step = float(np.min(x[below] / (x[below] - trial[below]))) if (x[below] > trial[below]).all() else 0.0
            x = x + step * (trial - x)
            free &= ~(below & (x <= 1e-14))
            x[~free] = 0.0
        gradient = np.where(free, -np.inf, target - gram @ x)
        best = int(np.argmax(gradient))
        if gradient[best] <= tolerance:
            break
        free[best] = True
    return x


def fit_relative(terms: Matrix, measured: Vector, *, prior_weight: float, floor: float) -> Vector:
    """Factors z >= ``floor`` for which ``terms @ z`` meets ``measured`` with little relative error.

    terms: (runs, rates), the time that each rate adds by the figure known beforehand, so 1 is the prior of every
    factor; a deviation of d from it weighs as much as a relative error of ``prior_weight`` * d in one run.
    """
    rates = terms.shape[1]
    relative = terms / measured[:, None]
    base = relative.sum(1) * floor
    before = np.full(rates, np.inf)
    weights, prior_weights = np.ones(len(measured)), np.ones(rates)
    z = np.full(rates, floor)
    for _ in range(_ROUNDS):
        rows = np.vstack([relative * weights[:, None], np.diag(prior_weight * prior_weights)])
        aim = np.concatenate([(1 - base) * weights, prior_weight * prior_weights * (1 - floor)])
        z = floor + non_negative(rows, aim, start=z > floor)
        if float(np.abs(z - before).max()) < 1e-4:
            break
        before = z
        ratio = np.maximum(relative @ z, 1e-6)
        residual = np.log(ratio)
        spread = max(float(np.median(np.abs(residual))) * 1.48, _LEAST_SPREAD)
        weights = np.maximum(_log_like(ratio), 0.3) * _robust(residual / spread)
        prior_weights = _log_like(z) * _robust(prior_weight * np.log(z) / spread)
    return z


def _log_like(ratio: Vector) -> Vector:
    """Factor that turns ratio - 1 into ln(ratio), within bounds that keep the iteration stable."""
    away = np.abs(ratio - 1) > 1e-6
    factor = np.ones_like(ratio)
    factor[away] = np.log(ratio[away]) / (ratio[away] - 1)
    return np.clip(factor, 0.01, 3.0)


def _robust(scaled: Vector) -> Vector:
    """Square root of Huber's weight."""
    return 1 / np.sqrt(np.maximum(1.0, np.abs(scaled) / _TUNING))
