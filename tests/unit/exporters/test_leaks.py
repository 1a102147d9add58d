"""No artefact says where or from which source it was made."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exporters.evaluate import logits_of
from exporters.network import scaled
from exporters.quantise.noise import sqnr_db
from exporters.quantise.onnx_int8 import quantise_onnx
from exporters.request import ExportRequest
from exporters.steps import capture
from exporters.targets import INT8_ONNX
from tamiyo_runtime.contracts.plan import Precision
from tests.unit.exporters.conftest import Exported

pytestmark = pytest.mark.toolchain

CHECKOUT = str(Path(__file__).resolve().parents[3]).encode()
HOME = str(Path.home()).encode()
SOURCE = re.compile(rb"\.py(?![a-z])|site-packages|/tmp/|Traceback")


def leaks(data: bytes) -> list[bytes]:
    found = [place for place in (CHECKOUT, HOME + b"/") if place in data]
    return found + SOURCE.findall(data)


def test_the_search_finds_what_it_looks_for() -> None:
    assert leaks(b"net.py:12") == [b".py"]
    assert CHECKOUT in leaks(b"see " + CHECKOUT + b"/x")
    assert not leaks(b"org.pytorch.aten")


@pytest.mark.parametrize("which", ["pi", "tpu"])
def test_no_file_of_a_bundle_names_a_path_or_a_source_line(which: str, request: pytest.FixtureRequest) -> None:
    exported: Exported = request.getfixturevalue(which)
    names = list(exported.bundle.manifest.files)
    assert any(name.endswith(".tflite") for name in names)
    assert {name: found for name in names if (found := leaks(exported.bundle.read(name)))} == {}


def test_int8_onnx_holds_its_accuracy_and_names_no_path(request_: ExportRequest) -> None:
    captured, _ = capture.run(replace(request_, policy=None, seeds=request_.seeds[:1]))
    real = scaled(request_, request_.calibration)
    compiled = quantise_onnx(captured, INT8_ONNX, real)
    assert compiled.recipe.precision is Precision.INT8
    assert set(compiled.chains) == {item.id for item in captured.configurations}
    answers = logits_of(compiled, request_.test_inputs, request_.input, captured.gates, captured.network.seeded)
    for name, found in answers.items():
        wanted = captured.wanted[name]
        assert (sqnr_db(found, wanted) or 0) > 25
        assert np.mean(found.argmax(1) == wanted.argmax(1)) > 0.95
    for artefact in compiled.artefacts.values():
        assert leaks(artefact.data) == []
        assert artefact.graph.inputs[0].dtype == "float32"
