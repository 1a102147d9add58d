"""`telemetry.read` for all lanes at once: what every network answers on its gate split, and what each seed does to it.

The same figures by the same formulas, as tensors. A slot that holds no seed has figures too, which mean nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tamiyo_train.population.engine import Engine
from tamiyo_train.population.passes import Tape, forward
from tamiyo_train.telemetry.reading import PROBES

Tensor = torch.Tensor
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Outcome of N networks on n samples: ``sureness`` and ``correct`` (N, n), ``loss`` and ``accuracy`` (N,)."""

    sureness: Tensor
    correct: Tensor
    loss: Tensor

    @property
    def accuracy(self) -> Tensor:
        """Share of samples that were right."""
        return self.correct.double().mean(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensed:
    """N networks as they stand, (N,), and their S slots, (N, S), float64: see `telemetry.reading`.

    ``gain`` and ``gain_low``: paired gain in sureness of each seed, and its lower bound; ``rollback_need``: see
    `telemetry.safety`; ``host_gradient`` and ``gradient``: norms of the last step, as applied, 0 where there was none.
    """

    loss: Tensor
    accuracy: Tensor
    sureness: Tensor
    drift: Tensor
    drift_p95: Tensor
    log_norm_ratio: Tensor
    variance: Tensor
    functional_drift: Tensor
    present_loss: Tensor
    absent_loss: Tensor
    contribution: Tensor
    gain: Tensor
    gain_low: Tensor
    rollback_need: Tensor
    host_gradient: Tensor
    gradient: Tensor


def answered(engine: Engine, x: Tensor, y: Tensor, alphas: Tensor, family: Tensor) -> tuple[Outcome, Tensor, Tape]:
    """Outcome, log-probabilities (N, C, n) and tape of inputs x (N, D, n), labels y (N, n), with alphas (N, S)."""
    families = torch.arange(len(engine.layout.families), device=family.device)[:, None, None]
    factors = (alphas * (family == families)).to(x.dtype)[..., None, None]
    logits, tape = forward(engine.layout, engine.net, x, factors, tuple(range(engine.layout.slots)))
    log_p = logits.log_softmax(1)
    right = log_p.gather(1, y[:, None])[:, 0]
    return (
        Outcome(sureness=right.exp(), correct=log_p.argmax(1) == y, loss=-right.mean(1).double()),
        log_p,
        tape,
    )


def sense(engine: Engine, x: Tensor, y: Tensor, *, alphas: Tensor, family: Tensor, confidence: float) -> Sensed:
    """Measure every network and every seed in it; changes nothing."""
    base, log_p, tape = answered(engine, x, y, alphas, family)
    columns: dict[str, list[Tensor]] = {}
    for slot in range(engine.layout.slots):
        on = alphas[:, slot] > 0
        switched = alphas.clone()
        switched[:, slot] = torch.where(on, 0.0, 1.0)
        other, other_p, other_tape = answered(engine, x, y, switched, family)
        passing = [
            torch.where(on[:, None, None], here, there)
            for here, there in zip(_passing(tape, x, slot), _passing(other_tape, x, slot), strict=True)
        ]
        present, absent = _either(on, base, other), _either(on, other, base)
        found = {
            **_drift(*passing),
            "functional_drift": _divergence(log_p, other_p),
            "present_loss": present.loss,
            "absent_loss": absent.loss,
            "contribution": present.accuracy - absent.accuracy,
            **_paired(present.sureness.double() - absent.sureness.double(), confidence),
        }
        for name, column in found.items():
            columns.setdefault(name, []).append(column)
    return Sensed(
        loss=base.loss,
        accuracy=base.accuracy,
        sureness=base.sureness.double().mean(1),
        host_gradient=engine.hosts.grads.sum(-1).sqrt().double(),  # the optimiser leaves squares there
        gradient=engine.seeds.grads.sum(-1).sqrt().double(),
        **{name: torch.stack(parts, 1) for name, parts in columns.items()},
    )


def _either(first: Tensor, a: Outcome, b: Outcome) -> Outcome:
    return Outcome(
        sureness=torch.where(first[:, None], a.sureness, b.sureness),
        correct=torch.where(first[:, None], a.correct, b.correct),
        loss=torch.where(first, a.loss, b.loss),
    )


def _passing(tape: Tape, x: Tensor, slot: int) -> tuple[Tensor, Tensor]:
    """What enters and what leaves a slot, carried features and all: (N, features, probes)."""
    carried = x[:, x.shape[1] - tape.layout.carried :, :PROBES] if tape.layout.carried else x[:, :0, :PROBES]
    return (
        torch.cat([tape.units[slot][..., :PROBES], carried], 1),
        torch.cat([tape.inputs[slot + 1][..., :PROBES], carried], 1),
    )


def _drift(before: Tensor, after: Tensor) -> dict[str, Tensor]:
    """`telemetry.drift_of` and the variance, of (N, features, probes)."""
    a, b = before.double(), after.double()
    aa, bb = a.square().sum(1), b.square().sum(1)
    norms = (aa * bb).sqrt()
    cosine = torch.where(norms <= _TINY, 1.0, (a * b).sum(1) / norms.clamp_min(_TINY))
    drift = (1 - cosine).clamp(0.0, 2.0)
    ratio = (bb.sum(1).clamp_min(_TINY) / aa.sum(1).clamp_min(_TINY)).log2() / 2
    return {
        "drift": drift.mean(1),
        "drift_p95": _quantile(drift, 0.95),
        "log_norm_ratio": ratio,
        "variance": b.var(2, unbiased=False).mean(1),
    }


def _quantile(values: Tensor, share: float) -> Tensor:
    ordered = values.sort(1).values
    position = share * (values.shape[1] - 1)
    low = math.floor(position)
    high = min(low + 1, values.shape[1] - 1)
    return ordered[:, low] + (position - low) * (ordered[:, high] - ordered[:, low])


def _divergence(first: Tensor, other: Tensor) -> Tensor:
    """Mean Jensen-Shannon divergence of log-probabilities (N, C, n), bits, (N,)."""
    middle = torch.logaddexp(first, other) - math.log(2)
    both = first.exp() * (first - middle) + other.exp() * (other - middle)
    return (0.5 * both.sum(1).mean(1)).clamp(0.0, math.log(2)).double() / math.log(2)


def _paired(differences: Tensor, confidence: float) -> dict[str, Tensor]:
    """Gain, its lower bound, and the confidence that the network is worse off, of differences (N, n)."""
    mean = differences.mean(1)
    error = differences.std(1) / math.sqrt(differences.shape[1])
    surely = torch.where(error > 0, torch.erf(-mean / error.clamp_min(1e-300) / math.sqrt(2)), 1.0)
    need = torch.where(mean >= 0, 0.0, surely)
    return {
        "gain": mean,
        "gain_low": mean - confidence * error,
        "rollback_need": torch.where(mean.isfinite(), need, 1.0),
    }
