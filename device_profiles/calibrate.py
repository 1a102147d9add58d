"""Fit a CPU profile to runs measured on the device, and find out how far off it then is.

A part of the graphs is kept out of the fit, evenly over families and precisions. On the rest the rates are fitted; the
90 % interval comes from cross-validation there, wide enough that with 90 % confidence it holds 90 % of graphs it has
not seen. Only then the graphs kept out are looked at: they say whether the interval keeps its word.

What the runs say little of is held near the figure of the profile that calibration starts from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from device_profiles.kernels import CODES, STORES, padded
from device_profiles.least_squares import Matrix, Vector, fit_relative
from device_profiles.measured import Sample
from device_profiles.ops import MAC_KINDS, Op, OpKind
from device_profiles.profile import Profile
from tamiyo_runtime.contracts.errors import IncompatibleError, InputError
from tamiyo_runtime.contracts.plan import Precision

LEAST_HELD_OUT = 30
_SHARE_HELD_OUT = 1 / 3
_LEAST_OF_CLASS = 4
_MATTERS = 0.05  # of a run's time: below, a run says nothing of a rate
_LEAST_SUPPORT = 3
_PRIOR_WEIGHT, _FLOOR = 0.03, 0.02
_FOLDS, _RESAMPLES = 10, 25
_COVERAGE, _CONFIDENCE = 0.9, 0.9
_VECTORS = (1, 2, 4, 8, 16, 32)
# Where a profile does not say: looking up a position and storing an output take about as long as so many MACs.
_WINDOW_MACS, _OUTPUT_MACS = 32.0, 8.0

DISPATCH, OPERATOR = "compute.dispatch_us", "compute.operator_us"
Lanes = Mapping[Precision, tuple[int, int]]
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A fitted rate in us for each unit of work, its figure before, and an interval from resampling the runs.

    ``support`` counts runs in which it makes up 5 % of the time; where few do, it leans on the figure before.
    """

    name: str
    value: float
    low: float
    high: float
    before: float
    support: int

    @property
    def certain(self) -> bool:
        """Whether enough runs tell of it."""
        return self.support >= _LEAST_SUPPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A graph, measured and predicted, us. ``held_out``: it was not used to fit."""

    id: str
    family: str
    precision: Precision
    measured_us: float
    predicted_us: float
    held_out: bool

    @property
    def error(self) -> float:
        """|predicted - measured| as a share of the measured time."""
        return abs(self.predicted_us / self.measured_us - 1)

    @property
    def ratio(self) -> float:
        """How many times too high or too low, at least 1."""
        return math.exp(abs(math.log(self.predicted_us / self.measured_us)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Fitted rates by name, vector sizes (depth, width) by precision, and how good it all is.

    ``relative_error``: the truth lies within a factor of 1 + this in 90 % of cases.
    """

    rates: Mapping[str, Rate]
    lanes: Lanes
    relative_error: float
    predictions: tuple[Prediction, ...]

    @property
    def held_out(self) -> tuple[Prediction, ...]:
        """Predictions of graphs that were not used to fit."""
        return tuple(item for item in self.predictions if item.held_out)

    @property
    def coverage(self) -> float:
        """Share of the graphs kept out whose median lies in the interval."""
        inside = [item.ratio <= 1 + self.relative_error for item in self.held_out]
        return sum(inside) / len(inside)

    @property
    def mean_error(self) -> float:
        """Mean error on the graphs kept out."""
        return sum(item.error for item in self.held_out) / len(self.held_out)

    @property
    def worst(self) -> Prediction:
        """The graph kept out that is predicted worst."""
        return max(self.held_out, key=lambda item: item.error)


def calibrate(profile: Profile, samples: Sequence[Sample], *, seed: int = 0, step: Step | None = None) -> Calibration:
    """Fit ``profile`` to ``samples``; the same arguments give the same result. ``step`` is told what is being done.

    Raises IncompatibleError for a profile whose graphs do not run on a CPU, InputError where runs are too few.
    """
    tell = step or (lambda _: None)
    if any(rates.accelerator or rates.systolic for rates in profile.rates.values()):
        raise IncompatibleError(
            f"profile '{profile.id}' prices an accelerator; runs of an interpreter on a CPU do not tell its rates",
            hint="calibrate the profile of a CPU: tamiyo profile show",
        )
    held = split(samples, seed=seed)
    fit = [sample for sample, out in zip(samples, held, strict=True) if not out]
    _check(fit, sum(held))
    tell("choosing vector sizes")
    lanes = _choose_lanes(profile, fit)
    names = _names(samples, lanes)
    before = np.array([_prior(profile, name) for name in names])
    terms = _terms(fit, names, lanes) * before
    measured = np.array([sample.p50_us for sample in fit])
    tell("fitting rates")
    factors = _solve(terms, measured)
    support = ((terms * factors) / measured[:, None] > _MATTERS).sum(0)
    tell("cross-validating the interval")
    error = _interval(_cross_validated(terms, measured, _strata(fit, seed)))
    tell("resampling")
    low, high = _resampled(terms, measured, factors, seed)
    values = factors * before
    predicted = _terms(samples, names, lanes) @ values
    rates = {
        name: Rate(
            name=name,
            value=float(values[i]),
            low=float(low[i] * before[i]),
            high=float(high[i] * before[i]),
            before=float(before[i]),
            support=int(support[i]),
        )
        for i, name in enumerate(names)
    }
    return Calibration(
        rates={**rates, **_class_rates(profile, fit, rates)},
        lanes=lanes,
        relative_error=error,
        predictions=tuple(
            Prediction(
                id=sample.id,
                family=sample.family,
                precision=sample.precision,
                measured_us=sample.p50_us,
                predicted_us=float(us),
                held_out=out,
            )
            for sample, us, out in zip(samples, predicted, held, strict=True)
        ),
    )


