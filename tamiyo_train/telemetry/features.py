"""Features of a growing network, by name, from a reading of it; `contracts.features` defines each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.observation import observe, unspent
from tamiyo_train.blueprints.nested import MAX_DEPTH
from tamiyo_train.footprint import Footprint
from tamiyo_train.lifecycle import State
from tamiyo_train.pricing import GrowthBudget, Priced, Pricer
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.telemetry.curve import Curve
from tamiyo_train.telemetry.reading import Reading, SlotReading
from tamiyo_train.telemetry.safety import alert, drift_risk, rollback_need
from tamiyo_train.trainer import HOST, Trainer

_TINY = 1e-12
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


def global_features(
    reading: Reading, curve: Curve, cost: Priced, budget: GrowthBudget, *, steps_left: float
) -> dict[str, float]:
    """Global features of a growing network; the profile's features are added by the caller."""

    def left(used: float | None, limit: float | None) -> float:
        return 1.0 if used is None or limit is None else 1.0 - used / limit

    return _known(
        {
            **curve.features(reading.scores.accuracy),
            "accuracy": reading.scores.accuracy,
            "params_left": left(cost.params, budget.params),
            "macs_left": left(cost.macs, budget.macs),
            "latency_left": left(cost.latency_ms, budget.latency_ms),
            "energy_left": left(cost.energy_uj, budget.energy_uj),
            "steps_left": steps_left,
        }
    )


def slot_features(
    trainer: Trainer, reading: Reading, slot: int, *, latency: float | None = None, left: float = 1.0
) -> dict[str, float]:
    """Features of one slot.

    ``latency``: the seed's latency over the deadline, None when it is not known; ``left``: see `budget_left`. What was
    measured and is not finite is left out and raises the slot's alert; a number that belongs to no slot has no feature.
    """
    network = trainer.network
    place, seed = network.place(slot), network.seeds[slot]
    if place is None:
        return {}
    ancestors = network.ancestors(slot)
    features = {
        _FLAGS[network.lives[slot].state]: 1.0,
        "budget_left": left,
        "depth": (slot, *ancestors)[-1] / max(1, network.host.slots - 1),
        "nesting": len(ancestors) / MAX_DEPTH,
    }
    if seed is None:
        return features
    host = network.host.footprint()
    own = Footprint.of(seed.blueprint.layers(place))
    features |= {
        "alpha": seed.alpha,
        "age": (trainer.step_index - seed.born_step) / trainer.config.steps,
        "relative_params": own.params / host.params,
        "relative_macs": own.macs / host.macs,
    }
    if latency is not None:
        features["relative_latency"] = latency
    if slot in reading.slots:  # planted since the reading was taken: nothing is measured yet
        seen, limits = reading.slots[slot], trainer.config.limits
        measured = _measured(seen, reading.gradients.get(f"seed_{slot}"), reading.gradients.get(HOST))
        features |= _known(measured) | {
            "drift_risk": drift_risk(limits, drift_p95=seen.drift_p95, log_norm_ratio=seen.log_norm_ratio),
            "rollback_need": rollback_need(seen.present.sureness, seen.absent.sureness),
            "alert": alert(measured),
        }
    return features


def budget_left(budget: GrowthBudget, *, cost: Priced, without: Priced) -> float:
    """Of what all else leaves of the budget, the share still unspent: of the tightest limit. 0..1.

    ``cost``: of the network; ``without``: of the network without the slot's seed, the same where it has none. A limit
    that is not set, and a cost that nobody knows, bind nothing.
    """
    spent = (
        (budget.params, without.params, cost.params),
        (budget.macs, without.macs, cost.macs),
        (budget.latency_ms, without.latency_ms, cost.latency_ms),
        (budget.energy_uj, without.energy_uj, cost.energy_uj),
        (budget.memory_bytes, without.memory_bytes, cost.memory_bytes),
    )
    return min(
        unspent(limit, without=rest, with_seed=whole)
        for limit, rest, whole in spent
        if limit is not None and rest is not None and whole is not None
    )


def vector(
    trainer: Trainer, reading: Reading, curve: Curve, *, pricer: Pricer, budget: GrowthBudget, steps_left: float
) -> NDArray[np.float32]:
    """The observation vector of a growing network: (observation_size(slots),) float32. Changes nothing."""
    network = trainer.network
    with network.lock:
        cost = pricer.price(network.graphs())
        features = global_features(reading, curve, cost, budget, steps_left=steps_left)
        slots = [
            slot_features(
                trainer,
                reading,
                slot,
                latency=_relative_latency(network, slot, pricer, budget),
                left=_left(network, slot, cost, pricer, budget),
            )
            for slot in range(len(network.seeds))
        ]
    return np.asarray(observe({**features, **pricer.features}, slots), dtype=np.float32)


def _left(network: GrownNetwork, slot: int, cost: Priced, pricer: Pricer, budget: GrowthBudget) -> float:
    """`budget_left` of a slot; one inside a seed shares the account of the outermost seed it lies in."""
    if network.place(slot) is None:
        return 0.0
    outermost = (slot, *network.ancestors(slot))[-1]
    if network.seeds[outermost] is None:
        return budget_left(budget, cost=cost, without=cost)
    others = [other for other in range(network.host.slots) if other != outermost]
    return budget_left(budget, cost=cost, without=pricer.price(network.graphs(only=others)))


def _relative_latency(network: GrownNetwork, slot: int, pricer: Pricer, budget: GrowthBudget) -> float | None:
    place, seed = network.place(slot), network.seeds[slot]
    if place is None or seed is None or budget.latency_ms is None:
        return None
    own = pricer.price([seed.blueprint.layers(place)]).latency_ms
    return None if own is None else own / budget.latency_ms


def _measured(seen: SlotReading, gradient: float | None, host_gradient: float | None) -> dict[str, float]:
    measured = {
        "drift": seen.drift,
        "log_norm_ratio": seen.log_norm_ratio,
        "functional_drift": seen.functional_drift,
        "activation_variance": seen.variance,
        "contribution": seen.contribution,
        "utilisation": seen.utilisation,
    }
    if gradient is not None and host_gradient is not None:
        measured["log_gradient_ratio"] = (
            math.log(max(gradient, _TINY) / max(host_gradient, _TINY))
            if math.isfinite(gradient) and math.isfinite(host_gradient)
            else math.nan
        )
    return measured


def _known(features: dict[str, float]) -> dict[str, float]:
    """Without what is not finite: a figure nobody can use is not known."""
    return {name: value for name, value in features.items() if math.isfinite(value)}
