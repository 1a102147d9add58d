"""Graphs made to hurt whoever runs them, inside the screening's rules: what an attacker with a trusted key would send.

Every graph has the inputs and outputs that the bundle of `tests.tiny` promises, so nothing but running it tells. TFLite
graphs stand in for ``head`` (x (1, 8) -> y (1, 3), float32), ONNX graphs for ``net``. Made by code; nobody's files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def tflite(
    operator: str,
    options: Any,
    constants: Sequence[Array] = (),
    *,
    data_first: bool = True,
    inner: Sequence[int] = (1, 3),
    x: Sequence[int] = (1, 8),
    version: int = 1,
    more: Callable[[Any], None] | None = None,
) -> bytes:
    """``y = RESHAPE(operator(x, *constants), (1, 3))`` with these options, by the schema's object interface.

    ``inner``: the shape that the file claims for what the operator answers; ``more`` may spoil the model further.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.buffers, graph.tensors = 3, [schema.BufferT()], []
    kinds = {"float32": schema.TensorType.FLOAT32, "int32": schema.TensorType.INT32, "bool": schema.TensorType.BOOL}

    def tensor(name: str, shape: Sequence[int], dtype: str = "float32", data: Array | None = None) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), kinds[dtype], 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            made.buffer = len(model.buffers)
            model.buffers.append(buffer)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def step(name: str, choice: Any, inputs: Sequence[int], outputs: Sequence[int], step_version: int = 1) -> None:
        code, made = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), step_version
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes), list(inputs), list(outputs)
        if choice is not None:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(choice).__name__.removesuffix("T"))
            made.builtinOptions = choice
        model.operatorCodes.append(code)
        graph.operators.append(made)

    model.operatorCodes, graph.operators, model.subgraphs = [], [], [graph]
    source = tensor("x", x)
    stored = [tensor(f"c{i}", value.shape, str(value.dtype), value) for i, value in enumerate(constants)]
    middle = tensor("middle", inner)
    target = tensor("y", (1, 3))
    shape = tensor("shape", (2,), "int32", np.array([1, 3], np.int32))
    step(operator, options, [source, *stored] if data_first else [*stored, source], [middle], version)
    step("RESHAPE", None, [middle, shape], [target])
    graph.inputs, graph.outputs = [source], [target]
    if more is not None:
        more(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _schema() -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema


def _options(name: str, **values: Any) -> Any:
    made = getattr(_schema(), f"{name}T")()
    for key, value in values.items():
        setattr(made, key, value)
    return made


def ints(*values: int) -> Array:
    """A constant vector of int32."""
    return np.array(values, np.int32)


def tflite_reshape_overflow() -> bytes:
    """A new shape whose product overflows 32 bits to the right number of elements."""
    return tflite("RESHAPE", None, [ints(1 << 16, 1 << 16, 8, 1)], inner=(1, 8))


def tflite_reshape_negative() -> bytes:
    """A new shape with two unknown dimensions."""
    return tflite("RESHAPE", None, [ints(-1, -7)], inner=(1, 8))


def tflite_strided_slice_by_zero() -> bytes:
    """A slice that takes steps of nothing."""
    return tflite("STRIDED_SLICE", _options("StridedSliceOptions"), [ints(0, 0), ints(1, 3), ints(0, 0)])


def tflite_pool(**options: Any) -> Callable[[], bytes]:
    """A pooling over (1, 8) seen as an image, with options out of range."""

    def make() -> bytes:
        chosen = {"strideW": 1, "strideH": 1, "filterWidth": 1, "filterHeight": 1, **options}
        return _image("MAX_POOL_2D", _options("Pool2DOptions", **chosen))

    return make


def tflite_conv(**options: Any) -> Callable[[], bytes]:
    """A convolution over (1, 8) seen as an image, with options out of range."""

    def make() -> bytes:
        chosen = {"strideW": 1, "strideH": 1, "dilationWFactor": 1, "dilationHFactor": 1, **options}
        kernel = np.ones((3, 1, 1, 1), np.float32)
        return _image("CONV_2D", _options("Conv2DOptions", **chosen), [kernel, np.zeros(3, np.float32)])

    return make


def _image(operator: str, options: Any, constants: Sequence[Array] = ()) -> bytes:
    """``operator`` on x seen as (1, 2, 4, 1): a reshape is put before it."""

    def before(model: Any) -> None:
        schema, graph = _schema(), model.subgraphs[0]
        buffer, shape, image, code, step = (
            schema.BufferT(),
            schema.TensorT(),
            schema.TensorT(),
            schema.OperatorCodeT(),
            schema.OperatorT(),
        )
        buffer.data = np.frombuffer(ints(1, 2, 4, 1).tobytes(), np.uint8)
        model.buffers.append(buffer)
        shape.name, shape.shape, shape.type, shape.buffer = "s", [4], schema.TensorType.INT32, len(model.buffers) - 1
        image.name, image.shape, image.type, image.buffer = "image", [1, 2, 4, 1], schema.TensorType.FLOAT32, 0
        graph.tensors += [shape, image]
        count = len(graph.tensors)
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RESHAPE
        code.version = 1
        model.operatorCodes.append(code)
        step.opcodeIndex, step.inputs, step.outputs = len(model.operatorCodes) - 1, [0, count - 2], [count - 1]
        graph.operators[0].inputs = [count - 1, *graph.operators[0].inputs[1:]]
        graph.operators.insert(0, step)

    return tflite(operator, options, constants, inner=(1, 2, 4, 1), more=before)


def tflite_gather(axis: int, *indices: int) -> Callable[[], bytes]:
    """Gathers along an axis, or at indices, that are not there."""
    return lambda: tflite("GATHER", _options("GatherOptions", axis=axis), [ints(*indices)])


def tflite_transpose(*order: int) -> Callable[[], bytes]:
    """A permutation that is none."""
    return lambda: tflite("TRANSPOSE", _options("TransposeOptions"), [ints(*order)], inner=(8, 1))


def tflite_pad(*sizes: int) -> Callable[[], bytes]:
    """Pads by absurd or negative amounts; four numbers, two a dimension."""
    return lambda: tflite("PAD", _options("PadOptions"), [np.array(sizes, np.int32).reshape(2, 2)])


def tflite_tile(*times: int) -> Callable[[], bytes]:
    """Repeats x so often that no memory holds it."""
    return lambda: tflite("TILE", _options("TileOptions"), [ints(*times)])


def tflite_split(pieces: int, axis: int) -> Callable[[], bytes]:
    """Splits along an axis that is not there, or in no pieces."""
    return lambda: tflite(
        "SPLIT", _options("SplitOptions", numSplits=pieces), [np.array(axis, np.int32)], data_first=False
    )


def tflite_nan() -> bytes:
    """Answers no number: the logarithm of what is negative."""
    return tflite("SUB", _options("SubOptions"), [np.full((1, 8), np.inf, np.float32)], inner=(1, 8), more=_first_three)


def _first_three(model: Any) -> None:
    """Let the last step take 3 of 8 values instead of changing the shape."""
    schema, graph = _schema(), model.subgraphs[0]
    starts = schema.BufferT()
    starts.data = np.frombuffer(ints(0, 0).tobytes(), np.uint8)
    model.buffers.append(starts)
    begin = schema.TensorT()
    begin.name, begin.shape, begin.type, begin.buffer = "begin", [2], schema.TensorType.INT32, len(model.buffers) - 1
    graph.tensors.append(begin)
    code = model.operatorCodes[-1]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.SLICE
    step = graph.operators[-1]
    step.inputs = [step.inputs[0], len(graph.tensors) - 1, step.inputs[1]]
    step.builtinOptionsType, step.builtinOptions = schema.BuiltinOptions.SliceOptions, schema.SliceOptionsT()


def tflite_endless() -> bytes:
    """WHILE true, do nothing."""

    def loop(model: Any) -> None:
        schema = _schema()
        condition, body = schema.SubGraphT(), schema.SubGraphT()
        for graph in (condition, body):
            value = schema.TensorT()
            value.name, value.shape, value.type, value.buffer = "v", [1, 8], schema.TensorType.FLOAT32, 0
            graph.tensors, graph.inputs, graph.outputs, graph.operators = [value], [0], [0], []
        yes, buffer = schema.TensorT(), schema.BufferT()
        buffer.data = np.frombuffer(np.array([True]).tobytes(), np.uint8)
        model.buffers.append(buffer)
        yes.name, yes.shape, yes.type, yes.buffer = "yes", [1], schema.TensorType.BOOL, len(model.buffers) - 1
        condition.tensors.append(yes)
        condition.outputs = [1]
        model.subgraphs += [condition, body]

    options = _options("WhileOptions", condSubgraphIndex=1, bodySubgraphIndex=2)

    def spoil(model: Any) -> None:
        loop(model)
        _first_three(model)

    return tflite("WHILE", options, inner=(1, 8), more=spoil)


def onnx(nodes: Callable[[Any], Sequence[Any]], initialisers: Sequence[tuple[str, Array]] = ()) -> bytes:
    """A graph that answers ``head_out`` (1, 3), made of ``nodes(helper)``; never checked by the library."""
    from onnx import TensorProto, helper, numpy_helper

    gates = [helper.make_tensor_value_info(f"gate{slot}", TensorProto.BOOL, []) for slot in range(2)]
    graph = helper.make_graph(
        nodes(helper),
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4]), *gates],
        [helper.make_tensor_value_info("head_out", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(value, name) for name, value in initialisers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def onnx_giant() -> bytes:
    """A few dozen bytes that ask for 14 GB when they run: the sum of a constant of that shape."""
    shape = ("shape", np.array([60_000, 60_000], np.int64))
    zero = ("zero", np.zeros((1, 3), np.float32))

    def nodes(helper: Any) -> Sequence[Any]:
        return [
            helper.make_node("ReduceMax", ["x"], ["one"], keepdims=0),
            helper.make_node("Cast", ["one"], ["whole"], to=7),
            helper.make_node("Mul", ["whole", "nothing"], ["none"]),
            helper.make_node("Add", ["shape", "none"], ["late"]),  # depends on x: cannot be folded while loading
            helper.make_node("ConstantOfShape", ["late"], ["giant"]),
            helper.make_node("ReduceMax", ["giant"], ["most"], keepdims=0),
            helper.make_node("Add", ["most", "zero"], ["head_out"]),
        ]

    return onnx(nodes, [shape, zero, ("nothing", np.array(0, np.int64))])


def onnx_endless() -> bytes:
    """A Loop of 2^62 turns."""

    def nodes(helper: Any) -> Sequence[Any]:
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["go"], ["go_on"]),
                helper.make_node("Add", ["value", "value"], ["twice"]),
            ],
            "body",
            [
                helper.make_tensor_value_info("turn", 7, []),
                helper.make_tensor_value_info("go", 9, []),
                helper.make_tensor_value_info("value", 1, [1, 3]),
            ],
            [
                helper.make_tensor_value_info("go_on", 9, []),
                helper.make_tensor_value_info("twice", 1, [1, 3]),
            ],
        )
        return [helper.make_node("Loop", ["turns", "yes", "start"], ["head_out"], body=body)]

    return onnx(
        nodes,
        [
            ("turns", np.array(1 << 62, np.int64)),
            ("yes", np.array(True)),
            ("start", np.zeros((1, 3), np.float32)),
        ],
    )


