"""Monitors of input and certainty: false alarms where all is well, how soon faults are noticed, and what it costs.

All streams are simulated: samples of real scans are drawn at random, with replacement, and disturbed as
`simulators.faults.sensor` says. Without ``--bundle`` a perceptron and a logistic regression stand in for a bundle's
network, with and without its seeds, on three disjoint parts of scikit-learn's digits: for training, for the reference,
and held out. A bundle has only its test set, so there the streams come from the reference's own samples.

Peers see the same confidences: CUSUM, set to the same mean time to a false alarm by the textbook formula for normal
figures (D. Siegmund 1985), and river's ADWIN and Page-Hinkley as they come (extra ``bench``; left out when missing).

    python benchmarks/bench_monitors.py [--bundle FILE] [--inferences N] [--runs N] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from simulators.faults.sensor import FAULTS
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.monitors import Monitors, MonitorSettings
from tamiyo_runtime.reference import confidence_of, reference_of

FALSE_ALARM = 1_000_000
TIGHT = 1_000  # a setting at which false alarms can be counted
BEFORE, AFTER = 300, 3000  # inferences of a run before a fault sets in, and after
SEED = 1797
Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answered:
    """Samples (N, *shape), the confidence of the answer to each (N,), and which answers are right (N,)."""

    samples: Samples
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that is monitored: ``clean`` streams by name, the last being the one that faults are put on."""

    label: str
    spec: InputSpec
    option: int
    answer: Callable[[Samples, NDArray[np.int64]], Answered]
    monitors: Callable[[MonitorSettings], Monitors]
    clean: Mapping[str, Answered]
    labels: NDArray[np.int64]


def stand_in() -> Field:
    """Digits, and two models of scikit-learn for two configurations."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    bunch = load_digits()
    x, y = bunch.images[:, None].astype(np.float32), bunch.target.astype(np.int64)
    spec = InputSpec(shape=(1, 8, 8), layout="CHW", offset=0.0, scale=1 / 16, raw_low=0.0, raw_high=16.0)
    order = np.random.default_rng(SEED).permutation(len(x))
    taught, kept, held = np.split(order, [len(x) * 3 // 5, len(x) * 4 // 5])

    def flat(samples: Samples) -> Samples:
        return np.nan_to_num(samples).reshape(len(samples), -1) * np.float32(spec.scale)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged: it need not
        models = (
            LogisticRegression(max_iter=200).fit(flat(x[taught]), y[taught]),
            MLPClassifier((64,), max_iter=60, random_state=0).fit(flat(x[taught]), y[taught]),
        )

    def logits(model: Any, samples: Samples) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.log(np.maximum(model.predict_proba(flat(samples)).astype(np.float64), 1e-300))
        return found

    def answer(samples: Samples, labels: NDArray[np.int64]) -> Answered:
        found = logits(models[1], samples)
        return Answered(samples, confidence_of(found), found.argmax(axis=1) == labels)

    answers = {f"c{index}": logits(model, x[kept]) for index, model in enumerate(models)}
    reference = reference_of(x[kept], {"stand-in": answers}, source="digits, the reference's part")
    least = list(reference.confidence["stand-in"].values())
    return Field(
        label="scikit-learn's digits, a perceptron standing in for a bundle",
        spec=spec,
        option=1,
        answer=answer,
        monitors=lambda settings: Monitors(reference, spec, least_confidence=least, settings=settings),
        clean={"the reference's own samples": answer(x[kept], y[kept]), "held-out samples": answer(x[held], y[held])},
        labels=y[held],
    )


def of_bundle(path: Path) -> Field:
    """A bundle's best configuration by the runtime's executor, on the test set in it."""
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.executor import Executor
    from tamiyo_runtime.sources.bundled import BundleSource

    bundle = Bundle.open(path)
    executor, manifest = Executor(bundle), bundle.manifest
    option = max(range(len(executor.runnables)), key=lambda index: executor.runnables[index].accuracy or 0.0)
    given = list(BundleSource.open(bundle, _nothing()))
    x = np.stack([np.asarray(sample.value, np.float32) for sample in given])
    y = np.array([sample.label for sample in given], np.int64)

    def answer(samples: Samples, labels: NDArray[np.int64]) -> Answered:
        found = [executor.classify(sample, option) for sample in np.nan_to_num(samples)]
        right = np.array([index for index, _ in found]) == labels
        return Answered(samples, np.array([confidence for _, confidence in found]), right)

    def monitors(settings: MonitorSettings) -> Monitors:
        made = Monitors.of(manifest, executor.variant, settings)
        if made is None:
            raise SystemExit(f"{path.name} holds no reference: export it again")
        return made

    return Field(
        label=f"{manifest.name}, {executor.variant.id}/{executor.runnables[option].configuration}",
        spec=manifest.input,
        option=option,
        answer=answer,
        monitors=monitors,
        clean={"the reference's own samples": answer(x, y)},
        labels=y,
    )


def _nothing() -> Any:
    from tamiyo_runtime.sources.address import Address

    return Address.parse("bundle", ["bundle"])


class Watcher(Protocol):
    """A detector under test."""

    def sees(self, sample: Samples, confidence: float) -> bool:
        """Take in an inference; whether that is an alarm."""


class Ours:
    """All watches of `Monitors`."""

    def __init__(self, field: Field, *, false_alarm: float = FALSE_ALARM) -> None:
        self._monitors, self._option = field.monitors(MonitorSettings(false_alarm=false_alarm)), field.option

    def sees(self, sample: Samples, confidence: float) -> bool:
        return self._monitors.observe(sample, self._option, confidence) is not None


class Cusum:
    """One-sided CUSUM of the confidence, in deviations of the reference's, for a fall by one deviation."""

    def __init__(self, reference: NDArray[np.float64]) -> None:
        self._mean, self._deviation = float(reference.mean()), float(reference.std())
        self._limit, self._sum = _limit_of(FALSE_ALARM), 0.0

    def sees(self, sample: Samples, confidence: float) -> bool:
        self._sum = max(0.0, self._sum + (self._mean - confidence) / self._deviation - 0.5)
        return self._sum >= self._limit


