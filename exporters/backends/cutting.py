"""One operator of a TFLite file as a file of its own, so that it can be fed by itself."""

from __future__ import annotations

from exporters.backends.flatbuffer import read_model
from exporters.backends.toolchain import tool


def cut(data: bytes, index: int) -> bytes:
    """The file with operator ``index`` alone: its activations are the inputs, its answers the outputs."""
    schema = tool("ai_edge_litert.schema_py_generated")
    tensors = {tensor.name: tensor for operator in read_model(data).operators for tensor in operator.inputs}
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    main = model.subgraphs[0]
    operator = main.operators[index]
    main.operators = [operator]
    names = {int(i): main.tensors[int(i)].name.decode() for i in operator.inputs if i >= 0}
    main.inputs = list(dict.fromkeys(i for i, name in names.items() if not tensors[name].constant))
    main.outputs = [int(i) for i in operator.outputs]
    model.signatureDefs = None
    return bytes(tool("ai_edge_litert.tools.flatbuffer_utils").convert_object_to_bytearray(model))
