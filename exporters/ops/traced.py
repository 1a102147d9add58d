"""Operators of a torch module, seen by running it once: what the budget check needs before anything is converted.

The module runs as the TFLite back end rewrites it, and what the converter folds or adds is folded or added here:

* batch normalisation goes into the layer before it, which gets a bias from it; a norm with no such layer before it
  stays, as a multiplication and an addition; an activation goes into the operator before it;
* a convolution gets a bias in any case, a convolution of one input channel is a depthwise one, and padding that is not
  what TFLite calls SAME is an operator of its own;
* a sequence becomes an image of width 1 and back by a RESHAPE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from device_profiles.cost import Op, OpKind
from exporters.backends.rewrite import rewritten
from exporters.ops.liveness import Access, live_bytes
from tamiyo_runtime.contracts.plan import Precision

if TYPE_CHECKING:
    import torch
    from torch import nn

_ITEM_BYTES = {Precision.FLOAT32: 4, Precision.INT8: 1}
_FREE = frozenset({"view", "_unsafe_view", "t", "detach", "alias", "clone", "expand", "empty", "squeeze", "unsqueeze"})
_NORMS = frozenset({"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})
_ACTIVATIONS = frozenset({"relu", "relu_", "hardtanh", "hardtanh_"})
_PRODUCTS = {"addmm": "FULLY_CONNECTED", "mm": "FULLY_CONNECTED", "bmm": "BATCH_MATMUL", "baddbmm": "BATCH_MATMUL"}
_LAYOUTS = ((0, 3, 1, 2), (0, 2, 3, 1))  # channels first to last and back: the converter's tensors are last already
_SEQUENCE_RANK, _TIME = 3, 2
_CODES: dict[OpKind, dict[str, tuple[str, ...]]] = {
    OpKind.POOL: {
        "MEAN": ("mean", "sum", "amax"),
        "AVERAGE_POOL_2D": ("avg_pool2d", "_adaptive_avg_pool2d"),
        "MAX_POOL_2D": ("max_pool2d_with_indices",),
    },
    OpKind.ELEMENTWISE: {
        "ADD": ("add", "add_"),
        "SUB": ("sub", "rsub"),
        "MUL": ("mul", "mul_"),
        "DIV": ("div",),
        "MAXIMUM": ("maximum",),
        "MINIMUM": ("minimum",),
        "SELECT_V2": ("where",),
    },
    OpKind.ACTIVATION: {
        "RELU": ("relu", "relu_"),
        "RELU6": ("hardtanh", "hardtanh_"),
        "LEAKY_RELU": ("leaky_relu",),
        "HARD_SWISH": ("hardswish",),
        "ABS": ("abs",),
    },
    OpKind.DATA_MOVEMENT: {
        "CAST": ("_to_copy",),
        "CONCATENATION": ("cat",),
        "TRANSPOSE": ("permute", "transpose"),
        "STRIDED_SLICE": ("slice",),
        "SPLIT": ("split",),
        "PAD": ("constant_pad_nd",),
    },
    OpKind.SOFTMAX: {"SOFTMAX": ("_softmax",), "LOGISTIC": ("sigmoid",), "TANH": ("tanh",), "GELU": ("gelu",)},
}
_KIND_OF = {name: kind for kind, codes in _CODES.items() for names in codes.values() for name in names}
_CODE_OF = {name: code for codes in _CODES.values() for code, names in codes.items() for name in names}


def trace(module: nn.Module, example: torch.Tensor, *, precision: Precision) -> tuple[Op, ...]:
    """The operators that one inference of ``module`` runs; sizes in bytes as stored in ``precision``."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    recorder = _Recorder(_ITEM_BYTES[precision], [*module.parameters(), *module.buffers()])

    class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves the base untyped
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            answer = func(*args, **(kwargs or {}))
            recorder.see(func.overloadpacket.__name__, args, answer)
            return answer

    last = example.movedim(1, -1) if example.dim() == _SEQUENCE_RANK else example
    with torch.no_grad(), Recording():  # type: ignore[no-untyped-call]  # likewise
        rewritten(module, last=True)(last)
    return recorder.finish()


