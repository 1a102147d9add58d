"""torch module -> TFLite, float32.

Image tensors change from (batch, channels, height, width) to channels last on both sides, so that no TRANSPOSE is
left in the graph; other tensors keep their order. A mean over both image axes is converted as an average pooling of
the same values: as a MEAN the converter computes it channels first, with a TRANSPOSE and a RESHAPE on either side, and
an Edge TPU takes no such MEAN. A squeeze-excite seed is six operators instead of ten for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from exporters.backends.flatbuffer import tidy
from exporters.backends.toolchain import converting, tool

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import nn

_IMAGE_RANK = 4


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
        ready = _pooling(module)
        if inputs or outputs:
            ready = litert_torch.to_channel_last_io(ready, args=inputs, outputs=outputs)
        converted = litert_torch.convert(ready.eval(), (channels_last(example),))
        data = converted.model_content()
    return tidy(bytes(data), name=name)


def channels_last(value: torch.Tensor) -> torch.Tensor:
    """An image batch with its channels last; any other tensor as it is."""
    return value.permute(0, 2, 3, 1).contiguous() if value.dim() == _IMAGE_RANK else value


def channels_last_array(value: NDArray[np.float32]) -> NDArray[Any]:
    """``channels_last`` for arrays."""
    return value.transpose(0, 2, 3, 1) if value.ndim == _IMAGE_RANK else value


def _pooling(module: nn.Module) -> nn.Module:
    """The module with its means over (height, width) as average poolings."""
    import torch
    from torch.overrides import TorchFunctionMode

    class MeanAsPool(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func in {torch.Tensor.mean, torch.mean} and args[0].dim() == _IMAGE_RANK:
                axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
                keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
                if isinstance(axes, tuple | list) and {axis % _IMAGE_RANK for axis in axes} == {2, 3}:
                    pooled = torch.nn.functional.avg_pool2d(args[0], tuple(args[0].shape[2:]))
                    return pooled if keep else pooled.flatten(1)
            if func is torch.nn.functional.adaptive_avg_pool2d and args[0].dim() == _IMAGE_RANK:
                size = kwargs.get("output_size", args[1] if len(args) > 1 else None)
                if size == 1 or size in {(1, 1)}:
                    return torch.nn.functional.avg_pool2d(args[0], tuple(args[0].shape[2:]))
            return func(*args, **kwargs)

    class Pooling(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            with MeanAsPool():
                result: torch.Tensor = self.module(value)
            return result

    return Pooling().eval()
