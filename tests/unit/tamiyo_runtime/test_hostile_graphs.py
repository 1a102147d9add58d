"""Graphs and arrays made to hurt whoever loads them, in bundles that are signed: refused before anything loads them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tamiyo_runtime.bundle import SAMPLES, VECTORS, Bundle
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.screening.tflite import check_tflite
from tamiyo_runtime.screening.unsafe import UnsafeGraph
from tamiyo_runtime.selftest import Vectors
from tamiyo_runtime.signing import Trust
from tamiyo_runtime.sources.bundled import load_arrays
from tests import tiny
from tests.attacker import KEY, ONNX, TFLITE, Attacker, refused


@pytest.fixture
def attacker() -> Attacker:
    return Attacker()


def _onnx(change: Callable[[Any], None]) -> bytes:
    import onnx

    model = onnx.load_from_string(tiny.onnx_gated())
    change(model)
    return bytes(model.SerializeToString())


def _external(tensor: Any) -> None:
    import onnx

    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../etc/shadow"


@pytest.mark.parametrize("location", ["/etc/shadow", "weights.bin", "a-link", "", "C:\\evil"])
def test_where_onnx_data_lies_outside_makes_no_difference(attacker: Attacker, location: str) -> None:
    """A path that climbs, an absolute one, a symbolic or a hard link: one rule, since none of them is opened."""

    def move(model: Any) -> None:
        _external(model.graph.initializer[0])
        model.graph.initializer[0].external_data[0].value = location

    attacker.replace(ONNX, _onnx(move))
    refused(attacker.bytes, "keeps data outside itself")


def _in_constant(model: Any) -> None:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "secret")
    _external(tensor)
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["secret"], value=tensor))


def _in_branch(model: Any) -> None:
    branch = next(node for node in model.graph.node if node.op_type == "If").attribute[0].g
    branch.initializer.append(model.graph.initializer[0])
    _external(branch.initializer[0])


def _in_function(model: Any) -> None:
    import onnx

    tensor = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "secret")
    _external(tensor)
    node = onnx.helper.make_node("Constant", [], ["y"], value=tensor)
    model.functions.append(onnx.helper.make_function("evil", "f", [], ["y"], [node], model.opset_import))


def _in_sparse(model: Any) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.dims.append(4)
    sparse.values.CopyFrom(model.graph.initializer[0])
    _external(sparse.values)


@pytest.mark.parametrize(
    "hide", [lambda model: _external(model.graph.initializer[0]), _in_constant, _in_branch, _in_function, _in_sparse]
)
def test_onnx_data_outside_the_file_wherever_it_hides(attacker: Attacker, hide: Callable[[Any], None]) -> None:
    attacker.replace(ONNX, _onnx(hide))
    refused(attacker.bytes, r"'graphs/onnx/net.onnx' keeps data outside itself \(ONNX external data\)")


def test_an_onnx_file_that_no_graph_of_the_manifest_names(attacker: Attacker) -> None:
    attacker.replace("spare.onnx", _onnx(lambda model: _external(model.graph.initializer[0])))
    refused(attacker.bytes, "'spare.onnx' keeps data outside itself")


def test_an_onnx_tensor_of_absurd_or_negative_size(attacker: Attacker) -> None:
    for size, message in ((1 << 40, "asks for"), (-5, "negative dimension")):

        def grow(model: Any, size: int = size) -> None:
            model.graph.initializer[0].dims[0] = size

        attacker.replace(ONNX, _onnx(grow))
        refused(attacker.bytes, message)


def test_onnx_graphs_within_graphs_without_end(attacker: Attacker) -> None:
    inner = b""
    for _ in range(200):
        inner = b"\x32" + _varint(len(inner)) + inner  # attribute.g
        inner = b"\x2a" + _varint(len(inner)) + inner  # node.attribute
        inner = b"\x0a" + _varint(len(inner)) + inner  # graph.node
    attacker.replace(ONNX, b"\x3a" + _varint(len(inner)) + inner)
    refused(attacker.bytes, "nests more than 32 graphs")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\xff" * 64, b"\x3a\xff\xff\xff\xff\x0f", b"\x3a\x7f"])
def test_rubbish_for_a_graph(attacker: Attacker, data: bytes) -> None:
    attacker.replace(ONNX, data)
    refused(attacker.bytes, "is not an ONNX model|is truncated")
    attacker = Attacker()
    attacker.replace(TFLITE, data)
    refused(attacker.bytes, "is not a TFLite model")


def _tflite(change: Callable[[Any], None]) -> bytes:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(tiny.tflite_dense(tiny.WEIGHTS["head"], (1, 8)), 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _set(path: str, value: object) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        graph = model.subgraphs[0]
        owner, name = (
            {"tensor": graph.tensors[1], "operator": graph.operators[0], "graph": graph, "model": model}[
                path.partition(".")[0]
            ],
            path.partition(".")[2],
        )
        setattr(owner, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("operator.inputs", [0, 1, 77]), "names tensor 77 of 3"),
        (_set("operator.outputs", [-2]), "names tensor -2 of 3"),
        (_set("operator.opcodeIndex", 9), "names operator code 9 of 1"),
        (_set("graph.inputs", [1000]), "names tensor 1000 of 3"),
        (_set("tensor.buffer", 400), "names buffer 400 of 2"),
        (_set("tensor.shape", [3, 9]), "constant of shape .3, 9. with 96 bytes in place of 108"),
        (_set("tensor.shape", [-3, 8]), "negative dimension"),
        (_set("tensor.externalBuffer", 0), None),
        (_set("model.subgraphs", []), "holds no graph"),
    ],
)
def test_a_tflite_file_whose_indices_point_outside(
    attacker: Attacker, change: Callable[[Any], None], message: str | None
) -> None:
    attacker.replace(TFLITE, _tflite(change))
    if message is None:
        Bundle.parse(attacker.bytes, name="fine", trusted=Trust.of(KEY.public))
    else:
        refused(attacker.bytes, message)


def test_a_tflite_tensor_that_would_fill_the_memory(attacker: Attacker) -> None:
    def grow(model: Any) -> None:
        model.subgraphs[0].tensors[0].shape = [1 << 15, 1 << 15]

    attacker.replace(TFLITE, _tflite(grow))
    refused(attacker.bytes, "asks for 4294967308 bytes of tensors")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (struct.pack("<I", 24) + b"TFL3", "points to byte 24 of 8"),  # kills tflite_runtime 2.14
        (struct.pack("<I", 0xFFFFFFFF) + b"TFL3" + bytes(64), "points to byte 4294967295 of 72"),
        (struct.pack("<I", 8) + b"TFL3" + struct.pack("<i", -(1 << 31)) + bytes(64), "outside|points to byte"),
    ],
)
def test_a_tflite_file_whose_root_is_nowhere(attacker: Attacker, data: bytes, message: str) -> None:
    attacker.replace(TFLITE, data)
    refused(attacker.bytes, message)


def test_a_tflite_tensor_with_the_largest_dimensions_there_are(attacker: Attacker) -> None:
    def grow(model: Any) -> None:
        model.subgraphs[0].tensors[0].shape = [(1 << 31) - 1, (1 << 31) - 1]

    attacker.replace(TFLITE, _tflite(grow))
    refused(attacker.bytes, "asks for")


def test_a_tflite_buffer_behind_the_end_of_the_file(attacker: Attacker) -> None:
    def outside(model: Any) -> None:
        model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 1 << 30, 96

    attacker.replace(TFLITE, _tflite(outside))
    refused(attacker.bytes, "keeps 96 bytes of data at byte 1073741824, outside itself")


def test_tflite_offsets_that_point_anywhere_never_raise_anything_else() -> None:
    """Every 4-byte word of a file, replaced by a few telling values, is accepted or refused: no other error."""
    good = tiny.tflite_dense(tiny.WEIGHTS["head"], (1, 8), tiny.RANGE)
    check_tflite(good)
    verdicts = set()
    for place in range(len(good) - 3):
        for value in (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(good)):
            data = bytearray(good)
            struct.pack_into("<I", data, place, value)
            try:
                check_tflite(bytes(data))
                verdicts.add("accepted")
            except UnsafeGraph:
                verdicts.add("refused")
    assert verdicts == {"accepted", "refused"}  # weights may be anything


# Arrays.


def _npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def _npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def test_self_test_vectors_with_nan(attacker: Attacker) -> None:
    vectors = Vectors.from_bytes(attacker.files[VECTORS])
    vectors.logits["float", "c00"][0, 0] = np.nan
    with pytest.raises(IntegrityError, match=r"'logits/float/c00\.npy' holds NaN or infinity"):
        Vectors.from_bytes(vectors.to_bytes())


@pytest.mark.parametrize(
    "member",
    [
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }\n", bytes(8)),
        _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -1), }\n", bytes(8)),
        _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n", b"cos\nsystem\n(S'id'\ntR."),
        _npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,), }\n", bytes(16)),
        _npy("__import__('os').system('id')\n"),
        _npy("(" * 2000 + "\n"),
        b"\x93NUMPY\x09\x00",
        b"rubbish",
    ],
)
def test_an_array_that_is_huge_by_its_header_a_pickle_or_code(member: bytes) -> None:
    with pytest.raises(IntegrityError, match=SAMPLES) as caught:
        load_arrays(_npz(x=member), SAMPLES)
    assert len(caught.value.message) < 400


def test_arrays_that_unpack_to_more_than_they_take() -> None:
    stream = io.BytesIO()
    np.savez_compressed(stream, x=np.zeros(1 << 22, np.uint8))
    with pytest.raises(IntegrityError, match=r"'x\.npy' is compressed"):
        load_arrays(stream.getvalue(), SAMPLES)