def split(samples: Sequence[Sample], *, seed: int) -> list[bool]:
    """Which samples are kept out of the fit: a third of each family and precision, at random.

    Graphs of one operator only are divided by operator as well, so that the fit sees each of them.
    """
    held, owed = [False] * len(samples), 0.5
    for members in _strata(samples, seed):
        owed += len(members) * _SHARE_HELD_OUT  # what rounding leaves over goes to the next family
        take = min(int(owed), len(members) // 2)
        owed -= take
        for index in members[:take]:
            held[index] = True
    return held


def _strata(samples: Sequence[Sample], seed: int) -> list[list[int]]:
    """Indices of the samples by what they are, each group shuffled."""
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, ...], list[int]] = {}
    for index, sample in enumerate(samples):
        codes = {op.code for op in sample.ops}
        strata.setdefault((sample.family, sample.precision, *(codes if len(codes) == 1 else ())), []).append(index)
    return [[int(index) for index in rng.permutation(strata[key])] for key in sorted(strata)]


def charges(op: Op, precision: Precision, lanes: tuple[int, int]) -> Iterable[tuple[str, float]]:
    """What an operator is charged for: names of rates, and how much of each."""
    yield OPERATOR, 1.0
    if op.kind in MAC_KINDS:
        macs, windows = padded(op, *lanes)
        yield f"work.{precision}.{op.kind}", macs
        yield f"kernels.{precision}.{STORES[op.kind]}", float(op.output_bytes)
        if windows:
            yield f"kernels.{precision}.window", windows
        return
    moved = float(op.input_bytes + op.output_bytes)
    yield (f"kernels.{precision}.{op.code.lower()}" if op.code in CODES else f"work.{precision}.{op.kind}"), moved


def _names(samples: Sequence[Sample], lanes: Lanes) -> list[str]:
    found = {name for s in samples for op in s.ops for name, _ in charges(op, s.precision, lanes[s.precision])}
    return sorted({DISPATCH, *found})


def _terms(samples: Sequence[Sample], names: Sequence[str], lanes: Lanes) -> Matrix:
    """Amounts of work, (samples, names)."""
    place = {name: index for index, name in enumerate(names)}
    terms = np.zeros((len(samples), len(names)))
    terms[:, place[DISPATCH]] = 1.0
    for row, sample in enumerate(samples):
        for op in sample.ops:
            for name, amount in charges(op, sample.precision, lanes[sample.precision]):
                terms[row, place[name]] += amount
    return terms


def _prior(profile: Profile, name: str) -> float:
    """The rate before, us: the profile's, or what can be said without one."""
    section, _, key = name.rpartition(".")
    if section == "compute":
        return profile.value(name)
    precision = Precision(section.partition(".")[2])
    rates = profile.rates[precision]
    if section.startswith("work"):
        return rates.work_us[OpKind(key)]
    kernels = rates.kernels
    if key == "window":
        known = kernels.window_us if kernels else 0.0
        return known or _WINDOW_MACS * rates.work_us[OpKind.CONV2D]
    if key in STORES.values():
        kind = next(kind for kind, name in STORES.items() if name == key)
        return (kernels.output_us.get(kind, 0.0) if kernels else 0.0) or _OUTPUT_MACS * rates.work_us[kind]
    code = key.upper()
    return (kernels.code_us.get(code, 0.0) if kernels else 0.0) or rates.work_us[_KIND_OF[code]]


_KIND_OF = {
    **dict.fromkeys(("ADD", "SUB", "MUL"), OpKind.ELEMENTWISE),
    **dict.fromkeys(("RELU", "RELU6", "HARD_SWISH"), OpKind.ACTIVATION),
    **dict.fromkeys(("SOFTMAX", "LOGISTIC", "TANH"), OpKind.SOFTMAX),
    **dict.fromkeys(("MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"), OpKind.POOL),
    **dict.fromkeys(("RESHAPE", "PAD", "CONCATENATION", "TRANSPOSE"), OpKind.DATA_MOVEMENT),
}


