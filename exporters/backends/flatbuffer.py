"""TFLite files as data: read their operators and tensors, and strip what the converter leaves in them.

Converters name tensors after the Python modules they came from. A file that ships gets plain names instead: no
structure of somebody's source leaks, the bytes do not change when a class is renamed, and for the small graphs of
one segment the names would be a third of the file.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporters.backends.toolchain import tool
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Graph, Quantisation, TensorSpec

INPUT, OUTPUT = "x", "y"
_ITEM_BYTES = {"float32": 4, "int32": 4, "int64": 8, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "float16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor of a graph. ``constant``: stored in the file; ``scales``, ``zero_points``: empty when not quantised.

    ``peak``: largest absolute value of a float32 constant, else 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    constant: bool
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    peak: float = 0.0

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes as stored."""
        return self.size * _ITEM_BYTES.get(self.dtype, 4)

    @property
    def quantisation(self) -> Quantisation | None:
        """The per-tensor quantisation; None for a real tensor or one quantised per channel."""
        if len(self.scales) != 1:
            return None
        return Quantisation(scale=self.scales[0], zero_point=self.zero_points[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator in execution order. ``options`` are its builtin options by schema name (``dilationHFactor``)."""

    index: int
    code: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    values: Mapping[int, tuple[int, ...]]  # small int32 constants by input position: axes, paddings, shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A file with one subgraph."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    subgraphs: int

    def graph(self, file: str) -> Graph:
        """The contract's description of this file under the name it has in the bundle."""
        return Graph(
            file=file,
            inputs=tuple(_spec(tensor) for tensor in self.inputs),
            outputs=tuple(_spec(tensor) for tensor in self.outputs),
        )


def read_model(data: bytes) -> Model:
    """Parse a TFLite file that our own toolchain wrote."""
    schema, model = _unpack(data)
    dtypes = _names(schema.TensorType)
    codes = _names(schema.BuiltinOperator)
    main = model.subgraphs[0]
    tensors = [_tensor(item, model.buffers, dtypes) for item in main.tensors]
    operators = []
    for index, operator in enumerate(main.operators):
        code = model.operatorCodes[operator.opcodeIndex]
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        inputs = [int(i) for i in operator.inputs]
        operators.append(
            Operator(
                index=index,
                code=codes[max(code.builtinCode, code.deprecatedBuiltinCode)],
                version=int(code.version or 1),
                inputs=tuple(tensors[i] for i in inputs if i >= 0),
                outputs=tuple(tensors[int(i)] for i in operator.outputs),
                options=dict(options),
                values={
                    place: _integers(model.buffers[main.tensors[i].buffer].data)
                    for place, i in enumerate(inputs)
                    if i >= 0 and tensors[i].constant and tensors[i].dtype == "int32" and tensors[i].size <= 16
                },
            )
        )
    return Model(
        inputs=tuple(tensors[int(i)] for i in main.inputs),
        outputs=tuple(tensors[int(i)] for i in main.outputs),
        operators=tuple(operators),
        subgraphs=len(model.subgraphs),
    )


def tidy(data: bytes, *, name: str) -> bytes:
    """The same graph with plain tensor names and no converter metadata.

    Raises IncompatibleError unless it has one subgraph, one input and one output.
    """
    _, model = _unpack(data)
    main = model.subgraphs[0]
    if len(model.subgraphs) != 1 or len(main.inputs) != 1 or len(main.outputs) != 1:
        raise IncompatibleError(
            f"part '{name}' became {len(model.subgraphs)} subgraphs, {len(main.inputs)} inputs and "
            f"{len(main.outputs)} outputs",
            hint="a part maps one tensor to one tensor, without sorting, top-k or control flow",
        )
    for index, tensor in enumerate(main.tensors):
        tensor.name = f"t{index}".encode()
    main.tensors[int(main.outputs[0])].name = OUTPUT.encode()
    main.tensors[int(main.inputs[0])].name = INPUT.encode()
    main.name = b"main"
    model.description = b""
    for entry in model.metadata or ():
        model.buffers[entry.buffer].data = None
    model.metadata = None
    return bytes(tool("ai_edge_litert.tools.flatbuffer_utils").convert_object_to_bytearray(model))


def _unpack(data: bytes) -> tuple[Any, Any]:
    schema = tool("ai_edge_litert.schema_py_generated")
    return schema, schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


@functools.cache
def _names(enum: type[Any]) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


def _tensor(item: Any, buffers: Any, dtypes: Mapping[int, str]) -> Tensor:
    quantisation = item.quantization
    scales = quantisation.scale if quantisation is not None and quantisation.scale is not None else ()
    zero_points = quantisation.zeroPoint if quantisation is not None and quantisation.zeroPoint is not None else ()
    data = buffers[item.buffer].data
    return Tensor(
        name=item.name.decode(),
        shape=tuple(int(n) for n in (item.shape if item.shape is not None else ())),
        dtype=dtypes[item.type].lower(),
        constant=data is not None and len(data) > 0,
        scales=tuple(float(s) for s in scales),
        zero_points=tuple(int(z) for z in zero_points),
        peak=float(np.abs(np.frombuffer(bytes(bytearray(data)), "<f4")).max())
        if data is not None and len(data) > 0 and dtypes[item.type] == "FLOAT32"
        else 0.0,
    )


def _integers(data: Any) -> tuple[int, ...]:
    raw = bytes(bytearray(data))
    return tuple(int.from_bytes(raw[i : i + 4], "little", signed=True) for i in range(0, len(raw), 4))


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype, quantisation=tensor.quantisation)