def onnx_one(operator: str, constants: Sequence[Array], **attributes: Any) -> Callable[[], bytes]:
    """``head_out = Reshape(operator(x, *constants))``, with attributes out of range."""

    def nodes(helper: Any) -> Sequence[Any]:
        names = [f"c{index}" for index in range(len(constants))]
        return [
            helper.make_node(operator, ["x", *names], ["middle"], **attributes),
            helper.make_node("Reshape", ["middle", "three"], ["head_out"]),
        ]

    stored = [(f"c{index}", value) for index, value in enumerate(constants)]
    return lambda: onnx(nodes, [*stored, ("three", np.array([1, 3], np.int64))])


def longs(*values: int) -> Array:
    """A constant vector of int64."""
    return np.array(values, np.int64)


TFLITE: dict[str, Callable[[], bytes]] = {
    "reshape overflows": tflite_reshape_overflow,
    "reshape to negative": tflite_reshape_negative,
    "slice by steps of 0": tflite_strided_slice_by_zero,
    "pool with stride 0": tflite_pool(strideW=0, strideH=0),
    "pool with a negative stride": tflite_pool(strideW=-1),
    "pool with a filter of 0": tflite_pool(filterWidth=0, filterHeight=0),
    "pool with a filter of 2^31": tflite_pool(filterWidth=(1 << 31) - 1, padding=0),
    "convolution with stride 0": tflite_conv(strideW=0, strideH=0),
    "convolution with dilation 0": tflite_conv(dilationWFactor=0, dilationHFactor=0),
    "convolution with dilation 2^30": tflite_conv(dilationWFactor=1 << 30),
    "gather along axis 9": tflite_gather(9, 0),
    "gather at index 2^30": tflite_gather(1, 1 << 30, 0, -5),
    "transpose by no permutation": tflite_transpose(0, 7),
    "transpose twice by one axis": tflite_transpose(1, 1),
    "pad by a negative amount": tflite_pad(0, 0, -6, 1),
    "pad to 2^60": tflite_pad(1 << 30, 0, 1 << 30, 0),
    "tile to 2^40": tflite_tile(1 << 20, 1 << 17),
    "split in 0 pieces": tflite_split(0, 1),
    "split along axis 7": tflite_split(1, 7),
    "answers infinity": tflite_nan,
    "while without end": tflite_endless,
}
ONNX: dict[str, Callable[[], bytes]] = {
    "14 GB at run": onnx_giant,
    "loop of 2^62 turns": onnx_endless,
    "expand to 2^40": onnx_one("Expand", [longs(1 << 20, 1 << 20, 4, 4)]),
    "tile to 2^40": onnx_one("Tile", [longs(1 << 20, 1 << 20, 1, 1)]),
    "pad by a negative amount": onnx_one("Pad", [longs(0, 0, -9, 0, 0, 0, 0, 0)]),
    "gather at index 2^40": onnx_one("Gather", [longs(1 << 40)]),
    "gather along axis 9": onnx_one("Gather", [longs(0)], axis=9),
    "transpose by no permutation": onnx_one("Transpose", [], perm=[0, 1, 9, 9]),
    "pool with stride 0": onnx_one("MaxPool", [], kernel_shape=[2, 2], strides=[0, 0]),
    "pool with a kernel of 2^31": onnx_one(
        "MaxPool", [], kernel_shape=[(1 << 31) - 1, 1], pads=[1 << 30, 0, 1 << 30, 0]
    ),
    "convolution with dilation 0": onnx_one("Conv", [np.ones((3, 1, 1, 1), np.float32)], dilations=[0, 0]),
    "convolution with group 0": onnx_one("Conv", [np.ones((3, 1, 1, 1), np.float32)], group=0),
    "reshape to negative": onnx_one("Reshape", [longs(-1, -1)]),
}
