"""The same mathematics in the operators that convert well, written while a module runs; the module stays as it is.

* A sequence (batch, channels, time) is carried as an image of width 1. The converter knows convolutions, poolings and
  batch norms of images: it folds the norm into the convolution and leaves no TRANSPOSE between them. Written in one
  dimension, the same three layers become some twenty operators, half of which move data.
* A mean over both image axes becomes an average pooling of the same values. As a MEAN the converter computes it
  channels first, with a TRANSPOSE and a RESHAPE on either side, and an Edge TPU takes no such MEAN.

Functions that are not listed here run on the sequence itself, so nothing has to be known of a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

_IMAGE_RANK, _SEQUENCE_RANK = 4, 3


def rewritten(module: nn.Module, *, last: bool) -> nn.Module:
    """A module that computes the same. ``last``: sequences enter and leave as (batch, time, channels)."""
    import torch

    class Rewritten(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, value: torch.Tensor) -> torch.Tensor:
            mode = _mode()
            if last and value.dim() == _SEQUENCE_RANK:
                value = mode.enter(value.unsqueeze(2).permute(0, 3, 1, 2))
            with mode:
                result: torch.Tensor = self.module(value)
            if last and result.dim() == _SEQUENCE_RANK:
                result = mode.image(result).permute(0, 2, 3, 1).squeeze(2)
            return result

    return Rewritten().eval()


def _mode() -> Any:
    """The mode that swaps functions as they are called; a class made here, so that torch is imported late."""
    import torch
    from torch.overrides import TorchFunctionMode

    functional = torch.nn.functional

    class Rewriting(TorchFunctionMode):
        """``images`` holds, by identity, each sequence and the image of width 1 that it is a view of."""

        def __init__(self) -> None:
            super().__init__()
            self.images: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

        def enter(self, image: torch.Tensor) -> torch.Tensor:
            """The sequence of an image of width 1, which is kept beside it."""
            sequence = image.squeeze(3)
            self.images[id(sequence)] = (sequence, image)
            return sequence

        def image(self, value: torch.Tensor) -> torch.Tensor:
            """A sequence, or what is combined with one, with a width of 1."""
            known = self.images.get(id(value))
            return value.unsqueeze(-1) if known is None else known[1]

        def is_image(self, value: Any) -> bool:
            """Whether a sequence is carried as an image."""
            return id(value) in self.images

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if args and isinstance(args[0], torch.Tensor) and args[0].dim() == _IMAGE_RANK:
                return _spatial_mean(func, args, kwargs)
            if func in conversions:
                return conversions[func](self, func, args, kwargs)
            if func in pointwise and any(self.is_image(item) for item in args):
                lifted = [self.image(v) if isinstance(v, torch.Tensor) and v.dim() else v for v in args]
                return self.enter(func(*lifted, **kwargs))
            return func(*args, **kwargs)

    def conv(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(names, args, strict=False)) | dict(kwargs)
        if given["input"].dim() != _SEQUENCE_RANK:
            return func(*args, **kwargs)
        padding, step = given.get("padding", 0), _one(given.get("dilation", 1))
        answer = functional.conv2d(
            mode.image(given["input"]),
            given["weight"].unsqueeze(-1),
            given.get("bias"),
            stride=(_one(given.get("stride", 1)), 1),
            padding=padding if isinstance(padding, str) else (_one(padding), 0),
            dilation=(step, step),  # the width is 1, so it does not matter there, and an Edge TPU wants both equal
            groups=given.get("groups", 1),
        )
        return mode.enter(answer)

    def norm(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if not mode.is_image(args[0]):
            return func(*args, **kwargs)
        return mode.enter(func(mode.image(args[0]), *args[1:], **kwargs))

    def mean(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
        axes = tuple(axes) if isinstance(axes, tuple | list) else (axes,)
        if not mode.is_image(args[0]) or axes not in {(2,), (-1,)}:
            return func(*args, **kwargs)
        keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
        pooled = _pooled(mode.image(args[0]))
        return mode.enter(pooled) if keep else pooled.flatten(1)

    def adaptive(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        size = kwargs.get("output_size", args[1] if len(args) > 1 else None)
        if not mode.is_image(args[0]) or size not in {1, (1,)}:
            return func(*args, **kwargs)
        return mode.enter(_pooled(mode.image(args[0])))

    def flatten(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        single = mode.is_image(args[0]) and args[0].shape[2] == 1
        return func(mode.image(args[0]) if single else args[0], *args[1:], **kwargs)

    def pad(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        amounts = kwargs.get("pad", args[1] if len(args) > 1 else ())
        if not mode.is_image(args[0]) or len(amounts) != 2 or len(args) + len(kwargs) > 2:
            return func(*args, **kwargs)
        return mode.enter(func(mode.image(args[0]), (0, 0, *amounts)))

    def join(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        axis = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        if axis not in {0, 1, 2} or not any(mode.is_image(item) for item in args[0]):
            return func(*args, **kwargs)
        return mode.enter(func([mode.image(item) for item in args[0]], dim=axis))

    def part(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        axis = kwargs.get("dim", args[2] if len(args) > 2 else 0)
        if not mode.is_image(args[0]) or axis not in {0, 1, 2}:
            return func(*args, **kwargs)
        return tuple(mode.enter(item) for item in func(mode.image(args[0]), args[1], dim=axis))

    def turn(mode: Rewriting, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        value, axes = args[0], args[1:]
        if value.dim() != _SEQUENCE_RANK or sorted(axis % _SEQUENCE_RANK for axis in axes) != [1, 2]:
            return func(*args, **kwargs)
        if mode.is_image(value):  # (batch, channels, time, 1) -> (batch, time, channels)
            return mode.image(value).permute(0, 2, 3, 1).squeeze(2)
        answer = func(*args, **kwargs)
        mode.images[id(answer)] = (answer, value.unsqueeze(2).permute(0, 3, 1, 2))
        return answer

    both = (torch, torch.Tensor)
    conversions: dict[Any, Callable[..., Any]] = {
        functional.conv1d: conv,
        torch.conv1d: conv,
        functional.batch_norm: norm,
        torch.batch_norm: norm,
        functional.adaptive_avg_pool1d: adaptive,
        functional.pad: pad,
        torch.cat: join,
        **dict.fromkeys([place.mean for place in both], mean),
        **dict.fromkeys([place.flatten for place in both], flatten),
        **dict.fromkeys([place.chunk for place in both], part),
        **dict.fromkeys([place.split for place in both], part),
        **dict.fromkeys([place.transpose for place in both], turn),
    }
    names = ("relu", "sigmoid", "tanh", "add", "mul", "sub", "div", "maximum", "minimum", "clamp", "abs", "neg")
    pointwise = {getattr(place, name) for place in both for name in names}
    pointwise |= {getattr(torch.Tensor, f"__{name}__") for name in ("add", "radd", "mul", "rmul", "sub", "truediv")}
    layers = ("relu", "relu6", "hardtanh", "gelu", "silu", "hardswish", "hardsigmoid", "leaky_relu", "elu", "dropout")
    pointwise |= {getattr(functional, name) for name in layers} | {torch.relu_, torch.Tensor.relu_}
    return Rewriting()


def _spatial_mean(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A mean over (height, width) as an average pooling; any other function as it is."""
    import torch

    if func in {torch.Tensor.mean, torch.mean}:
        axes = kwargs.get("dim", args[1] if len(args) > 1 else None)
        keep = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
        if isinstance(axes, tuple | list) and {axis % _IMAGE_RANK for axis in axes} == {2, 3}:
            pooled = _pooled(args[0])
            return pooled if keep else pooled.flatten(1)
    if func is torch.nn.functional.adaptive_avg_pool2d:
        size = kwargs.get("output_size", args[1] if len(args) > 1 else None)
        if size == 1 or size in {(1, 1)}:
            return _pooled(args[0])
    return func(*args, **kwargs)


def _pooled(image: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.avg_pool2d(image, tuple(image.shape[2:]))


def _one(value: Any) -> int:
    return int(value[0] if isinstance(value, tuple | list) else value)