def _limit_of(mean_steps: float) -> float:
    """Siegmund's approximation for normal figures, solved by bisection."""
    low, high = 0.0, 50.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        b = middle + 1.166
        low, high = (middle, high) if 2 * (math.exp(b) - b - 1) < mean_steps else (low, middle)
    return high


class OfRiver:
    """A drift detector of river."""

    def __init__(self, name: str) -> None:
        from river import drift

        self._detector = getattr(drift, name)()

    def sees(self, sample: Samples, confidence: float) -> bool:
        self._detector.update(confidence)
        return bool(self._detector.drift_detected)


def watchers(field: Field) -> dict[str, Callable[[], Watcher]]:
    """What is compared: how to make a fresh one of each."""
    own = next(iter(field.clean.values())).confidence
    made: dict[str, Callable[[], Watcher]] = {"tamiyo": lambda: Ours(field), "CUSUM": lambda: Cusum(own)}
    try:
        import river.drift  # noqa: F401  asks only whether it is there
    except ImportError:
        print("river is not installed: ADWIN and Page-Hinkley are left out", file=sys.stderr)
    else:
        made |= {"ADWIN (river)": lambda: OfRiver("ADWIN"), "Page-Hinkley (river)": lambda: OfRiver("PageHinkley")}
    return made


def drawn(answered: Answered, count: int, *, seed: int) -> Iterator[tuple[Samples, float]]:
    """A simulated stream: samples drawn at random, with replacement."""
    confidences = answered.confidence.tolist()
    for index in np.random.default_rng(seed).integers(0, len(confidences), count).tolist():
        yield answered.samples[index], confidences[index]


def false_alarms(make: Callable[[], Watcher], stream: Answered, count: int) -> int:
    """Alarms on a clean stream; after each one the detector begins anew."""
    watcher, alarms = make(), 0
    for sample, confidence in drawn(stream, count, seed=SEED):
        if watcher.sees(sample, confidence):
            watcher, alarms = make(), alarms + 1
    return alarms


def delays(make: Callable[[], Watcher], clean: Answered, faulty: Answered, runs: int) -> dict[str, Any]:
    """Inferences from a fault to the alarm; the detector has run on clean samples before."""
    found = []
    for run in range(runs):
        watcher = make()
        for sample, confidence in drawn(clean, BEFORE, seed=2 * run):
            if watcher.sees(sample, confidence):
                watcher = make()
        steps = (n for n, step in enumerate(drawn(faulty, AFTER, seed=2 * run + 1), 1) if watcher.sees(*step))
        if (first := next(steps, None)) is not None:
            found.append(first)
    middle, late = (float(np.quantile(found, q)) if found else None for q in (0.5, 0.95))
    return {"noticed": len(found) / runs, "median": middle, "p95": late}


