"""How sure one can be of a rate that was seen in a finite number of trials."""

from __future__ import annotations


def lower_bound(successes: int, trials: int, *, confidence: float = 0.95) -> float:
    """One-sided exact lower bound of a success rate (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934).

    The rate p at which that many successes or more have probability 1 - confidence; 0 when there was none.
    """
    from scipy.stats import beta  # type: ignore[import-untyped]  # scipy ships no types

    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no rate")
    return 0.0 if successes == 0 else float(beta.ppf(1 - confidence, successes, trials - successes + 1))
