"""What each region of a host may come to cost: the arithmetic of splitting a budget, computed, never learned.

    own(r)   = cost of the host with the seeds of region r alone
    limit(r) = own(r) + share(r) (budget - cost of the network), all at the split

A seed may be germinated in region r while own(r) with it stays within limit(r), and the network within the budget.
What seeds cost adds up, so the network is then at most its cost at the split and the shares of what was left, which
sum to 1 at most. The budget itself is asked as well, for profiles where costs do not quite add up. Until the next
split a region may spend again what it gives back by pruning; what is left over by then is split anew.

Memory is the largest that lives at once, not a sum, so it is never split: every region has the budget's.
"""

from __future__ import annotations

import torch

from tamiyo_train.population.cost_table import LIMITS

Tensor = torch.Tensor
_MEMORY = LIMITS.index("memory_bytes")


def fair(shares: Tensor) -> Tensor:
    """Shares (..., R) as they count: none below 0, what is not a number 0, scaled down where they sum to above 1."""
    known = torch.where(shares.isfinite(), shares, 0.0).clamp_min(0.0).double()
    return known / known.sum(-1, keepdim=True).clamp_min(1.0)


def limits_of(budget: Tensor, *, cost: Tensor, own: Tensor, shares: Tensor) -> Tensor:
    """Limits of regions (..., R, limits) for a budget and a network's cost (..., limits), and ``own`` (..., R, limits).

    ``shares`` (..., R) are taken as `fair` takes them. Where the budget sets no limit (infinity) regions have none.
    """
    spare = torch.where(budget.isfinite(), budget - cost, 0.0).clamp_min(0.0)
    limits = own + fair(shares)[..., None] * spare[..., None, :]
    limits = torch.where(budget.isfinite()[..., None, :], limits, torch.inf)
    limits[..., _MEMORY] = budget[..., None, _MEMORY]
    return limits