def cost(field: Field, rounds: int = 7, count: int = 5000) -> dict[str, Any]:
    """Microseconds of processor time an inference: all of `Monitors.observe`, and the numpy reductions in it alone."""
    monitors, sample = field.monitors(MonitorSettings()), list(field.clean.values())[-1].samples[0]
    centred = np.empty(field.spec.shape, np.float32)
    flat, zero = centred.reshape(-1), np.float32(0)

    def reductions() -> None:
        np.subtract(sample, zero, out=centred)
        np.minimum.reduce(flat)
        np.maximum.reduce(flat)
        np.add.reduce(flat)
        np.dot(flat, flat)

    def timed(work: Callable[[], object]) -> list[float]:
        results = []
        for _ in range(rounds):
            started = time.process_time()  # others on this machine do not count
            for _ in range(count):
                work()
            results.append((time.process_time() - started) / count * 1e6)
        return results

    return {
        "observe_us": spread(timed(lambda: monitors.observe(sample, field.option, 1.0))),
        "reductions_us": spread(timed(reductions)),
    }


def measure(field: Field, count: int, runs: int) -> dict[str, Any]:
    """All figures."""
    made = watchers(field)
    clean = {
        name: {who: false_alarms(make, stream, count) * 1e6 / count for who, make in made.items()}
        for name, stream in field.clean.items()
    }
    tight = false_alarms(lambda: Ours(field, false_alarm=TIGHT), next(iter(field.clean.values())), count // 10)
    source = list(field.clean.values())[-1]
    faults: dict[str, Any] = {}
    for name, fault in FAULTS.items():
        print(f"fault: {name} ...", file=sys.stderr, flush=True)
        random = np.random.default_rng(SEED)
        faulty = field.answer(np.stack([fault(x, field.spec, random) for x in source.samples]), field.labels)
        faults[name] = {
            "accuracy": float(faulty.right.mean()),
            "delays": {who: delays(make, source, faulty, runs) for who, make in made.items()},
        }
    monitors = field.monitors(MonitorSettings())
    return {
        "field": field.label,
        "streams": "simulated: samples drawn with replacement",
        "inferences": count,
        "rates": {watch.value: rate for watch, rate in monitors.rates.items()},
        "false_alarms_per_million": clean,
        "tight": {"stated": TIGHT, "inferences": count // 10, "alarms": tight},
        "accuracy": float(source.right.mean()),
        "faults": faults,
        "cost": cost(field),
    }


def show(figures: dict[str, Any]) -> None:
    """Tables for a reader."""
    print(f"{figures['field']}; streams are {figures['streams']}")
    print("bounds on the rate of events: " + ", ".join(f"{k} {v:.1%}" for k, v in figures["rates"].items()))
    names = list(next(iter(figures["false_alarms_per_million"].values())))
    print(f"\n{'false alarms a million inferences':36}" + "".join(f"{name:>22}" for name in names))
    for stream, counts in figures["false_alarms_per_million"].items():
        print(f"{stream:36}" + "".join(f"{counts[name]:22.0f}" for name in names))
    tight = figures["tight"]
    print(f"set to one in {tight['stated']} or rarer: {tight['alarms']} alarms in {tight['inferences']} inferences")
    print(f"\n{'inferences to the alarm: median (p95)':38}{'accuracy':>9}" + "".join(f"{name:>22}" for name in names))
    print(f"{'no fault':38}{figures['accuracy']:9.1%}")
    for fault, row in figures["faults"].items():
        cells = "".join(f"{_delay(row['delays'][name]):>22}" for name in names)
        print(f"{fault:38}{row['accuracy']:9.1%}{cells}")
    observe, alone = (figures["cost"][name]["median"] for name in ("observe_us", "reductions_us"))
    print(f"\none inference watched: {observe:.1f} us, of which {alone:.1f} us are numpy's reductions")


def _delay(found: dict[str, Any]) -> str:
    if not found["noticed"]:
        return "-"
    share = "" if found["noticed"] == 1 else f", {found['noticed']:.0%} seen"
    return f"{found['median']:.0f} ({found['p95']:.0f}){share}"


def main() -> None:
    """Measure, print, record; exit 3 when false alarms are more frequent than stated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--inferences", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.inferences < 10 * TIGHT or arguments.runs < 1:
        parser.error(f"--inferences: at least {10 * TIGHT}; --runs: at least 1")
    field = stand_in() if arguments.bundle is None else of_bundle(arguments.bundle)
    figures = measure(field, arguments.inferences, arguments.runs)
    path = append("monitors", figures, ["numpy", "scikit-learn", "river"])
    if arguments.json:
        print(json.dumps(figures))
    else:
        show(figures)
        print(f"written to {path}")
    stated = figures["inferences"] / 10 / TIGHT
    sys.exit(3 if figures["tight"]["alarms"] > stated + 3 * math.sqrt(stated) else 0)


if __name__ == "__main__":
    main()
