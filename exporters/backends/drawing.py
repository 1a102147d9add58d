"""Draw a TFLite graph operator by operator, without a converter: milliseconds a graph instead of seconds.

What is drawn has random weights and is made to be timed, not to be right about anything. Int8 tensors all have one
scale, which keeps every kernel's rescaling factor well inside what interpreters take (see `ranges`); weights of
convolutions and fully connected layers are quantised per channel, as the quantiser does it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.backends.flatbuffer import INPUT, OUTPUT
from exporters.backends.toolchain import tool
from tamiyo_runtime.contracts.plan import Precision

_STEP = 0.05  # of int8 activations: they span +-6.4
_SHARE_STEP, _SHARE_ZERO = 1 / 256, -128  # what the format asks of the outputs of logistic and softmax
_FILE_VERSION = 3


@dataclass(frozen=True, slots=True)
class Node:
    """A tensor of the drawing; ``shape`` with batch 1 first."""

    index: int
    shape: tuple[int, ...]


class Drawing:
    """A graph that is being drawn. Every method adds one operator and returns its output; ``done`` gives the file."""

    def __init__(self, shape: Sequence[int], precision: Precision, rng: np.random.Generator) -> None:
        """``shape`` of the input: (1, height, width, channels) or (1, features)."""
        self._schema: Any = tool("ai_edge_litert.schema_py_generated")
        self._int8 = precision is Precision.INT8
        self._rng = rng
        self._buffers: list[Any] = [self._schema.BufferT()]  # by the format the first one is empty
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[str] = []
        self.input = self._tensor(tuple(shape))

    def conv(
        self, x: Node, channels: int, kernel: tuple[int, int] = (1, 1), stride: int = 1, relu: bool = True
    ) -> Node:
        """A convolution with same padding, its ReLU fused."""
        wide = x.shape[3]
        weights = self._weights((channels, *kernel, wide), fan_in=math.prod(kernel) * wide, axis=0)
        out = self._tensor((1, _less(x.shape[1], stride), _less(x.shape[2], stride), channels))
        return self._add(
            "CONV_2D", (x, weights, self._bias(channels, weights)), out, self._window("Conv2D", stride, relu)
        )

    def depthwise(self, x: Node, kernel: tuple[int, int] = (3, 3), stride: int = 1, relu: bool = True) -> Node:
        """A depth-wise convolution with same padding, multiplier 1."""
        wide = x.shape[3]
        weights = self._weights((1, *kernel, wide), fan_in=math.prod(kernel), axis=3)
        options = self._window("DepthwiseConv2D", stride, relu)
        options.depthMultiplier = 1
        out = self._tensor((1, _less(x.shape[1], stride), _less(x.shape[2], stride), wide))
        return self._add("DEPTHWISE_CONV_2D", (x, weights, self._bias(wide, weights)), out, options)

    def dense(self, x: Node, features: int, relu: bool = True) -> Node:
        """A fully connected layer on (1, features)."""
        weights = self._weights((features, x.shape[1]), fan_in=x.shape[1], axis=0)
        options = self._options("FullyConnected", relu)
        bias = self._bias(features, weights)
        return self._add("FULLY_CONNECTED", (x, weights, bias), self._tensor((1, features)), options)

    def pool(self, x: Node, size: int, *, largest: bool) -> Node:
        """Pooling by windows of size x size that do not overlap."""
        options = self._window("Pool2D", size, relu=False)
        options.filterHeight = options.filterWidth = size
        out = self._tensor((1, _less(x.shape[1], size), _less(x.shape[2], size), x.shape[3]))
        return self._add("MAX_POOL_2D" if largest else "AVERAGE_POOL_2D", (x,), out, options)

    def mean(self, x: Node) -> Node:
        """Mean over height and width, kept as 1 x 1."""
        options = self._schema.ReducerOptionsT()
        options.keepDims = True
        return self._add("MEAN", (x, self._integers((1, 2))), self._tensor((1, 1, 1, x.shape[3])), options)

    def combine(self, code: str, x: Node, y: Node, *, relu: bool = False) -> Node:
        """ADD, SUB or MUL, perhaps with its ReLU fused; ``y`` may be (1, 1, 1, channels)."""
        return self._add(code, (x, y), self._tensor(x.shape), self._options(code.capitalize(), relu=relu))

    def constant(self, shape: Sequence[int]) -> Node:
        """A constant tensor of activations, such as the second operand of a scaling."""
        values = self._rng.integers(-60, 61, tuple(shape)).astype(np.int8)
        return self._tensor(tuple(shape), values if self._int8 else values.astype(np.float32) * np.float32(_STEP))

    def unary(self, code: str, x: Node) -> Node:
        """RELU, RELU6, HARD_SWISH, TANH, LOGISTIC or SOFTMAX: an operator of its own, shape kept."""
        options = None
        if code == "SOFTMAX":
            options = self._schema.SoftmaxOptionsT()
            options.beta = 1.0
        if code in {"LOGISTIC", "SOFTMAX"}:
            return self._add(code, (x,), self._tensor(x.shape, step=_SHARE_STEP, zero=_SHARE_ZERO), options)
        if code == "TANH":
            return self._add(code, (x,), self._tensor(x.shape, step=1 / 128), options)
        return self._add(code, (x,), self._tensor(x.shape), options)

    def reshape(self, x: Node, shape: Sequence[int]) -> Node:
        """The same values in another shape."""
        options = self._schema.ReshapeOptionsT()
        options.newShape = list(shape)
        return self._add("RESHAPE", (x, self._integers(shape)), self._like(x, tuple(shape)), options)

    def flatten(self, x: Node) -> Node:
        """As one vector, (1, features)."""
        return self.reshape(x, (1, math.prod(x.shape)))

    def pad(self, x: Node, amount: int) -> Node:
        """Zeros around height and width."""
        amounts = self._tensor((4, 2), np.array([[0, 0], [amount] * 2, [amount] * 2, [0, 0]], np.int32))
        _, height, width, channels = x.shape
        out = self._like(x, (1, height + 2 * amount, width + 2 * amount, channels))
        return self._add("PAD", (x, amounts), out, self._schema.PadOptionsT())

    def concat(self, *parts: Node) -> Node:
        """Along the last axis."""
        options = self._options("Concatenation", relu=False)
        options.axis = len(parts[0].shape) - 1
        out = self._like(parts[0], (*parts[0].shape[:-1], sum(part.shape[-1] for part in parts)))
        return self._add("CONCATENATION", parts, out, options)

    def transpose(self, x: Node, order: Sequence[int]) -> Node:
        """Axes in another order."""
        out = self._like(x, tuple(x.shape[axis] for axis in order))
        return self._add("TRANSPOSE", (x, self._integers(order)), out, self._schema.TransposeOptionsT())

    def done(self, output: Node) -> bytes:
        """The file; the same drawing gives the same bytes."""
        schema = self._schema
        self._tensors[self.input.index].name, self._tensors[output.index].name = INPUT.encode(), OUTPUT.encode()
        main = schema.SubGraphT()
        main.name, main.tensors, main.operators = b"main", self._tensors, self._operators
        main.inputs, main.outputs = [self.input.index], [output.index]
        model = schema.ModelT()
        model.version, model.description = _FILE_VERSION, b""
        model.subgraphs, model.buffers, model.operatorCodes = [main], self._buffers, [*map(self._code, self._codes)]
        return bytes(tool("ai_edge_litert.tools.flatbuffer_utils").convert_object_to_bytearray(model))

    def _code(self, name: str) -> Any:
        code = self._schema.OperatorCodeT()
        code.builtinCode = getattr(self._schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        return code

    def _add(self, code: str, inputs: Sequence[Node], output: Node, options: Any) -> Node:
        if code not in self._codes:
            self._codes.append(code)
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._codes.index(code)
        operator.inputs, operator.outputs = [node.index for node in inputs], [output.index]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, type(options).__name__[:-1])
        self._operators.append(operator)
        return output

    def _options(self, name: str, relu: bool) -> Any:
        options = getattr(self._schema, f"{name}OptionsT")()
        options.fusedActivationFunction = self._schema.ActivationFunctionType.RELU if relu else 0
        return options

    def _window(self, name: str, stride: int, relu: bool) -> Any:
        options = self._options(name, relu)
        options.padding = self._schema.Padding.SAME
        options.strideH = options.strideW = stride
        if name != "Pool2D":
            options.dilationHFactor = options.dilationWFactor = 1
        return options

    def _weights(self, shape: tuple[int, ...], *, fan_in: int, axis: int) -> Node:
        codes = self._rng.integers(-127, 128, shape).astype(np.int8)
        scale = np.float32(1.5 / (127 * math.sqrt(fan_in)))  # outputs are about as large as inputs
        if not self._int8:
            return self._tensor(shape, codes.astype(np.float32) * scale)
        node = self._tensor(shape, codes)
        quantisation = self._tensors[node.index].quantization
        quantisation.scale, quantisation.zeroPoint = [float(scale)] * shape[axis], [0] * shape[axis]
        quantisation.quantizedDimension = axis
        return node

    def _bias(self, channels: int, weights: Node) -> Node:
        codes = self._rng.integers(-200, 201, channels).astype(np.int32)
        if not self._int8:
            return self._tensor((channels,), codes.astype(np.float32) * np.float32(1e-3))
        node = self._tensor((channels,), codes)
        quantisation = self._schema.QuantizationParametersT()
        quantisation.scale = [scale * _STEP for scale in self._tensors[weights.index].quantization.scale]
        quantisation.zeroPoint = [0] * channels
        self._tensors[node.index].quantization = quantisation
        return node

    def _integers(self, values: Sequence[int]) -> Node:
        return self._tensor((len(values),), np.array(values, np.int32))

    def _like(self, x: Node, shape: tuple[int, ...]) -> Node:
        """An activation with the quantisation of another, as operators that only move values have it."""
        node = self._tensor(shape)
        self._tensors[node.index].quantization = self._tensors[x.index].quantization
        return node

    def _tensor(
        self, shape: tuple[int, ...], data: NDArray[Any] | None = None, *, step: float = _STEP, zero: int = 0
    ) -> Node:
        schema, tensor = self._schema, self._schema.TensorT()
        dtype = data.dtype.name if data is not None else "int8" if self._int8 else "float32"
        tensor.name = f"t{len(self._tensors)}".encode()
        tensor.shape, tensor.type = list(shape), getattr(schema.TensorType, dtype.upper())
        if dtype == "int8":
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [step], [zero]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self._buffers)
            self._buffers.append(buffer)
        self._tensors.append(tensor)
        return Node(len(self._tensors) - 1, shape)


def _less(size: int, stride: int) -> int:
    return -(-size // stride)
