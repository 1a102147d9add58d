"""Accuracy of networks and of their configurations, and the paired gain of a seed. Nothing here changes a network."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from tamiyo_train.data import Labelled, Tensors, task_of_run, tensors
from tamiyo_train.footprint import Footprint
from tamiyo_train.metrics import DEFAULT, metrics
from tamiyo_train.run import ConfigurationRecord, NetworkResult, Run
from tamiyo_train.seed import GrownNetwork, evaluating


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Per-sample outcome on a split: ``correct`` (N,) bool, ``sureness`` (N,) in 0..1, and the mean loss in nats.

    ``sureness`` is the probability given to the right class; its mean is the accuracy of answers drawn from the
    network's own distribution, so it is in the unit of accuracy but moves before an answer flips. A sample with an
    answer at every time step counts once: ``correct`` is then the share that was right, float64, and ``sureness`` the
    geometric mean, so that -ln(sureness) is the sample's loss.
    """

    correct: torch.Tensor
    sureness: torch.Tensor
    loss: float

    @property
    def accuracy(self) -> float:
        """Share of samples that were right."""
        return float(self.correct.double().mean())


def score(network: GrownNetwork, split: Labelled, alphas: Sequence[float] | None = None) -> Scores:
    """Outcome of the network on a split, with other blending factors if given."""
    return _scores(_logits(network, split, alphas), split)


def _logits(network: GrownNetwork, split: Labelled, alphas: Sequence[float] | None) -> torch.Tensor:
    with evaluating(network):
        logits: torch.Tensor = network(split.x, alphas)
    return logits


def _scores(logits: torch.Tensor, split: Labelled) -> Scores:
    loss = float(F.cross_entropy(logits, split.y))
    right = logits.softmax(1).gather(1, split.y[:, None])[:, 0]
    return Scores(correct=by_sample(logits.argmax(1) == split.y), sureness=by_sample(right, log=True), loss=loss)


def by_sample(values: torch.Tensor, *, log: bool = False) -> torch.Tensor:
    """One value a sample: (N,) as it is, (N, T) averaged over time; ``log``: its logarithm is averaged."""
    if values.dim() == 1:
        return values
    steps = values.double().flatten(1)
    return steps.log().mean(1).exp() if log else steps.mean(1)


def _own(logits: torch.Tensor, data: Tensors, split: Labelled) -> float | None:
    """The task's own metric; None when that is accuracy, which is measured anyway, or when it is not finite."""
    if data.metric == DEFAULT:
        return None
    value = metrics.get(data.metric).of(logits.cpu().numpy(), split.y.cpu().numpy())
    return value if math.isfinite(value) else None


def paired_gain(with_seed: Scores, without: Scores, *, confidence: float = 1.645) -> tuple[float, float]:
    """Gain in sureness and its lower bound at ``confidence`` standard errors, from the paired differences."""
    return _paired(with_seed.sureness, without.sureness, confidence)


def paired_accuracy_gain(with_seed: Scores, without: Scores, *, confidence: float = 1.645) -> tuple[float, float]:
    """The same of accuracy itself: what is reported of a seed that stays."""
    return _paired(with_seed.correct, without.correct, confidence)


def _paired(after: torch.Tensor, before: torch.Tensor, confidence: float) -> tuple[float, float]:
    differences = after.double() - before.double()
    mean = float(differences.mean())
    error = float(differences.std(unbiased=True)) / math.sqrt(len(differences))
    return mean, mean - confidence * error


def without(alphas: Sequence[float], slot: int) -> list[float]:
    """Blending factors with one slot switched off."""
    return [0.0 if other == slot else alpha for other, alpha in enumerate(alphas)]


def subsets(slots: int, filled: Sequence[int]) -> list[tuple[bool, ...]]:
    """All gate patterns over the filled slots, the bare host first and the largest configuration last."""
    choices = [(False, True) if slot in filled else (False,) for slot in range(slots)]
    return sorted(itertools.product(*choices), key=lambda gates: (sum(gates), gates))


def configurations(network: GrownNetwork, data: Tensors) -> tuple[ConfigurationRecord, ...]:
    """Accuracy, the task's own metric and size of every subset of the seeds, the bare host first."""
    filled = [slot for slot, seed in enumerate(network.seeds) if seed is not None]
    records = []
    for gates in subsets(network.host.slots, filled):
        alphas = [float(gate) for gate in gates]
        validation, test = (_logits(network, split, alphas) for split in (data.validation, data.test))
        on = [slot for slot, gate in enumerate(gates) if gate]
        cost = Footprint.of(layer for piece in network.graphs(only=on) for layer in piece)
        records.append(
            ConfigurationRecord(
                gates=gates,
                validation_accuracy=_scores(validation, data.validation).accuracy,
                test_accuracy=_scores(test, data.test).accuracy,
                params=cost.params,
                macs=cost.macs,
                validation_metric=_own(validation, data, data.validation),
                test_metric=_own(test, data, data.test),
            )
        )
    return tuple(records)


def network_result(network: GrownNetwork, data: Tensors, training_macs: int, steps: int) -> NetworkResult:
    """Accuracy, the task's own metric and size of a trained network."""
    cost = Footprint.of(layer for piece in network.graphs() for layer in piece)
    validation, test = (_logits(network, split, None) for split in (data.validation, data.test))
    return NetworkResult(
        test_accuracy=_scores(test, data.test).accuracy,
        validation_accuracy=_scores(validation, data.validation).accuracy,
        validation_metric=_own(validation, data, data.validation),
        test_metric=_own(test, data, data.test),
        params=cost.params,
        macs=cost.macs,
        training_macs=training_macs,
        steps=steps,
    )


def evaluate(run: Run) -> tuple[ConfigurationRecord, ...]:
    """Measure every configuration of a run anew."""
    return configurations(run.grown_network(), tensors(task_of_run(run.record)))
