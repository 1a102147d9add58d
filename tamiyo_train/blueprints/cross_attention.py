"""Cross-attention on two modalities side by side: y = x + out(attend(query(x), keys and values of the other one)).

One set of maps d -> d serves both directions; ``out`` is zero at birth. Behind the other's time steps lies one of
zeros, so that a query may attend to nothing: without it an embedding, which is one time step, would always take all of
the other. Parameters 4d*d + 3d; multiply-accumulates 2 (2T + 2 (T + 1)) d*d + 4 T (T + 1) d.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tamiyo_train import footprint
from tamiyo_train.blueprints.attention import Attention, attention_layers, heads_of
from tamiyo_train.blueprints.base import Blueprint, add
from tamiyo_train.footprint import Kind, Layer
from tamiyo_train.slots import Domain, Slot


class CrossAttentionSeed(nn.Module):
    """(B, 2, d, T) -> (B, 2, d, T)."""

    def __init__(self, slot: Slot, heads: int) -> None:
        super().__init__()
        self.attention = Attention(slot.channels, heads)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input plus what each modality takes from the other."""
        batch, both, channels, time = x.shape
        steps = x.transpose(2, 3).contiguous()
        other = torch.cat([steps[:, 1:], steps[:, :1]], 1).flatten(0, 1)
        taken: torch.Tensor = self.attention(steps.flatten(0, 1), F.pad(other, (0, 0, 0, 1)))
        return x + taken.reshape(batch, both, time, channels).transpose(2, 3)


def _layers(slot: Slot, heads: int) -> tuple[Layer, ...]:
    both, channels, time = slot.shape
    return (
        *footprint.transposed(channels, time, batch=both),
        footprint.pointwise(Kind.CONCAT, slot.elements),
        footprint.pointwise(Kind.PAD, both * channels * (time + 1)),
        *attention_layers(channels, heads, time, time + 1, batch=both),
        *footprint.changed(slot),
    )


def _preset(name: str, summary: str, most: int) -> Blueprint:
    return Blueprint(
        name=name,
        summary=summary,
        domains=frozenset({Domain.JOINT}),
        build=lambda slot: CrossAttentionSeed(slot, heads_of(slot.channels, most)),
        layers=lambda slot: _layers(slot, heads_of(slot.channels, most)),
        config={"heads": most},
    )


CROSS_ATTENTION = add(_preset("cross-attention", "each modality attends to the other, 4 heads at most", 4))
SINGLE = add(_preset("cross-attention-single", "each modality attends to the other, 1 head", 1))
