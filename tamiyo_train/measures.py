"""What a task's networks are held to beside accuracy: figures, bounds and limits, measured on the test set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tamiyo_train.corruptions import corruptions
from tamiyo_train.data import Labelled, data_of, labelled
from tamiyo_train.evaluation import score
from tamiyo_train.metrics import Direction
from tamiyo_train.robustness import Denoising, attacked, denoising
from tamiyo_train.run import Run
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.tasks import digits_c
from tamiyo_train.tasks.digits import digits
from tamiyo_train.tasks.language import ENTROPY


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A figure, its one-sided 95 % bound on the bad side (None where it has no error), and its limit, if it has one.

    ``unit``: "share" (0..1) or "bits".
    """

    name: str
    unit: str
    value: float
    bound: float | None = None
    limit: float | None = None
    better: Direction = Direction.LOWER

    @property
    def held(self) -> bool | None:
        """Whether the bound, or the value where there is none, is within the limit; None without a limit."""
        if self.limit is None:
            return None
        worst = self.value if self.bound is None else self.bound
        return worst <= self.limit if self.better is Direction.LOWER else worst >= self.limit


def measures_of(run: Run) -> tuple[Measure, ...]:
    """The measures of a run's task; none for a task that has no others than its metric."""
    record = run.record
    measure = _MEASURES.get(record.task)
    if measure is None:
        return ()
    return measure(run.grown_network(), data_of(record.task, record.config.get("data")).test)


def _vision(network: GrownNetwork, test: Labelled) -> tuple[Measure, ...]:
    attack = attacked(network, test)
    name = "right answers lost to FGSM, epsilon 0.03"
    return (Measure(name=name, unit="share", value=attack.drop, bound=attack.drop_high, limit=0.05),)


def of_corrupted_digits(network: GrownNetwork, test: Labelled) -> Denoising:
    """How a network grown on ``digits-c`` takes corruptions; ``test``: that task's test set, one after the other."""
    clean, names = digits(), corruptions.names()
    parts = zip(names, test.x.chunk(len(names)), test.y.chunk(len(names)), strict=True)
    splits = {name: Labelled(x=x, y=y) for name, x, y in parts}
    return denoising(network, labelled(clean.test, clean.input), splits)


def _corrupted(network: GrownNetwork, test: Labelled) -> tuple[Measure, ...]:
    found = of_corrupted_digits(network, test)
    unseen = found.accuracy(without=digits_c.TRAINED_ON)
    return (
        _high("mean accuracy over 15 corruptions", found.accuracy(), bound=found.accuracy_low(), limit=0.90),
        _high(f"mean accuracy over the {15 - len(digits_c.TRAINED_ON)} never trained on", unseen),
        _high("denoise: corrupted over clean accuracy", found.score, bound=found.score_low, limit=0.95),
        Measure(name="clean accuracy that the seeds cost", unit="share", value=found.clean_loss, limit=0.01),
        *(
            _high(f"{name}{', trained on' if name in digits_c.TRAINED_ON else ''}", float(right.mean()))
            for name, right in found.corrupted.items()
        ),
    )


def _language(network: GrownNetwork, test: Labelled) -> tuple[Measure, ...]:
    scores = score(network, test)
    bits = -scores.sureness.log2()  # a text's mean over its letters
    mean = float(bits.mean())
    high = mean + 1.645 * float(bits.std()) / len(bits) ** 0.5
    return (
        Measure(name="bits a letter", unit="bits", value=mean, bound=high, limit=1.0),
        Measure(
            name="bits a letter above the entropy of the language",
            unit="bits",
            value=mean - ENTROPY,
            bound=high - ENTROPY,
            limit=0.15,
        ),
        Measure(name="entropy of the language, bits a letter", unit="bits", value=ENTROPY),
    )


def _high(name: str, value: float, *, bound: float | None = None, limit: float | None = None) -> Measure:
    return Measure(name=name, unit="share", value=value, bound=bound, limit=limit, better=Direction.HIGHER)


_MEASURES: dict[str, Callable[[GrownNetwork, Labelled], tuple[Measure, ...]]] = {
    "digits": _vision,
    "idx": _vision,
    "digits-c": _corrupted,
    "language": _language,
}
