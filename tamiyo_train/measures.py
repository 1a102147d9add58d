"""What a task's networks are held to beside accuracy: figures, bounds and limits, measured on the test set."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tamiyo_train.alignment import pair_drift
from tamiyo_train.corruptions import corruptions
from tamiyo_train.data import Labelled, data_of, labelled
from tamiyo_train.evaluation import score
from tamiyo_train.membership import Area, by_embeddings, by_logits
from tamiyo_train.metrics import Direction
from tamiyo_train.robustness import Denoising, attacked, denoising
from tamiyo_train.run import Run
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.tasks import captions, digits_c
from tamiyo_train.tasks.digits import digits
from tamiyo_train.tasks.language import ENTROPY

AUDITED = 2000
"""Samples that were trained on, and as many that were not, among which a network must not betray the former."""
PROBES = 256
"""Matched pairs that cross-modal drift is measured on: the first of the gate split."""


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
    names = corruptions.names()
    parts = zip(names, test.x.chunk(len(names)), test.y.chunk(len(names)), strict=True)
    splits = {name: Labelled(x=x, y=y) for name, x, y in parts}
    return denoising(network, clean_digits(), splits)


def clean_digits() -> Labelled:
    """The test digits as they are, before any corruption."""
    clean = digits()
    return labelled(clean.test, clean.input)


def _corrupted(network: GrownNetwork, test: Labelled) -> tuple[Measure, ...]:
    found = of_corrupted_digits(network, test)
    unseen = found.accuracy(without=digits_c.TRAINED_ON)
    return (
        _high("mean accuracy over 15 corruptions", found.accuracy(), bound=found.accuracy_low(), limit=0.90),
        _high(f"mean accuracy over the {15 - len(digits_c.TRAINED_ON)} never trained on", unseen),
        _high("denoise: corrupted over clean accuracy", found.score, bound=found.score_low, limit=0.95),
        Measure(name="clean accuracy with the seeds off, minus with them", unit="share", value=found.clean_loss),
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


def worst_pair_drift(network: GrownNetwork) -> float:
    """Cross-modal drift of the seed that moves most on ``captions``, see `alignment.PairDrift`; 0 without a seed."""
    gate = data_of("captions").gate
    probes = Labelled(x=gate.x[:PROBES], y=gate.y[:PROBES])
    slots = [slot for slot, seed in enumerate(network.seeds) if seed is not None]
    return max((pair_drift(network, probes, slot).worst for slot in slots), default=0.0)


def membership(network: GrownNetwork) -> Mapping[str, Area]:
    """What the logits and the embeddings of a network on ``captions`` betray of who was trained on."""
    data, others = data_of("captions"), _never_trained_on()
    members = Labelled(x=data.variants[data.still][:AUDITED], y=data.train_y[:AUDITED])
    return {
        "logits": by_logits(network, members, others),
        "embeddings": by_embeddings(network, members, others),
    }


@functools.cache
def _never_trained_on() -> Labelled:
    return labelled(captions.draw(captions.NEW, AUDITED), captions.INPUT)


def _captions(network: GrownNetwork, test: Labelled) -> tuple[Measure, ...]:
    right = score(network, test).correct.double()
    low = float(right.mean()) - 1.645 * float(right.std()) / len(right) ** 0.5
    seen = score(network, data_of("captions").validation).accuracy
    return (
        _high("recall@1 of 100, combinations never trained on", float(right.mean()), bound=low, limit=0.60),
        _high("recall@1 of 100, combinations trained on", seen),
        Measure(name="cross-modal drift", unit="share", value=worst_pair_drift(network), limit=0.05),
        *(
            Measure(name=f"membership AUC by {what}", unit="share", value=area.value, bound=area.high, limit=0.55)
            for what, area in membership(network).items()
        ),
    )


def _high(name: str, value: float, *, bound: float | None = None, limit: float | None = None) -> Measure:
    return Measure(name=name, unit="share", value=value, bound=bound, limit=limit, better=Direction.HIGHER)


_MEASURES: dict[str, Callable[[GrownNetwork, Labelled], tuple[Measure, ...]]] = {
    "digits": _vision,
    "idx": _vision,
    "mnist-json": _vision,
    "digits-c": _corrupted,
    "language": _language,
    "captions": _captions,
}
