"""Adam on a block of parameters with rates, step counts and clipping of its own for every lane and group.

The same formulas as ``torch.nn.utils.clip_grad_norm_`` and ``torch.optim.AdamW``. A group is one row of the last axis:
a lane's host in a block (N, P), one seed in a block (N, S, Q). A group that had no gradient in the ordinary trainer's
step is left alone by weights of nought: its parameters, moments and count stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

BETAS = (0.9, 0.999)
EPSILON = 1e-8
CLIP_EPSILON = 1e-6
"""What ``clip_grad_norm_`` adds to the norm."""
Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Coefficients:
    """One step's numbers for the groups of a block, each (..., 1): see `plan.coefficients`."""

    step_size: Tensor
    root_correction: Tensor
    first: Tensor
    second: Tensor


class Block:
    """Parameters, their gradients and both moments; all four of the same shape, the last axis one group."""

    def __init__(self, params: Tensor) -> None:
        self.params = params
        self.grads, self.mean, self.square = (torch.zeros_like(params) for _ in range(3))

    @staticmethod
    def like(tensor: Tensor, *shape: int) -> Block:
        """A block of noughts of a shape, in the precision and on the device of a tensor."""
        return Block(tensor.new_zeros(shape))

    def forget(self, *index: int) -> None:
        """Fresh moments for one group."""
        self.mean[index] = 0
        self.square[index] = 0

    def decay(self, kept: Tensor) -> None:
        """Leave every group this share of its weights, (..., 1)."""
        self.params.mul_(kept)

    def update(self, step: Coefficients, gradient_limit: float) -> None:
        """Clip every group's gradient to an L2 norm of ``gradient_limit``, then one step of Adam."""
        grads = self.grads
        norms = torch.linalg.vector_norm(grads, dim=-1, keepdim=True)
        grads.mul_((gradient_limit / (norms + CLIP_EPSILON)).clamp_max_(1.0))
        self.mean.lerp_(grads, step.first)
        self.square.lerp_(grads.square_(), step.second)
        root = torch.sqrt(self.square).mul_(step.root_correction).add_(EPSILON)
        self.params.addcdiv_(self.mean * step.step_size, root, value=-1.0)
