"""What turning what passes a slot costs in training: a hinge on the interface drift of every seed, sample by sample.

    penalty = weight * sum over seeds of the mean over samples of max(0, (1 - cosine(x, seed(x))) / target - 1)

x is what enters the seed's slot; the cosine is taken over all of a sample's features, the seed as if blended in fully.
Everything learns from it: host and seeds can come to large effects by small turns, since what lies behind a slot can
amplify them. The gate judges a 95th percentile, so the target lies below its bound.

To use it set ``drift_target`` of an `Episode` (a stage does, when its gate bounds ``drift``). On joint tensors of two
modalities, (N, 2, d, K), a sample is both embeddings of all its pairs: a target there keeps either from turning far,
and so what a kernel over them can change, though by no formula; `alignment` measures that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from tamiyo_train.channel_gate import ChannelGate
from tamiyo_train.seed import GrownNetwork

_TINY = 1e-12
Passed = list[tuple[torch.Tensor, torch.Tensor]]


@contextmanager
def interfaces(network: GrownNetwork) -> Iterator[Passed]:
    """Collect (entering, leaving) of every seed that runs meanwhile, each as if it were blended in fully."""
    passed: Passed = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        passed.append((inputs[0], output))

    handles = []
    for seed in network.seeds:
        if seed is not None:
            module = seed.module.inner if isinstance(seed.module, ChannelGate) else seed.module
            handles.append(module.register_forward_hook(note))
    try:
        yield passed
    finally:
        for handle in handles:
            handle.remove()


def turned(entering: torch.Tensor, leaving: torch.Tensor) -> torch.Tensor:
    """1 - cosine sample by sample, (N,), of two (N, ...) tensors; 0 where one of them is nought."""
    a, b = entering.flatten(1), leaving.flatten(1)
    squares = a.square().sum(1) * b.square().sum(1)
    cosine = (a * b).sum(1) * squares.clamp_min(_TINY).rsqrt()
    return torch.where(squares <= _TINY, torch.zeros_like(cosine), 1 - cosine)


def penalty(passed: Passed, *, target: float, weight: float) -> torch.Tensor:
    """What the collected turns cost, nats: see above; a scalar that host and seeds can learn from."""
    parts = [(turned(entering, leaving) / target - 1).clamp_min(0).mean() for entering, leaving in passed]
    return weight * torch.stack(parts).sum() if parts else torch.zeros(())
