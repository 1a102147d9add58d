"""A trunk piece that can forget its activations while it trains and compute them again on the way back.

Gradient checkpointing trades about a third more work for memory: of a piece only its input is kept. Recomputing must
not be seen from outside, so batch norms are then in the mode they were in and leave their statistics alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


class Piece(nn.Module, ABC):
    """Subclasses define ``compute``; ``recomputes`` is off unless `recompute` switched it on."""

    def __init__(self) -> None:
        super().__init__()
        self.recomputes = False

    @abstractmethod
    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """What the piece does to a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``compute``, by way of a checkpoint if it is switched on and there will be a backward pass."""
        if not (self.recomputes and self.training and torch.is_grad_enabled()):
            return self.compute(x)
        modes = [(module, module.training) for module in self.modules() if isinstance(module, _BatchNorm)]
        out: torch.Tensor = checkpoint(
            self.compute, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _as_before(modes))
        )
        return out


def recompute(trunk: Iterable[nn.Module], *, on: bool = True) -> int:
    """Switch checkpointing on or off in all pieces that can do it; returns how many can."""
    pieces = [piece for piece in trunk if isinstance(piece, Piece)]
    for piece in pieces:
        piece.recomputes = on
    return len(pieces)


@contextmanager
def _as_before(modes: list[tuple[_BatchNorm, bool]]) -> Iterator[None]:
    """Batch norms in the given modes, updating copies of their statistics: they counted this batch the first time."""
    now = [(norm, norm.training, dict(norm._buffers)) for norm, _ in modes]
    for norm, training in modes:
        norm.training = training
        norm._buffers.update({name: None if b is None else b.clone() for name, b in norm._buffers.items()})
    try:
        yield
    finally:
        for norm, training, buffers in now:
            norm.training = training
            norm._buffers.update(buffers)
