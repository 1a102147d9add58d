"""Observations and masks of all lanes as tensors: `telemetry.vector` and `Gardener.masks`, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from tamiyo_runtime.contracts.features import GLOBAL, SLOT, Feature
from tamiyo_runtime.contracts.observation import Operation
from tamiyo_train.population.cost_table import PROFILE_FEATURES
from tamiyo_train.population.growth_state import Phase, Seen

if TYPE_CHECKING:
    from tamiyo_train.population.growth import TensorGrowth

Tensor = torch.Tensor
_TINY = 1e-12


def observed(env: TensorGrowth) -> Seen:
    """What the deciders of all lanes see now; changes nothing."""
    fits = _fits(env)
    vector = torch.cat([_ordered(_globals(env), GLOBAL), _ordered(_slots(env), SLOT).flatten(1)], 1)
    return Seen(
        vector=vector.float(),
        slot_mask=_slot_mask(env, fits),
        blueprint_mask=fits,
        params=env._params.expand(len(env.task), -1, -1),
    )


def _ordered(values: Mapping[str, Tensor], known: Sequence[Feature]) -> Tensor:
    """Features in their order along the last axis, clipped; one left out or not finite is 0."""
    some = next(iter(values.values()))
    columns = []
    for feature in known:
        value = values.get(feature.name)
        column = torch.zeros_like(some) if value is None else torch.where(value.isfinite(), value.double(), 0.0)
        columns.append(column.clamp(feature.low, feature.high))
    return torch.stack(columns, -1)


def _globals(env: TensorGrowth) -> dict[str, Tensor]:
    sensed, (level, before, earlier) = env.sensed, env.curve.unbind(1)
    left = 1 - env.cost / env.budget
    profile = env.table.features[env.profile].unbind(1)
    steps_left = 1 - env.window / env.config.decisions
    return {
        "loss_level": level,
        "loss_slope": level - before,
        "loss_curvature": level - 2 * before + earlier,
        "generalisation_gap": env.training_accuracy - sensed.accuracy,
        "accuracy": sensed.accuracy,
        "params_left": left[:, 0],
        "macs_left": left[:, 1],
        "latency_left": left[:, 2],
        "energy_left": left[:, 3],
        "steps_left": torch.full_like(level, steps_left),
        **dict(zip(PROFILE_FEATURES, profile, strict=True)),
    }


def _slots(env: TensorGrowth) -> dict[str, Tensor]:
    slots, sensed, limits = env.slots, env.sensed, env.config.limits
    planted, numbers = slots.code > 0, torch.arange(env.host.slots, device=env.device)
    host = env.host.footprint()
    gradients = (sensed.gradient.clamp_min(_TINY) / sensed.host_gradient.clamp_min(_TINY)[:, None]).log()
    measured = {
        "drift": sensed.drift,
        "log_norm_ratio": sensed.log_norm_ratio,
        "functional_drift": sensed.functional_drift,
        "activation_variance": sensed.variance,
        "contribution": sensed.contribution,
        "utilisation": (sensed.absent_loss - sensed.present_loss) / sensed.present_loss.clamp_min(_TINY),
        "log_gradient_ratio": torch.where(env.graded, gradients, 0.0),
    }
    ranges = {feature.name: feature for feature in SLOT}
    wrong = torch.stack(
        [~((value >= ranges[name].low) & (value <= ranges[name].high)) for name, value in measured.items()]
    ).any(0)
    risk = torch.maximum(
        sensed.drift_p95 / limits.drift_critical, sensed.log_norm_ratio.abs() / limits.norm_critical
    ).clamp_max(1.0)
    own = {
        "alpha": slots.alpha,
        "age": (env.step - slots.born) / env.config.steps,
        "relative_params": env.table.seed_params[numbers, slots.code] / host.params,
        "relative_macs": env.table.seed_macs[numbers, slots.code] / host.macs,
        "relative_latency": env.table.seed_latency[env.profile[:, None], numbers, slots.code] / env.budget[:, 2:3],
        "drift_risk": torch.where(risk.isfinite(), risk, 1.0),
        "rollback_need": sensed.rollback_need,
        "alert": wrong.double(),
        **measured,
    }
    flags = {
        "is_free": Phase.DORMANT,
        "is_training": Phase.TRAINING,
        "is_blending": Phase.BLENDING,
        "is_probation": Phase.PROBATION,
        "is_fossilised": Phase.FOSSILISED,
        "is_embargoed": Phase.EMBARGOED,
    }
    return {
        **{name: (slots.phase == phase).double() for name, phase in flags.items()},
        **{name: torch.where(planted, value.double(), 0.0) for name, value in own.items()},
        "budget_left": _budget_left(env),
        "depth": (numbers / max(1, env.host.slots - 1)).double().expand(len(env.task), -1),
    }


def _budget_left(env: TensorGrowth) -> Tensor:
    """`telemetry.budget_left` of every slot, (N, S)."""
    shares = []
    for slot in range(env.host.slots):
        others = env.slots.code.clone()
        others[:, slot] = 0
        without = env.table.of_lanes(env.profile, others)
        account = env.budget - without
        share = torch.where(account > 0, ((env.budget - env.cost) / account).clamp(0.0, 1.0), 0.0)
        shares.append(torch.where(env.budget.isinf(), 1.0, share).amin(1))
    return torch.stack(shares, 1)


def _fits(env: TensorGrowth) -> Tensor:
    """Blueprints that may be germinated, (N, S, B): the slot is free and the network would be within its budget."""
    lanes, slots = env.slots.code.shape
    fits = torch.zeros(lanes, slots, env.heads.blueprints, dtype=torch.bool, device=env.device)
    for slot in range(slots):
        free = env.slots.phase[:, slot] == Phase.DORMANT
        for code, number in enumerate(env.taught, 1):
            grown = env.slots.code.clone()
            grown[:, slot] = code
            within = (env.table.of_lanes(env.profile, grown) <= env.budget).all(1)
            fits[:, slot, number] = free & within
    return fits


def _slot_mask(env: TensorGrowth, fits: Tensor) -> Tensor:
    """What may be done to each slot, (N, operations, S)."""
    slots, sensed, config = env.slots, env.sensed, env.config
    allowed = torch.zeros(len(fits), len(Operation), fits.shape[1], dtype=torch.bool, device=env.device)
    allowed[:, Operation.GERMINATE] = fits.any(2)
    old = env.step - slots.born >= config.min_age * config.window
    lively = sensed.gradient >= config.gradient_ratio * sensed.host_gradient[:, None]
    finite = sensed.gradient.isfinite() & sensed.host_gradient.isfinite()[:, None] & env.graded
    better = sensed.present_loss < sensed.absent_loss
    allowed[:, Operation.ADVANCE] = (slots.phase == Phase.TRAINING) & old & lively & finite & better
    allowed[:, Operation.PRUNE] = slots.live
    allowed[:, Operation.FOSSILISE] = (slots.phase == Phase.PROBATION) & (sensed.gain_low > _prices(env))
    return allowed


def _prices(env: TensorGrowth) -> Tensor:
    """What each seed's parameters cost on top of the rest of the network, (N, S): `Gardener.price`."""
    numbers = torch.arange(env.host.slots, device=env.device)
    own = env.table.seed_params[numbers, env.slots.code]
    total, budget = env.cost[:, :1], env.budget[:, :1]
    return env.config.prices.params * ((1 + total / budget).log2() - (1 + (total - own) / budget).log2())
