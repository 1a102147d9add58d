"""The policy network: one observation vector in, one vector of logits and values out.

    slot features --(shared)--> slot code --mean--+
    global features ------------------------------+--> context --> global heads
    slot code + context --(shared)--> heads of the slot

Slots share their weights, so what was learned of one place holds for another; ``depth`` tells them apart. Normalisation
statistics are buffers frozen after teaching and travel inside the graph. Only linear layers, ReLU, additions and
reshapes: masks and softmax are applied outside.
"""

from __future__ import annotations

import torch
from torch import nn

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, INTENSITIES, SLOT_FEATURES, Heads, Operation

CLIP = 6.0
"""Normalised features are clipped to this many standard deviations."""
_GLOBALS, _PER_SLOT = len(GLOBAL_FEATURES), len(SLOT_FEATURES)


class PolicyNetwork(nn.Module):
    """(B, observation_size) float32 -> (B, Heads.size) float32, laid out as `Heads` says."""

    mean: torch.Tensor
    inverse_deviation: torch.Tensor

    def __init__(self, heads: Heads, *, width: int = 96, slot_width: int = 64) -> None:
        super().__init__()
        self.heads = heads
        size = _GLOBALS + heads.slots * _PER_SLOT
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("inverse_deviation", torch.ones(size))
        self.slot_in = nn.Linear(_PER_SLOT, slot_width)
        self.global_in = nn.Linear(_GLOBALS, slot_width, bias=False)
        self.slot_mid = nn.Linear(slot_width, slot_width)
        self.context_in = nn.Linear(_GLOBALS + slot_width, width)
        self.context_mid = nn.Linear(width, width)
        self.slot_code = nn.Linear(slot_width, slot_width)
        self.slot_context = nn.Linear(width, slot_width, bias=False)
        self.slot_out = nn.Linear(slot_width, len(Operation) + heads.blueprints + 1)
        self.global_out = nn.Linear(width, len(Operation) + heads.blueprints * len(INTENSITIES) + 1 + 3 + 2)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """All heads, concatenated."""
        x = ((observation - self.mean) * self.inverse_deviation).clamp(-CLIP, CLIP)
        overall = x[:, :_GLOBALS]
        slots = x[:, _GLOBALS:].reshape(-1, self.heads.slots, _PER_SLOT)
        code = torch.relu(self.slot_in(slots) + self.global_in(overall).unsqueeze(1))
        code = torch.relu(self.slot_mid(code))
        context = torch.relu(self.context_in(torch.cat([overall, code.mean(1)], dim=1)))
        context = torch.relu(self.context_mid(context))
        per_slot = torch.relu(self.slot_code(code) + self.slot_context(context).unsqueeze(1))
        per_slot = self.slot_out(per_slot)
        general = self.global_out(context)
        operations, blueprints = len(Operation), self.heads.blueprints
        split = operations + blueprints * len(INTENSITIES)
        return torch.cat(
            [
                general[:, :operations],
                per_slot[:, :, :operations].transpose(1, 2).flatten(1),
                per_slot[:, :, operations : operations + blueprints].flatten(1),
                general[:, operations:split],
                per_slot[:, :, -1],
                general[:, split:],
            ],
            dim=1,
        )

    def freeze_statistics(self, observations: torch.Tensor) -> None:
        """Set mean and deviation from (N, observation_size); a feature that never varies is centred, not scaled."""
        deviation = observations.std(dim=0, unbiased=False)
        self.mean.copy_(observations.mean(dim=0))
        self.inverse_deviation.copy_(torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 1.0))


class HeadViews:
    """Named views of an output batch: ``view(output)["slot"]`` is (B, operations, slots)."""

    def __init__(self, heads: Heads) -> None:
        self._slices, self._shapes = heads.slices(), heads.shapes()

    def __call__(self, output: torch.Tensor) -> dict[str, torch.Tensor]:
        """One tensor a head, shaped."""
        return {name: output[:, where].reshape(-1, *self._shapes[name]) for name, where in self._slices.items()}
