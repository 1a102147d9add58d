"""A reading of a growing network: what it answers, and what each seed does to it.

Every figure is taken on the gate split, with the network as it stands. A seed in TRAINING does not yet touch the
output; its drift and contribution are those it would have if it were switched on fully.

One forward pass serves all seeds: up to its slot, the network with a seed switched over is the network itself, so each
seed adds its rows to the batch where they part ways and they go on together. Evaluation treats samples one by one, so
this gives what separate passes give, but for the last bits of sums.

A reading changes no weight, buffer, mode, gradient, moment or generator, and any thread may take one: it holds the
network's lock, as a training step does, so that it sees the network between two steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from tamiyo_train.evaluation import Scores, by_sample
from tamiyo_train.seed import GrownNetwork, blend, evaluating
from tamiyo_train.trainer import Trainer

PROBES = 64
"""Samples the drift is measured on: the first of the gate split."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """One slot: what a seed does to the tensor that passes, and what the network would lose without it.

    ``functional_drift``: mean Jensen-Shannon divergence of the class probabilities with and without it, bits, 0..1.
    """

    drift: float
    drift_p95: float
    log_norm_ratio: float
    variance: float
    present: Scores
    absent: Scores
    functional_drift: float = 0.0

    @property
    def contribution(self) -> float:
        """Counterfactual: accuracy with minus without the seed, fraction."""
        return self.present.accuracy - self.absent.accuracy

    @property
    def utilisation(self) -> float:
        """Leave-one-out loss increase over the loss."""
        return (self.absent.loss - self.present.loss) / max(self.present.loss, _TINY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The network on the gate split: its outcome as it stands, and one reading for each slot that holds a seed.

    ``gradients``: L2 norm of the last step's gradient by optimiser group, as `Trainer.gradient_norms` gives it.
    """

    scores: Scores
    slots: dict[int, SlotReading]
    gradients: Mapping[str, float] = field(default_factory=dict)

    @property
    def worst_drift(self) -> float:
        """Largest 95th percentile of drift over the slots; 0 without a seed."""
        return max((slot.drift_p95 for slot in self.slots.values()), default=0.0)


def drift_of(before: torch.Tensor, after: torch.Tensor) -> tuple[float, float, float]:
    """Drift between two (N, ...) tensors, sample by sample: mean and 95th percentile of 1 - cosine, log2 norm ratio.

    The cosine is blind to scale, hence the ratio (of the norms over all samples). What is not finite stays so.
    """
    a, b = before.flatten(1).double(), after.flatten(1).double()
    aa, bb = a.square().sum(1), b.square().sum(1)
    norms = (aa * bb).sqrt()
    cosine = torch.where(norms <= _TINY, 1.0, (a * b).sum(1) / norms.clamp_min(_TINY))
    drift = (1 - cosine).clamp(0.0, 2.0)
    ratio = 0.5 * math.log2(max(float(bb.sum()), _TINY) / max(float(aa.sum()), _TINY))
    return float(drift.mean()), _quantile(drift, 0.95), ratio


def _quantile(values: torch.Tensor, share: float) -> float:
    """The quantile of (N,) values with linear interpolation, at a tenth of `torch.quantile`'s overhead."""
    ordered: list[float] = values.sort().values.tolist()
    position = share * (len(ordered) - 1)
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def read(network: GrownNetwork, trainer: Trainer) -> Reading:
    """Measure the network and every seed in it."""
    gate = trainer.data.gate
    with evaluating(network):
        gradients = trainer.gradient_norms()
        logits, parted = _forward(network, gate.x)
        log_p = logits.log_softmax(2)
        right = log_p.gather(2, gate.y.expand(len(log_p), *gate.y.shape)[:, :, None])[:, :, 0]
        correct, losses = log_p.argmax(2) == gate.y, (-right.flatten(1).mean(1)).tolist()
        outcomes = [
            Scores(correct=by_sample(c), sureness=by_sample(s.exp(), log=True), loss=x)
            for c, s, x in zip(correct, right, losses, strict=True)
        ]
        divergences = _divergences(log_p)
        slots: dict[int, SlotReading] = {}
        for row, (slot, part) in enumerate(parted.items(), start=1):
            mean, p95, ratio = drift_of(part.entering[:PROBES], part.leaving[:PROBES])
            slots[slot] = SlotReading(
                drift=mean,
                drift_p95=p95,
                log_norm_ratio=ratio,
                variance=float(part.leaving[:PROBES].double().var(dim=0, unbiased=False).mean()),
                present=outcomes[0] if part.on else outcomes[row],
                absent=outcomes[row] if part.on else outcomes[0],
                functional_drift=divergences[row - 1],
            )
    return Reading(scores=outcomes[0], slots=slots, gradients=gradients)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parting:
    """Where the network and the network with one seed switched over part ways: at that seed's slot.

    ``on``: the seed is on in the network as it stands. ``entering`` and ``leaving``: what passes, without and with it.
    """

    on: bool
    entering: torch.Tensor
    leaving: torch.Tensor


def _forward(network: GrownNetwork, x: torch.Tensor) -> tuple[torch.Tensor, dict[int, _Parting]]:
    """Logits (1 + seeds, N, classes, ...): of the network as it stands, then each seed in slot order switched over."""
    alphas, samples = network.alphas(), len(x)
    parted: dict[int, _Parting] = {}
    rows = network.trunk[0](x)
    for slot in range(network.host.slots):
        seed = network.seeds[slot]
        if seed is not None:
            entering, alpha = rows[:samples], alphas[slot]
            if alpha > 0:
                rows = blend(seed.module, rows, alpha)
                parted[slot] = _Parting(on=True, entering=entering, leaving=rows[:samples])
                rows = torch.cat([rows, entering])
            else:
                parted[slot] = _Parting(on=False, entering=entering, leaving=blend(seed.module, entering, 1.0))
                rows = torch.cat([rows, parted[slot].leaving])
        rows = network.trunk[slot + 1](rows)
    logits = rows.reshape(1 + len(parted), samples, *rows.shape[1:])
    further = []
    for slot in range(network.host.slots, len(network.seeds)):
        if network.seeds[slot] is not None:
            parted[slot], switched = _inner(network, x, slot)
            further.append(switched)
    return torch.cat([logits, torch.stack(further)]) if further else logits, parted


def _inner(network: GrownNetwork, x: torch.Tensor, slot: int) -> tuple[_Parting, torch.Tensor]:
    """The same of a seed inside a seed, which parts ways within its parent: with passes of its own."""
    alphas = list(network.alphas())
    alpha = alphas[slot]
    entering = network.entering(x, alphas, slot)
    leaving = blend(network.seed_at(slot).module, entering, alpha or 1.0)
    alphas[slot] = 0.0 if alpha > 0 else 1.0
    return _Parting(on=alpha > 0, entering=entering, leaving=leaving), network(x, alphas)


def _divergences(log_p: torch.Tensor) -> list[float]:
    """Mean Jensen-Shannon divergence, bits, between each further row of (1 + V, N, classes, ...) and the first."""
    if len(log_p) == 1:
        return []
    first, others = log_p[:1], log_p[1:]
    middle = torch.logaddexp(first, others) - math.log(2)
    both = F.kl_div(middle, first.expand_as(others), reduction="none", log_target=True)
    both = both + F.kl_div(middle, others, reduction="none", log_target=True)
    nats: list[float] = (0.5 * both.sum(2).flatten(1).mean(1)).clamp(0.0, math.log(2)).tolist()
    return [value / math.log(2) for value in nats]
