"""Operators of a torch module, seen by running it once: what the budget check needs before anything is converted.

Batch normalisation and the activation after a convolution, linear layer or addition are left out, as the converters
fold them into the operator before.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from device_profiles.cost import Op, OpKind
from tamiyo_runtime.contracts.plan import Precision

if TYPE_CHECKING:
    import torch
    from torch import nn

_ITEM_BYTES = {Precision.FLOAT32: 4, Precision.INT8: 1}
_FREE = frozenset({"view", "_unsafe_view", "t", "detach", "alias", "clone", "expand", "empty"})
_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})
_FUSED = frozenset({"relu", "relu_", "hardtanh", "hardtanh_"})
_KINDS = {
    OpKind.POOL: {"mean", "sum", "amax", "avg_pool2d", "max_pool2d_with_indices", "_adaptive_avg_pool2d"},
    OpKind.ELEMENTWISE: {"add", "add_", "sub", "mul", "mul_", "div", "rsub", "maximum", "minimum", "where"},
    OpKind.ACTIVATION: {"relu", "relu_", "hardtanh", "hardtanh_", "leaky_relu", "hardswish", "abs"},
    OpKind.DATA_MOVEMENT: {"_to_copy", "cat", "permute", "transpose", "slice", "split", "constant_pad_nd", "unsqueeze"},
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}


def trace(module: nn.Module, example: torch.Tensor, *, precision: Precision) -> tuple[Op, ...]:
    """The operators that one inference of ``module`` runs; sizes in bytes as stored in ``precision``."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    item = _ITEM_BYTES[precision]
    found: list[Op] = []

    class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves the base untyped
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = func(*args, **(kwargs or {}))
            name = func.overloadpacket.__name__
            fused = name in _FUSED and bool(found) and _fuses(found[-1].kind)
            if name not in _FREE and name not in _NORMS and not fused:
                op = _op(name, args, answer, item)
                if op is not None:
                    found.append(op)
            return answer

    with torch.no_grad(), Recorder():  # type: ignore[no-untyped-call]  # likewise
        module(example)
    return tuple(found)


def _fuses(kind: OpKind) -> bool:
    return kind in {OpKind.CONV2D, OpKind.DEPTHWISE_CONV2D, OpKind.FULLY_CONNECTED, OpKind.ELEMENTWISE}


def _op(name: str, args: Any, answer: Any, item: int) -> Op | None:
    import torch

    out = answer[0] if isinstance(answer, tuple | list) else answer
    if not isinstance(out, torch.Tensor) or out.numel() == 0:
        return None
    operands = [value for value in args if isinstance(value, torch.Tensor)]
    weights: list[torch.Tensor] = [value for value in operands if isinstance(value, torch.nn.Parameter)]
    if name in {"addmm", "mm", "bmm", "baddbmm"}:  # the weight arrives transposed, no longer as a parameter
        matrix, weight = operands[-2:]
        weights = [weight] if name in {"bmm", "baddbmm"} else [*operands[:-2], weight]
        kind, macs, inputs = OpKind.FULLY_CONNECTED, out.numel() * matrix.shape[-1], [matrix]
        if name in {"bmm", "baddbmm"}:
            weights, inputs = [], operands
    elif name == "convolution":
        image, weight, groups = args[0], args[1], args[8]
        kind = OpKind.DEPTHWISE_CONV2D if groups > 1 and groups == image.shape[1] else OpKind.CONV2D
        macs, inputs = out.numel() * math.prod(weight.shape[1:]), [image]
    else:
        kind, macs = _KIND_OF.get(name, OpKind.SOFTMAX), 0
        inputs = [value for value in operands if not isinstance(value, torch.nn.Parameter)]
    params = sum(value.numel() for value in weights)
    return Op(
        kind=kind,
        macs=macs,
        weight_bytes=params * item,
        input_bytes=sum(value.numel() for value in inputs) * item,
        output_bytes=out.numel() * item,
        params=params,
    )