class _Recorder:
    """Collects operators and the tensors they read and write, by storage; ``kept`` holds the storages alive."""

    def __init__(self, item: int, constants: Sequence[torch.Tensor]) -> None:
        self.item = item
        self.constants = {_key(value) for value in constants}
        self.ops: list[Op] = []
        self.accesses: list[Access[int]] = []
        self.sizes: dict[int, int] = {}
        self.kept: list[Any] = []
        self.same: dict[int, int] = {}

    def see(self, name: str, args: Sequence[Any], answer: Any) -> None:
        """Note one call of torch's; views and what is fused only rename a tensor."""
        import torch

        out = answer[0] if isinstance(answer, tuple | list) and len(answer) else answer
        if not isinstance(out, torch.Tensor) or out.numel() == 0:
            return
        self.kept.extend((args, answer))
        operands = [value for item in args for value in (item if isinstance(item, tuple | list) else (item,))]
        operands = [value for value in operands if isinstance(value, torch.Tensor)]
        source = operands[0] if operands else None
        if name in {"unsqueeze", "squeeze"} and source is not None and len(args) > 1 and args[1] == _TIME:
            self._add(self._plain(name, [source], out), [source], out, code="RESHAPE", kind=OpKind.DATA_MOVEMENT)
        elif name in _FREE or (name == "permute" and tuple(args[1]) in _LAYOUTS) or self._fuses(name, args):
            if source is not None:
                self.same[_key(out)] = self._root(source)
        elif name in _PRODUCTS:
            self._product(name, operands, out)
        elif name == "convolution":
            self._convolution(args, out)
        elif name in _NORMS:  # nothing before it that it could go into
            for code in ("MUL", "ADD"):
                op = self._plain(name, [args[0]], out)
                channels = args[0].shape[1]
                op = replace(op, params=channels, weight_bytes=channels * self.item)
                self._add(op, [args[0]], out, code=code, kind=OpKind.ELEMENTWISE)
        else:
            if operands and all(map(self._constant, operands)):  # computed once, when it is converted
                self.constants.add(_key(out))
                return
            inputs = [value for value in operands if not self._constant(value)]
            self._add(self._plain(name, operands, out), inputs, out)

    def finish(self) -> tuple[Op, ...]:
        """The operators with what lives beside each."""
        live = live_bytes(self.accesses, self.sizes)
        return tuple(replace(op, live_bytes=size) for op, size in zip(self.ops, live, strict=True))

    def _fuses(self, name: str, args: Sequence[Any]) -> bool:
        """Whether the call disappears in the operator before it; a norm leaves its offset there as a bias."""
        if not self.ops or name not in _ACTIVATIONS | _NORMS:
            return False
        before = self.ops[-1]
        follows = self._root(args[0]) in self.accesses[-1].writes
        if name in _ACTIVATIONS:
            return follows and before.code in {
                *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL"),
            }
        return name in _NORMS and follows and before.code in {"CONV_2D", "DEPTHWISE_CONV_2D"}

    def _product(self, name: str, operands: Sequence[torch.Tensor], out: torch.Tensor) -> None:
        matrix, weight = operands[-2:]  # the weight arrives transposed, no longer as a parameter
        batched = name in {"bmm", "baddbmm"}
        weights = [] if batched else [*operands[:-2], weight]
        inputs = list(operands) if batched else [matrix]
        rows, columns = out.shape[-2:]
        op = self._op(OpKind.FULLY_CONNECTED, inputs, out, params=sum(value.numel() for value in weights))
        op = replace(
            op,
            macs=out.numel() * matrix.shape[-1],
            gemm=(rows, matrix.shape[-1], columns),
            groups=out.numel() // (rows * columns),
        )
        self._add(op, inputs, out, code=_PRODUCTS[name])

    def _convolution(self, args: Sequence[Any], out: torch.Tensor) -> None:
        image, weight, stride, padding, dilation, groups = args[0], args[1], *args[3:6], args[8]
        depthwise = groups == image.shape[1]  # as is one of a single input channel
        kind = OpKind.DEPTHWISE_CONV2D if depthwise else OpKind.CONV2D
        channels, window = out.shape[1], math.prod(weight.shape[2:])
        op = self._op(kind, [image], out, params=weight.numel() + channels)
        wide = groups if not depthwise else channels
        op = replace(
            op,
            macs=out.numel() * math.prod(weight.shape[1:]),
            gemm=(out.numel() // channels, math.prod(weight.shape[1:]), channels // wide),
            groups=wide,
            window=window,
        )
        if any(padding) and not _is_same(image.shape[2:], weight.shape[2:], stride, padding, dilation):
            size = image.shape[:2].numel() * math.prod(n + 2 * p for n, p in zip(image.shape[2:], padding, strict=True))
            padded = replace(self._plain("pad", [image], image), output_bytes=size * self.item)
            self._add(padded, [image], image, code="PAD", kind=OpKind.DATA_MOVEMENT)
            op = replace(op, input_bytes=size * self.item)
        self._add(op, [image], out, code="DEPTHWISE_CONV_2D" if depthwise else "CONV_2D")

    def _plain(self, name: str, operands: Sequence[torch.Tensor], out: torch.Tensor) -> Op:
        weights = [value for value in operands if self._constant(value)]
        inputs = [value for value in operands if not self._constant(value)]
        kind = _KIND_OF.get(name, OpKind.SOFTMAX)
        op = self._op(kind, inputs, out, params=sum(value.numel() for value in weights))
        return replace(op, code=_CODE_OF.get(name, name.strip("_").upper()))

    def _op(self, kind: OpKind, inputs: Sequence[torch.Tensor], out: torch.Tensor, *, params: int) -> Op:
        return Op(
            kind=kind,
            macs=0,
            weight_bytes=params * self.item,
            input_bytes=sum(value.numel() for value in inputs) * self.item,
            output_bytes=out.numel() * self.item,
            params=params,
        )

    def _add(
        self,
        op: Op,
        inputs: Sequence[torch.Tensor],
        out: torch.Tensor,
        *,
        code: str | None = None,
        kind: OpKind | None = None,
    ) -> None:
        self.ops.append(replace(op, code=code or op.code, kind=kind or op.kind))
        reads, written = [self._root(value) for value in inputs], self._root(out)
        for key, value in zip(reads, inputs, strict=True):
            self.sizes.setdefault(key, value.numel() * self.item)
        self.sizes[written] = max(self.sizes.get(written, 0), op.output_bytes)
        self.accesses.append(Access(reads=reads, writes=[written]))

    def _constant(self, value: torch.Tensor) -> bool:
        return self._root(value) in self.constants

    def _root(self, value: torch.Tensor) -> int:
        key = _key(value)
        while key in self.same and self.same[key] != key:
            key = self.same[key]
        return key


def _key(value: torch.Tensor) -> int:
    return value.untyped_storage().data_ptr()


def _is_same(
    sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> bool:
    """Whether padding alike on both ends is what SAME means, which for an even size and stride 2 it is not."""
    for n, k, step, edge, spread in zip(sizes, kernel, stride, padding, dilation, strict=True):
        reach = (k - 1) * spread + 1
        if max((-(-n // step) - 1) * step + reach - n, 0) != 2 * edge:
            return False
    return True
