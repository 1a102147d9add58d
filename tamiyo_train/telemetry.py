"""What the policy is told while a network grows. Reading changes nothing: no weight, buffer, mode or generator.

Every figure is taken on the gate split, with the network as it stands. A seed in TRAINING does not yet touch the
output; its drift and contribution are those it would have if it were switched on fully.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from tamiyo_train.evaluation import Scores, score, without
from tamiyo_train.footprint import Footprint
from tamiyo_train.lifecycle import LIVE, State
from tamiyo_train.pricing import GrowthBudget, Priced
from tamiyo_train.seed import GrownNetwork, blend, evaluating
from tamiyo_train.trainer import HOST, Trainer

PROBES = 64
"""Samples the drift is measured on: the first of the gate split."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The learning curve so far: mean loss and accuracy on the training batches of each window, oldest first."""

    losses: tuple[float, ...] = ()
    accuracies: tuple[float, ...] = ()

    def features(self, accuracy: float) -> dict[str, float]:
        """Level, slope, curvature and gap to the validation accuracy; what has no window yet is left out."""
        features: dict[str, float] = {}
        if self.losses:
            features["loss_level"] = self.losses[-1]
            features["generalisation_gap"] = self.accuracies[-1] - accuracy
        if len(self.losses) > 1:
            features["loss_slope"] = self.losses[-1] - self.losses[-2]
        if len(self.losses) > 2:
            features["loss_curvature"] = self.losses[-1] - 2 * self.losses[-2] + self.losses[-3]
        return features


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotReading:
    """One slot: what a seed does to the tensor that passes, and what the network would lose without it."""

    drift: float
    drift_p95: float
    log_norm_ratio: float
    variance: float
    present: Scores
    absent: Scores

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
    """The network on the gate split: its outcome as it stands, and one reading for each slot that holds a seed."""

    scores: Scores
    slots: dict[int, SlotReading]

    @property
    def worst_drift(self) -> float:
        """Largest 95th percentile of drift over the slots; 0 without a seed."""
        return max((slot.drift_p95 for slot in self.slots.values()), default=0.0)


def drift_of(before: torch.Tensor, after: torch.Tensor) -> tuple[float, float, float]:
    """Drift between two (N, ...) tensors, sample by sample: mean and 95th percentile of 1 - cosine, log2 norm ratio.

    The cosine is blind to scale, hence the ratio (of the norms over all samples).
    """
    a, b = before.flatten(1).double(), after.flatten(1).double()
    norms = a.norm(dim=1) * b.norm(dim=1)
    cosine = torch.where(norms > _TINY, (a * b).sum(1) / norms.clamp_min(_TINY), torch.ones_like(norms))
    drift = (1 - cosine).clamp(0.0, 2.0)
    ratio = math.log2(max(float(b.norm()), _TINY) / max(float(a.norm()), _TINY))
    return float(drift.mean()), float(torch.quantile(drift, 0.95)), ratio


def read(network: GrownNetwork, trainer: Trainer) -> Reading:
    """Measure the network and every seed in it."""
    gate = trainer.data.gate
    alphas = network.alphas()
    scores = score(network, gate)
    slots: dict[int, SlotReading] = {}
    for slot, seed in enumerate(network.seeds):
        if seed is None:
            continue
        effective = seed.alpha if seed.alpha > 0 else 1.0
        with evaluating(network):
            entering = network.between(network.trunk[0](gate.x[:PROBES]), alphas, stop=slot)
            leaving = blend(seed.module, entering, effective)
        mean, p95, ratio = drift_of(entering, leaving)
        raised = [effective if other == slot else alpha for other, alpha in enumerate(alphas)]
        slots[slot] = SlotReading(
            drift=mean,
            drift_p95=p95,
            log_norm_ratio=ratio,
            variance=float(leaving.double().var(dim=0, unbiased=False).mean()),
            present=scores if seed.alpha > 0 else score(network, gate, raised),
            absent=score(network, gate, without(alphas, slot)) if seed.alpha > 0 else scores,
        )
    return Reading(scores=scores, slots=slots)


def global_features(
    reading: Reading, curve: Curve, cost: Priced, budget: GrowthBudget, *, steps_left: float
) -> dict[str, float]:
    """Global features of a growing network; the profile's features are added by the caller."""

    def left(used: float | None, limit: float | None) -> float:
        return 1.0 if used is None or limit is None else 1.0 - used / limit

    return {
        **curve.features(reading.scores.accuracy),
        "accuracy": reading.scores.accuracy,
        "params_left": left(cost.params, budget.params),
        "macs_left": left(cost.macs, budget.macs),
        "latency_left": left(cost.latency_ms, budget.latency_ms),
        "energy_left": left(cost.energy_uj, budget.energy_uj),
        "steps_left": steps_left,
    }


_FLAGS: dict[State, str] = {
    State.DORMANT: "is_free",
    State.GERMINATED: "is_training",
    State.TRAINING: "is_training",
    State.BLENDING: "is_blending",
    State.SHADOWING: "is_probation",
    State.PROBATIONARY: "is_probation",
    State.FOSSILISED: "is_fossilised",
    State.CULLED: "is_embargoed",
    State.EMBARGOED: "is_embargoed",
}


def slot_features(trainer: Trainer, reading: Reading, slot: int, *, latency: float | None) -> dict[str, float]:
    """Features of one slot. ``latency``: the seed's latency over the deadline, None when it is not known."""
    network = trainer.network
    state = network.lives[slot].state
    features = {_FLAGS[state]: 1.0, "depth": slot / max(1, network.host.slots - 1)}
    seed = network.seeds[slot]
    if seed is None:
        return features
    seen = reading.slots[slot]
    host = network.host.footprint()
    own = Footprint.of(seed.blueprint.layers(network.host.places[slot]))
    features |= {
        "alpha": seed.alpha,
        "age": (trainer.step_index - seed.born_step) / trainer.config.steps,
        "drift": seen.drift,
        "log_norm_ratio": seen.log_norm_ratio,
        "activation_variance": seen.variance,
        "contribution": seen.contribution,
        "utilisation": seen.utilisation,
        "relative_params": own.params / host.params,
        "relative_macs": own.macs / host.macs,
    }
    gradient, host_gradient = trainer.seed_gradient_norm(slot), trainer.gradient_norms().get(HOST)
    if gradient is not None and host_gradient is not None:
        features["log_gradient_ratio"] = math.log(max(gradient, _TINY) / max(host_gradient, _TINY))
    if latency is not None:
        features["relative_latency"] = latency
    return features


def finite_gradients(trainer: Trainer, slot: int) -> bool:
    """Whether the slot's seed had a gradient in the last step and all of it was finite."""
    norm = trainer.seed_gradient_norm(slot)
    return norm is not None and math.isfinite(norm)


def is_live(state: State) -> bool:
    """Whether a seed in that state can still be culled."""
    return state in LIVE