def _check(fit: Sequence[Sample], held_out: int) -> None:
    if held_out < LEAST_HELD_OUT:
        raise InputError(
            f"{len(fit) + held_out} runs leave {held_out} to check the fit with, at least {LEAST_HELD_OUT} are needed",
            hint="measure a whole kit: tamiyo profile probes, then tamiyo measure",
        )
    for precision in sorted({sample.precision for sample in fit}):
        for kind in sorted(MAC_KINDS):
            having = sum(any(op.kind is kind for op in s.ops) for s in fit if s.precision is precision)
            if having < _LEAST_OF_CLASS:
                raise InputError(
                    f"{having} runs in {precision} have a {kind} operator, at least {_LEAST_OF_CLASS} are needed",
                    hint="measure a whole kit: tamiyo profile probes, then tamiyo measure",
                )


def _choose_lanes(profile: Profile, fit: Sequence[Sample]) -> Lanes:
    """Vector sizes that explain the runs best, one precision after the other."""
    chosen: dict[Precision, tuple[int, int]] = {}
    for precision in Precision:
        kernels = profile.rates[precision].kernels
        chosen[precision] = (kernels.depth, kernels.width) if kernels else (1, 1)
        own = [sample for sample in fit if sample.precision is precision]
        if not own:
            continue
        measured = np.array([sample.p50_us for sample in own])

        def loss(
            lanes: tuple[int, int],
            precision: Precision = precision,
            own: Sequence[Sample] = own,
            measured: Vector = measured,
        ) -> float:
            by = {precision: lanes}
            names = _names(own, by)
            terms = _terms(own, names, by) * np.array([_prior(profile, name) for name in names])
            return float(np.abs(np.log(terms @ _solve(terms, measured) / measured)).mean())

        depth = min(_VECTORS, key=lambda size: loss((size, 1)))
        width = min(_VECTORS, key=lambda size: loss((depth, size)))
        chosen[precision] = (min(_VECTORS, key=lambda size: loss((size, width))), width)
    return chosen


def _solve(terms: Matrix, measured: Vector) -> Vector:
    return fit_relative(terms, measured, prior_weight=_PRIOR_WEIGHT, floor=_FLOOR)


def _cross_validated(terms: Matrix, measured: Vector, strata: Sequence[Sequence[int]]) -> Vector:
    """|ln(predicted / measured)| of every run, by rates fitted without it; a fold has little of each stratum."""
    fold = np.empty(len(measured), np.int64)
    fold[[index for members in strata for index in members]] = np.arange(len(measured)) % _FOLDS
    residual = np.empty(len(measured))
    for number in range(_FOLDS):
        out = fold == number
        residual[out] = np.abs(np.log(terms[out] @ _solve(terms[~out], measured[~out]) / measured[out]))
    return residual


def _interval(residuals: Vector) -> float:
    """Half-width of an interval that holds 90 % of further residuals, with 90 % confidence: an order statistic."""
    count, below = len(residuals), 0.0
    ordered = np.sort(residuals)
    for rank in range(1, count + 1):
        # chance that fewer than `rank` of `count` residuals lie in an interval that holds 90 % of all
        below += math.comb(count, rank - 1) * _COVERAGE ** (rank - 1) * (1 - _COVERAGE) ** (count - rank + 1)
        if below >= _CONFIDENCE:
            return math.expm1(float(ordered[rank - 1]))
    return math.expm1(float(ordered[-1]))


def _resampled(terms: Matrix, measured: Vector, factors: Vector, seed: int) -> tuple[Vector, Vector]:
    """5th and 95th percentile of the factors over resampled runs, with the factors between them."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(len(measured), size=len(measured))
        drawn.append(_solve(terms[chosen], measured[chosen]))
    low, high = np.percentile(drawn, (5, 95), axis=0)
    return np.minimum(low, factors), np.maximum(high, factors)


def _class_rates(profile: Profile, fit: Sequence[Sample], rates: Mapping[str, Rate]) -> dict[str, Rate]:
    """Rates of classes whose operators were fitted one by one: their mean, weighted by the runs that tell of each.

    It prices operators whose name is not known, as in a network that is still growing.
    """
    found = {}
    for precision in sorted({sample.precision for sample in fit}):
        for kind in sorted(set(_KIND_OF.values())):
            name = f"work.{precision}.{kind}"
            own = [rates.get(f"kernels.{precision}.{code.lower()}") for code in CODES if _KIND_OF[code] is kind]
            known = [rate for rate in own if rate is not None and rate.certain]
            if not known or name in rates:
                continue
            weights = [rate.support for rate in known]
            found[name] = Rate(
                name=name,
                value=math.exp(float(np.average([math.log(rate.value) for rate in known], weights=weights))),
                low=min(rate.low for rate in known),
                high=max(rate.high for rate in known),
                before=_prior(profile, name),
                support=sum(weights),
            )
    return found
