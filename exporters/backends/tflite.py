"""torch module -> TFLite, float32.

Tensors of images change from (batch, channels, height, width) to channels last on both sides, and those of sequences
from (batch, channels, time) likewise, so that no TRANSPOSE is left in the graph; other tensors keep their order.
`exporters.backends.rewrite` says what else is written in another way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.flatbuffer import tidy
from exporters.backends.rewrite import rewritten
from exporters.backends.toolchain import converting, tool

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

_IMAGE_RANK = 4
_WITH_CHANNELS = (3, 4)


def convert(module: nn.Module, example: torch.Tensor, *, name: str) -> bytes:
    """The module as a TFLite file for inputs of ``example``'s shape, batch 1.

    Raises IncompatibleError, naming the part, when the converter does not take it.
    """
    import torch

    litert_torch = tool("litert_torch")
    with torch.no_grad():
        answer = module(example)
    inputs = [0] if example.dim() == _IMAGE_RANK else None
    outputs = [0] if answer.dim() == _IMAGE_RANK else None
    with converting(f"part '{name}'", "the TFLite converter"):
        ready = rewritten(module, last=True)
        if inputs or outputs:
            ready = litert_torch.to_channel_last_io(ready, args=inputs, outputs=outputs)
        converted = litert_torch.convert(ready.eval(), (channels_last(example),))
        data = converted.model_content()
    return tidy(bytes(data), name=name)


def channels_last(value: torch.Tensor) -> torch.Tensor:
    """A batch of images or sequences with their channels last; any other tensor as it is."""
    return value.movedim(1, -1).contiguous() if value.dim() in _WITH_CHANNELS else value


def channels_last_array(value: NDArray[np.float32]) -> NDArray[Any]:
    """``channels_last`` for arrays."""
    return np.moveaxis(value, 1, -1) if value.ndim in _WITH_CHANNELS else value
