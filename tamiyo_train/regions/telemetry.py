"""What an allocator sees of each region, pooled over its slots, and what a policy sees inside one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tamiyo_runtime.contracts.features import GLOBAL, SLOT
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.population.cost_table import LIMITS
from tamiyo_train.regions.division import MOST_SLOTS, Region, widest

Tensor = torch.Tensor
FEATURES = (
    "utilisation",
    "gradient_ratio",
    "contribution",
    "seeds",
    "free",
    "used",
    "position",
    "loss_level",
    "loss_slope",
    "accuracy",
    "left",
    "steps_left",
)
"""Of a region. Means over its seeds, 0 without one: by how much the loss would rise without the seed, relative, within
-1..1; gradient norm of the seed over the host's, within 0..1; accuracy the seed adds, counterfactually. Slots that hold
a seed, and that are free, over `MOST_SLOTS`; of what the bare host leaves of the budget, the share its seeds use; its
place in the host, 0 first, 1 last. Then of the network: as in the observation, and the share of the budget left."""
_LEFT = ("params_left", "macs_left", "latency_left", "energy_left")
_GLOBALS, _PER_SLOT = len(GLOBAL_FEATURES), len(SLOT_FEATURES)
_BUDGET_LEFT = SLOT_FEATURES.index("budget_left")
_EMPTY = ("is_free", "is_embargoed")
_RANGES = {feature.name: (feature.low, feature.high) for feature in (*GLOBAL, *SLOT)}


def pooled(vector: Tensor, regions: Sequence[Region], *, budget: Tensor, host: Tensor, own: Tensor) -> Tensor:
    """Telemetry of N hosts' R regions, (N, R, features) float64, from whole observations (N, size).

    ``budget`` and cost of the bare ``host`` (N, limits); ``own`` (N, R, limits): see `accounts`.
    """
    overall, slots = _parts(vector.double())

    def of(name: str) -> Tensor:
        return slots[..., SLOT_FEATURES.index(name)]

    seeds = 1 - sum((of(name) for name in _EMPTY), torch.zeros_like(of("alpha")))
    ratio = of("log_gradient_ratio")
    each = {
        "utilisation": of("utilisation").clamp(-1.0, 1.0) * seeds,
        "gradient_ratio": torch.where(ratio == 0, 0.0, ratio.exp().clamp(0.0, 1.0)) * seeds,
        "contribution": of("contribution") * seeds,
    }
    room = (budget - host).clamp_min(1e-12)
    used = ((own - host[:, None]) / room[:, None]).amax(2).clamp(0.0, 1.0)
    left = 1 - ((own - host[:, None]).sum(1) / room).amax(1).clamp(0.0, 1.0)
    network = {name: overall[:, GLOBAL_FEATURES.index(name)] for name in FEATURES if name in GLOBAL_FEATURES}
    columns = []
    for number, region in enumerate(regions):
        where = slice(region.start, region.stop)
        planted = seeds[:, where].sum(1)
        row = {name: value[:, where].sum(1) / planted.clamp_min(1.0) for name, value in each.items()}
        row |= {
            "seeds": planted / MOST_SLOTS,
            "free": of("is_free")[:, where].sum(1) / MOST_SLOTS,
            "used": used[:, number],
            "position": of("depth")[:, where].mean(1),
            "left": left,
            **network,
        }
        columns.append(torch.stack([row[name] for name in FEATURES], 1))
    return torch.stack(columns, 1)


def views(
    vector: Tensor, regions: Sequence[Region], *, own: Tensor, limits: Tensor, without: Tensor
) -> tuple[Tensor, ...]:
    """Observations of N hosts inside each region, each (N, size) for the widest region's slots, padded with nothing.

    The slots are the region's; what is left of each limit, of the network and of every slot's account, is told of the
    region's own: of a host with its seeds alone, held to its limit. ``without`` (N, S, limits): ``own`` of a slot's
    region without that slot's seed.
    """
    overall, slots = _parts(vector)
    found = []
    for number, region in enumerate(regions):
        here, limit = own[:, number], limits[:, number]
        shared, inner = overall.clone(), slots[:, region.start : region.stop].clone()
        for name in _LEFT:
            column = LIMITS.index(_column(name))
            low, high = _RANGES[name]
            left = torch.where(limit[:, column].isfinite(), 1 - here[:, column] / limit[:, column], 1.0)
            shared[:, GLOBAL_FEATURES.index(name)] = left.clamp(low, high).to(vector.dtype)
        account = limit[:, None] - without[:, region.start : region.stop]
        share = torch.where(account > 0, ((limit - here)[:, None] / account).clamp(0.0, 1.0), 0.0)
        share = torch.where(limit.isinf()[:, None], 1.0, share).amin(2)
        inner[..., _BUDGET_LEFT] = share.to(vector.dtype)
        padding = inner.new_zeros(len(inner), widest(regions) - len(region), _PER_SLOT)
        found.append(torch.cat([shared, inner.flatten(1), padding.flatten(1)], 1))
    return tuple(found)


def _column(left: str) -> str:
    name = left.removesuffix("_left")
    return next(limit for limit in LIMITS if limit.split("_")[0] == name)


def _parts(vector: Tensor) -> tuple[Tensor, Tensor]:
    """Global features (N, G) and those of slots (N, S, F)."""
    return vector[:, :_GLOBALS], vector[:, _GLOBALS:].reshape(len(vector), -1, _PER_SLOT)
