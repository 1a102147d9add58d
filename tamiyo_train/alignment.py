"""What a seed does to the space that two modalities share: how far it moves either, and their matched pairs.

Embeddings are those that the host's last piece compares, of the matched pairs of a split: image n with its own caption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
Embeddings = list[torch.Tensor]


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


@contextmanager
def compared(network: GrownNetwork) -> Iterator[Embeddings]:
    """A list to which every pass adds the embeddings (B, 2, d, K) that the host's last piece compares."""
    seen: Embeddings = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0])

    handle = network.trunk[-1].register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def strayed(before: torch.Tensor, after: torch.Tensor, *, target: float) -> torch.Tensor:
    """How far matched pairs (B, 2, d) moved beyond ``target``, as a loss: what each part of `PairDrift` on the batch
    has above it, in targets, added up."""
    apart = [1 - _cka(before[:, side], after[:, side]) for side in range(2)]
    closer = F.cosine_similarity(after[:, 0], after[:, 1]) - F.cosine_similarity(before[:, 0], before[:, 1])
    return torch.stack([*apart, closer.mean().abs()]).div(target).sub(1).relu().sum()


def own(embeddings: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of embeddings (B, 2, d, K) those (B, 2, d) of each image and its own caption."""
    return embeddings[torch.arange(len(y)), :, :, y]


def matched(network: GrownNetwork, split: Labelled, alphas: Sequence[float] | None = None) -> torch.Tensor:
    """Embeddings (N, 2, d) of the matched pairs as they enter the host's last piece."""
    present = network.alphas() if alphas is None else alphas
    found = []
    with evaluating(network), compared(network) as seen:
        for x, y in zip(torch.split(split.x, _AT_ONCE), torch.split(split.y, _AT_ONCE), strict=True):
            network(x, present)
            found.append(own(seen.pop(), y))
    return torch.cat(found)


def linear_cka(one: torch.Tensor, other: torch.Tensor) -> float:
    """Linear centred kernel alignment of two (N, features) representations of the same N samples, 0..1.

    |A'B|^2 / (|A'A| |B'B|) of centred A and B (Kornblith et al. 2019): 1 when they differ by rotation and scale alone.
    Representations without any variance are alike, and unlike all others.
    """
    return float(_cka(one.double(), other.double()))


def _cka(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    a, b = (x - x.mean(0) for x in (one, other))
    aa, bb = (a.T @ a).norm(), (b.T @ b).norm()
    least, most = sorted((aa.item(), bb.item()))
    if least < _TINY:
        return one.new_tensor(float(most < _TINY))
    shared: torch.Tensor = (a.T @ b).square().sum() / (aa * bb)
    return shared


def pair_drift(network: GrownNetwork, probes: Labelled, slot: int) -> PairDrift:
    """What the seed of ``slot`` does to the matched pairs, the others as they are."""
    alphas = network.alphas()
    after, before = matched(network, probes, alphas), matched(network, probes, without(alphas, slot))
    image, caption = (1 - linear_cka(before[:, side], after[:, side]) for side in range(2))
    cosines = [float(F.cosine_similarity(pair[:, 0], pair[:, 1]).double().mean()) for pair in (before, after)]
    return PairDrift(image=image, caption=caption, cosine=cosines[1] - cosines[0])
