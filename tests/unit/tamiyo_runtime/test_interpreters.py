"""Interpreters: every registered one passes the same checks, and finding them imports none."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError, UnknownNameError
from tamiyo_runtime.contracts.plan import Format, Graph, TensorSpec
from tamiyo_runtime.interpreters import available, choose, interpreters, open_graph
from tamiyo_runtime.interpreters.conformance import check_interpreter
from tests import tiny

DENSE = Graph(
    file="graphs/trunk0.tflite",
    inputs=(TensorSpec(name="x", shape=(1, 4, 4, 1), dtype="float32"),),
    outputs=(TensorSpec(name="y", shape=(1, 8), dtype="float32"),),
)
GATED = Graph(
    file="net.onnx",
    inputs=(
        TensorSpec(name="x", shape=(1, 1, 4, 4), dtype="float32"),
        TensorSpec(name="gate0", shape=(), dtype="bool"),
        TensorSpec(name="gate1", shape=(), dtype="bool"),
    ),
    outputs=(TensorSpec(name="head_out", shape=(1, 3), dtype="float32"),),
)


@pytest.fixture(scope="module")
def dense() -> bytes:
    return tiny.tflite_dense(tiny.WEIGHTS["trunk0"], (1, 4, 4, 1))


@pytest.fixture
def old_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """`tflite_runtime` under its own name: the same interface, which is all that the adapter relies on."""
    import ai_edge_litert.interpreter as successor

    package = ModuleType("tflite_runtime")
    package.__path__ = []
    package.__spec__ = successor.__spec__
    monkeypatch.setitem(sys.modules, "tflite_runtime", package)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", successor)


@pytest.mark.parametrize("name", interpreters.names())
@pytest.mark.usefixtures("old_runtime")
def test_every_interpreter_conforms(name: str, dense: bytes) -> None:
    if interpreters.get(name).format is Format.ONNX:
        check_interpreter(name, tiny.onnx_gated(), GATED)
    else:
        check_interpreter(name, dense, DENSE)


@pytest.mark.usefixtures("old_runtime")
def test_the_newer_tflite_engine_is_preferred() -> None:
    assert available(Format.TFLITE) == ("litert", "tflite_runtime")
    assert choose(Format.TFLITE) == "litert"


def test_gates_switch_what_runs() -> None:
    runner = open_graph(tiny.onnx_gated(), GATED)
    sample = tiny.samples()[0][0].astype(np.float32)
    for gates in tiny.ALL_GATES:
        (found,) = runner.run([sample[np.newaxis] * np.float32(tiny.INPUT.scale), *map(np.asarray, gates)])
        np.testing.assert_allclose(found[0], tiny.logits(sample, gates), atol=1e-5)


@pytest.mark.parametrize("change", ["shape", "dtype", "count"])
def test_a_file_that_is_not_what_the_manifest_says_is_refused(dense: bytes, change: str) -> None:
    spec = DENSE.inputs[0]
    wrong = {
        "shape": (replace(spec, shape=(1, 4, 5, 1)),),
        "dtype": (replace(spec, dtype="int8"),),
        "count": (spec, spec),
    }[change]
    with pytest.raises(IntegrityError, match=r"trunk0\.tflite"):
        open_graph(dense, replace(DENSE, inputs=wrong))
    gated = {
        "shape": (replace(GATED.inputs[0], shape=(1, 1, 4, 5)), *GATED.inputs[1:]),
        "dtype": (replace(GATED.inputs[0], dtype="int8"), *GATED.inputs[1:]),
        "count": GATED.inputs[:2],
    }[change]
    with pytest.raises(IntegrityError, match=r"net\.onnx"):
        open_graph(tiny.onnx_gated(), replace(GATED, inputs=gated))


def test_finding_interpreters_imports_none_of_them() -> None:
    code = """
import sys
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.interpreters import available
assert available(Format.TFLITE) and available(Format.ONNX)
loaded = {"ai_edge_litert", "onnxruntime", "tflite_runtime", "torch"} & set(sys.modules)
assert not loaded, loaded
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_or_missing_interpreter_says_what_to_do(dense: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError) as caught:
        open_graph(dense, DENSE, interpreter="liter")
    assert caught.value.near[0] == "litert"
    monkeypatch.setattr("tamiyo_runtime.interpreters.base._installed", lambda module: False)
    with pytest.raises(MissingExtraError, match="onnxruntime"):
        open_graph(b"", GATED)
    with pytest.raises(MissingExtraError, match="ai_edge_litert"):
        open_graph(dense, DENSE, interpreter="litert")
