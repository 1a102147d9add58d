"""The policy network: one observation vector in, one vector of logits and values out.

    slot features --(shared)--> slot code --mean--+   over the slots there are
    global features ------------------------------+--> context --> global heads
    slot code + context --(shared)--> heads of the slot

Slots share their weights and statistics, so what was learned of one place holds for another and for any number of
them; ``depth`` tells them apart. A slot without any state flag is padding and has no part in the mean. Normalisation
statistics are buffers frozen after teaching and travel inside the graph; the masks of actions and their softmax are
applied outside.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, INTENSITIES, SLOT_FEATURES, Heads, Operation

WIDTH, SLOT_WIDTH = 96, 64
"""Units of the layers of the context and of each slot; some 41,000 weights for nine blueprints."""
CLIP = 6.0
"""Normalised features are clipped to this many standard deviations."""
UNTAUGHT = -30.0
"""Logit of a blueprint that was never taught."""
_GLOBALS, _PER_SLOT = len(GLOBAL_FEATURES), len(SLOT_FEATURES)
_FLAGS = slice(SLOT_FEATURES.index("is_free"), SLOT_FEATURES.index("is_embargoed") + 1)
"""Exactly one of these is 1 in a slot that exists."""
_STATES = _FLAGS.stop - _FLAGS.start
PADDING = 20.0
"""How far a slot that does not exist lies behind the others, nats: its share is below a millionth."""


class PolicyNetwork(nn.Module):
    """(B, observation_size) float32 -> (B, Heads.size) float32, laid out as `Heads` says."""

    mean: torch.Tensor
    inverse_deviation: torch.Tensor

    def __init__(self, heads: Heads) -> None:
        super().__init__()
        self.heads = heads
        size = _GLOBALS + heads.slots * _PER_SLOT
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("inverse_deviation", torch.ones(size))
        self.slot_in = nn.Linear(_PER_SLOT, SLOT_WIDTH)
        self.global_in = nn.Linear(_GLOBALS, SLOT_WIDTH, bias=False)
        self.slot_mid = nn.Linear(SLOT_WIDTH, SLOT_WIDTH)
        self.context_in = nn.Linear(_GLOBALS + SLOT_WIDTH, WIDTH)
        self.context_mid = nn.Linear(WIDTH, WIDTH)
        self.slot_code = nn.Linear(SLOT_WIDTH, SLOT_WIDTH)
        self.slot_context = nn.Linear(WIDTH, SLOT_WIDTH, bias=False)
        self.slot_out = nn.Linear(SLOT_WIDTH, len(Operation) + heads.blueprints + 1)
        self.global_out = nn.Linear(WIDTH, len(Operation) + heads.blueprints * len(INTENSITIES) + 1 + 3 + 2)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """All heads, concatenated."""
        x = ((observation - self.mean) * self.inverse_deviation).clamp(-CLIP, CLIP)
        overall = x[:, :_GLOBALS]
        slots = x[:, _GLOBALS:].reshape(-1, self.heads.slots, _PER_SLOT)
        code = torch.relu(self.slot_in(slots) + self.global_in(overall).unsqueeze(1))
        code = torch.relu(self.slot_mid(code))
        flags = observation[:, _GLOBALS:].reshape(-1, self.heads.slots, _PER_SLOT)[:, :, _FLAGS]
        share = torch.softmax(flags.mean(2) * (_STATES * PADDING), dim=1)  # boards' int8 kernels lack a division
        mean = (code * share.unsqueeze(2)).mean(1) * float(self.heads.slots)
        context = torch.relu(self.context_in(torch.cat([overall, mean], dim=1)))
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
        """Set mean and deviation from (N, observation_size), those of slots over all slots.

        A feature that never varies is centred, not scaled.
        """
        each = observations[:, _GLOBALS:].reshape(-1, _PER_SLOT)
        for rows, where, times in (
            (observations[:, :_GLOBALS], slice(None, _GLOBALS), 1),
            (each, slice(_GLOBALS, None), self.heads.slots),
        ):
            deviation = rows.std(dim=0, unbiased=False)
            inverse = torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), 1.0)
            self.mean[where].copy_(rows.mean(dim=0).repeat(times))
            self.inverse_deviation[where].copy_(inverse.repeat(times))

    def rescale_value(self, *, factor: float, shift: float) -> None:
        """Make the value head say factor * value + shift."""
        row = len(Operation) + self.heads.blueprints * len(INTENSITIES)
        with torch.no_grad():
            self.global_out.weight[row] *= factor
            self.global_out.bias[row] = self.global_out.bias[row] * factor + shift

    def forget_blueprints(self, numbers: Sequence[int]) -> None:
        """Make blueprints that were never taught the last choice wherever another is allowed."""
        rows = [len(Operation) + number for number in numbers]
        with torch.no_grad():
            self.slot_out.weight[rows] = 0
            self.slot_out.bias[rows] = UNTAUGHT

    def with_slots(self, slots: int) -> PolicyNetwork:
        """The same policy for hosts with another number of slots."""
        network = PolicyNetwork(Heads(slots=slots, blueprints=self.heads.blueprints))
        state = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        for name in ("mean", "inverse_deviation"):
            each = state[name][_GLOBALS : _GLOBALS + _PER_SLOT]
            state[name] = torch.cat([state[name][:_GLOBALS], each.repeat(slots)])
        network.load_state_dict(state)
        return network.eval()


class HeadViews:
    """Named views of an output batch: ``view(output)["slot"]`` is (B, operations, slots)."""

    def __init__(self, heads: Heads) -> None:
        self._slices, self._shapes = heads.slices(), heads.shapes()

    def __call__(self, output: torch.Tensor) -> dict[str, torch.Tensor]:
        """One tensor a head, shaped."""
        return {name: output[:, where].reshape(-1, *self._shapes[name]) for name, where in self._slices.items()}
