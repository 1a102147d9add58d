"""int8 simulated in torch: weights and activations are rounded where the int8 graph will round them.

Works on any module: the functions it calls are seen through a torch function mode, so nothing of it is rewritten. A
batch norm after a convolution is folded into it first, an activation function after an operator is fused with it, as
the converter does both. Rounding lets gradients through. What is decomposed by the converter, such as a layer norm, is
rounded once at its output: the simulation guides training, it is not what is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from exporters.backends.flatbuffer import OUTPUT
from exporters.network import Gates, Network
from exporters.quantise.ptq import MARGIN

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.overrides import TorchFunctionMode

Site = tuple[str, int]
"""A piece and the number of a tensor in it, or a seam: ``("slot", 2)``."""

_WEIGHTED = frozenset({"conv1d", "conv2d", "linear"})
_FUSED = frozenset({"relu", "relu_", "relu6", "hardtanh"})
_COMPUTING = frozenset(
    {
        *("add", "sub", "mul", "div", "radd", "rmul", "rsub", "__add__", "__sub__", "__mul__", "__radd__", "__rmul__"),
        *("__rsub__", "__truediv__", "__iadd__", "__imul__", "add_", "mul_", "true_divide", "matmul", "__matmul__"),
        *("bmm", "baddbmm", "einsum", "sigmoid", "tanh", "gelu", "silu", "hardswish", "hardsigmoid", "softmax"),
        *("mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "layer_norm"),
        *("batch_norm", "group_norm", "instance_norm", "glu", "exp", "sqrt", "rsqrt", "pow", "elu", "leaky_relu"),
        *("scaled_dot_product_attention", "multi_head_attention_forward", "cat", "cumsum", "norm", "normalize"),
    }
)
_BATCH_NORM = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_LOOKING = frozenset({"__get__", "dim", "size", "numel", "is_floating_point", "stride", "element_size"})


@dataclass(slots=True, kw_only=True)
class Ranges:
    """Least and greatest value seen at each site, zero among them."""

    found: dict[Site, tuple[float, float]] = field(default_factory=dict)

    def widen(self, site: Site, value: torch.Tensor) -> None:
        """Take in the values of a tensor."""
        low, high = self.found.get(site, (0.0, 0.0))
        self.found[site] = (min(low, float(value.min())), max(high, float(value.max())))


def run(
    network: Network,
    modules: Sequence[nn.Module],
    value: torch.Tensor,
    gates: Gates,
    ranges: Ranges,
    *,
    observing: bool,
    per_tensor_dense: bool,
) -> torch.Tensor:
    """Logits of scaled samples, (N, *input), by ``modules``, one a piece of the network.

    ``observing``: compute in float and widen ``ranges``; otherwise round to them.
    """
    mode = _mode(ranges, observing=observing, per_tensor_dense=per_tensor_dense)
    slots = {name: joint.slot for joint in network.joints for name, end in joint.ends if end == OUTPUT}
    value = mode.round(value, ("input", 0))
    for piece, module in zip(network.pieces, modules, strict=True):
        if piece.runs(gates):
            with mode.piece(piece.name):
                value = module(value)
            value = mode.round(value, ("slot", slots[piece.name]) if piece.name in slots else (piece.name, -1))
    return value


def _round(value: torch.Tensor) -> torch.Tensor:
    """To the nearest whole number, with the gradient of doing nothing."""
    return value + (value.round() - value).detach()


def round_activation(value: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Values as int8 of this range holds them; what lies outside saturates."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = max(high - low, 1e-9) / 255
    zero = round(-128 - low / step)
    return (_round(value / step + zero).clamp(-128, 127) - zero) * step


def round_weight(weight: torch.Tensor, *, per_tensor: bool) -> torch.Tensor:
    """Weights, output channels first, as symmetric int8: one step a channel, or one for all.

    The gradient goes through the step as well, so a weight that makes it too coarse for the others is told so.
    """
    size = weight.abs()
    peak = size.max() if per_tensor else size.reshape(len(weight), -1).max(1).values
    step = (peak.clamp_min(1e-9) / 127).reshape(-1, *[1] * (weight.dim() - 1))
    return _round(weight / step) * step


def _mode(ranges: Ranges, *, observing: bool, per_tensor_dense: bool) -> Any:
    """The torch function mode of one run; it is a class of torch, which is imported late."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Rounding(TorchFunctionMode):
        """Results wait to be rounded until something uses them: what is fused with them comes before that."""

        def __init__(self) -> None:
            super().__init__()
            self._piece, self._count = "", 0
            self._waiting: dict[int, tuple[torch.Tensor, Callable[..., Any] | None]] = {}
            self._rounded: dict[int, torch.Tensor] = {}

        def piece(self, name: str) -> TorchFunctionMode:
            self._piece, self._count = name, 0
            self._waiting, self._rounded = {}, {}
            return self

        def round(self, value: torch.Tensor, site: Site) -> torch.Tensor:
            if observing:
                ranges.widen(site, value.detach())
                return value
            low, high = ranges.found[site]
            return round_activation(value, low * (1 + MARGIN), high * (1 + MARGIN))

        def settled(self, value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or id(value) not in self._waiting:
                return value
            if id(value) not in self._rounded:
                self._rounded[id(value)] = self.round(value, (self._piece, self._count))
                self._count += 1
            return self._rounded[id(value)]

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            name = getattr(func, "__name__", "")
            if name in _LOOKING or not args:
                return func(*args, **kwargs)
            if name in _FUSED:
                return self._wait(func(*args, **kwargs))
            if name == "batch_norm" and id(args[0]) in self._waiting:
                folding = self._waiting[id(args[0])][1]
                if folding is not None:
                    given = {**dict(zip(_BATCH_NORM, args, strict=False)), **kwargs}
                    values = [given.get(key) for key in _BATCH_NORM[1:5]]
                    return self._wait(folding(*values, eps=given.get("eps", 1e-5)))
            args = tuple(
                self.settled(item) if not isinstance(item, list | tuple) else self._each(item) for item in args
            )
            if name in _WEIGHTED:
                return self._weighted(func, name, args, kwargs)
            answer = func(*args, **{key: self.settled(item) for key, item in kwargs.items()})
            computed = name in _COMPUTING and isinstance(answer, torch.Tensor) and answer.is_floating_point()
            return self._wait(answer) if computed else answer

        def _each(self, items: Any) -> Any:
            return type(items)(self.settled(item) for item in items) if type(items) in {list, tuple} else items

        def _wait(self, answer: torch.Tensor, folding: Callable[..., Any] | None = None) -> torch.Tensor:
            self._waiting[id(answer)] = (answer, folding)
            return answer

        def _weighted(self, func: Any, name: str, args: Any, kwargs: Any) -> torch.Tensor:
            value, weight, *rest = args
            if "bias" in kwargs:
                rest, kwargs = [kwargs["bias"], *rest], {key: v for key, v in kwargs.items() if key != "bias"}
            bias, rest = (rest[0] if rest else None), rest[1:]
            per_tensor = name == "linear" and per_tensor_dense

            def compute(weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
                ready = weight if observing else round_weight(weight, per_tensor=per_tensor)
                answer: torch.Tensor = func(value, ready, bias, *rest, **kwargs)
                return answer

            def folded(mean: Any, variance: Any, gamma: Any, beta: Any, *, eps: float) -> torch.Tensor:
                factor = (variance + eps).rsqrt() * (1 if gamma is None else gamma)
                shift = (0 if beta is None else beta) + ((0 if bias is None else bias) - mean) * factor
                return compute(weight * factor.reshape(-1, *[1] * (weight.dim() - 1)), shift)

            return self._wait(compute(weight, bias), folded)

    return Rounding()
