"""Whether a network betrays what it was trained on: how well members can be told from others of the same law.

Two attackers, each with more than a network's user has: one sees the probability of the right answer and takes a sure
one for a member's (Yeom et al. 2018); one sees the matched pair's embeddings and has learned, on half of members and
others, which direction tells them apart (Fisher's discriminant), and is judged on the other half. Their area under the
ROC curve is .5 by guessing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from tamiyo_train.alignment import matched
from tamiyo_train.data import Labelled
from tamiyo_train.evaluation import score
from tamiyo_train.seed import GrownNetwork

_ONE_SIDED_95 = 1.645
_RIDGE = 1e-3
"""Share of the mean variance that is added to every direction's."""
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """An area under the ROC curve with its one-sided 95 % upper bound."""

    value: float
    high: float


def area(members: Values, others: Values) -> Area:
    """How often a member scores above another, ties half, with the standard error of DeLong et al. (1988).

    Both are (N,) with 2 values or more.
    """
    ordered = np.sort(others)
    wins = (np.searchsorted(ordered, members) + np.searchsorted(ordered, members, "right")) / (2 * len(others))
    ordered = np.sort(members)
    losses = (np.searchsorted(ordered, others) + np.searchsorted(ordered, others, "right")) / (2 * len(members))
    error = math.sqrt(wins.var(ddof=1) / len(members) + losses.var(ddof=1) / len(others))
    value = float(wins.mean())
    return Area(value=value, high=min(1.0, value + _ONE_SIDED_95 * error))


def by_logits(network: GrownNetwork, members: Labelled, others: Labelled) -> Area:
    """The attacker that sees how sure the network is of the right answer."""
    sure, unsure = (score(network, split).sureness.double().numpy() for split in (members, others))
    return area(sure, unsure)


def by_embeddings(network: GrownNetwork, members: Labelled, others: Labelled) -> Area:
    """The attacker that sees the embeddings of matched pairs, and has learned from every other sample."""
    inside, outside = (_features(matched(network, split)) for split in (members, others))
    direction = discriminant(inside[::2], outside[::2])
    return area(inside[1::2] @ direction, outside[1::2] @ direction)


def discriminant(members: Values, others: Values) -> Values:
    """Fisher's: the direction (features,) along which (N, features) members lie above others, in units of spread."""
    spread = (np.cov(members.T) + np.cov(others.T)) / 2
    spread = spread + _RIDGE * max(float(np.trace(spread)) / len(spread), 1e-12) * np.eye(len(spread))
    found: Values = np.linalg.solve(spread, members.mean(0) - others.mean(0))
    return found


def _features(pairs: torch.Tensor) -> Values:
    """Embeddings (N, 2, d), their lengths, and their product coordinate by coordinate: (N, 3d + 2)."""
    unit = F.normalize(pairs.double(), dim=2)
    found = torch.cat([pairs.double().flatten(1), pairs.double().norm(dim=2), unit.prod(1)], 1)
    return np.asarray(found.numpy(), np.float64)
