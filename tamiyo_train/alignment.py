"""What a seed does to the space that two modalities share: how far it moves either, and their matched pairs.

Embeddings are those that the host's last piece compares, of the matched pairs of a split: image n with its own caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train.data import Labelled
from tamiyo_train.evaluation import without
from tamiyo_train.seed import GrownNetwork, evaluating

_AT_ONCE = 250
"""Samples a pass: attention over a gallery takes memory."""
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDrift:
    """What switching a seed on changes: 1 - linear CKA of each modality, and the mean cosine of matched pairs."""

    image: float
    caption: float
    cosine: float

    @property
    def worst(self) -> float:
        """The largest of the three, the cosine's change without its sign."""
        return max(self.image, self.caption, abs(self.cosine))


def matched(network: GrownNetwork, split: Labelled, alphas: Sequence[float] | None = None) -> torch.Tensor:
    """Embeddings (N, 2, d) of the matched pairs as they enter the host's last piece."""
    seen: list[torch.Tensor] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0])

    found = []
    with evaluating(network):
        handle = network.trunk[-1].register_forward_pre_hook(note)
        try:
            for x, y in zip(torch.split(split.x, _AT_ONCE), torch.split(split.y, _AT_ONCE), strict=True):
                network(x, alphas)
                found.append(seen.pop()[torch.arange(len(y)), :, :, y])
        finally:
            handle.remove()
    return torch.cat(found)


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float:
    """Linear centred kernel alignment of two (N, features) representations of the same N samples, 0..1.

    |A'B|^2 / (|A'A| |B'B|) of centred A and B (Kornblith et al. 2019): 1 when they differ by rotation and scale alone.
    Representations without any variance are alike, and unlike all others.
    """
    a, b = (x.double() - x.double().mean(0) for x in (one, other))
    aa, bb = float((a.T @ a).norm()), float((b.T @ b).norm())
    if min(aa, bb) < _TINY:
        return float(max(aa, bb) < _TINY)
    return float((a.T @ b).norm()) ** 2 / (aa * bb)


def pair_drift(network: GrownNetwork, probes: Labelled, slot: int) -> PairDrift:
    """What the seed of ``slot`` does to the matched pairs, the others as they are."""
    alphas = network.alphas()
    after, before = matched(network, probes, alphas), matched(network, probes, without(alphas, slot))
    image, caption = (1 - linear_cka(before[:, side], after[:, side]) for side in range(2))
    cosines = [float(F.cosine_similarity(pair[:, 0], pair[:, 1]).double().mean()) for pair in (before, after)]
    return PairDrift(image=image, caption=caption, cosine=cosines[1] - cosines[0])
