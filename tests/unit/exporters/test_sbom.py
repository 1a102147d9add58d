"""The bill of materials: valid CycloneDX, complete, and the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import uuid
from importlib.metadata import version
from typing import Any

import pytest

from exporters.report import VendorReport
from exporters.sbom import installed, sbom
from tests import tiny

pytest.importorskip("cyclonedx")
MADE = tiny.make()


@pytest.fixture(scope="module")
def document() -> Any:
    return json.loads(sbom(MADE.manifest, MADE.files))


def test_it_is_valid_by_the_schema_that_the_library_ships() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    vendor = VendorReport(program="edgetpu_compiler", command="edgetpu_compiler x", ran=True)
    for text in (sbom(MADE.manifest, MADE.files), sbom(MADE.manifest, MADE.files, vendor=vendor)):
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text.decode()) is None


def test_every_graph_is_a_model_with_its_hash(document: Any) -> None:
    models = {item["name"]: item for item in document["components"] if item["type"] == "machine-learning-model"}
    graphs = {name: data for name, data in MADE.files.items() if not name.endswith(".npz")}
    assert models.keys() == graphs.keys()
    for name, data in graphs.items():
        assert models[name]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]
    edges = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert edges["bundle"] == sorted(f"file:{name}" for name in graphs)


def test_the_toolchain_is_there_with_what_it_requires_with_versions_purls_and_licences(document: Any) -> None:
    libraries = {item["name"]: item for item in document["components"] if item["type"] == "library"}
    for name in ("numpy", "onnx", "cryptography"):
        assert libraries[name]["version"] == version(name)
        assert libraries[name]["purl"] == f"pkg:pypi/{name}@{version(name)}"
        assert libraries[name]["licenses"], name
    edges = {item["ref"]: item.get("dependsOn", []) for item in document["dependencies"]}
    assert "pypi:numpy" in edges["pypi:onnx"]


def test_what_is_required_only_by_an_extra_nobody_asked_for_is_left_out() -> None:
    found = installed(["onnx"])
    assert "numpy" in found
    assert "pytest" not in found
    assert installed(["no-such-distribution"]) == {}


@pytest.mark.toolchain
def test_the_converters_below_the_converters_are_found(document: Any) -> None:
    pytest.importorskip("litert_torch")
    names = {item["name"] for item in document["components"]}
    assert {"torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "ai-edge-litert", "jax"} <= names


def test_vela_is_named_where_it_ran_and_only_there(document: Any) -> None:
    pytest.importorskip("ethosu.vela")
    ran = VendorReport(program="vela", command="vela x", ran=True)
    names = {item["name"] for item in json.loads(sbom(MADE.manifest, MADE.files, vendor=ran))["components"]}
    assert "ethos-u-vela" in names
    assert "ethos-u-vela" not in {item["name"] for item in document["components"]}


def test_it_has_no_time_and_a_serial_number_made_of_the_contents(document: Any) -> None:
    assert "timestamp" not in document["metadata"]
    assert sbom(MADE.manifest, MADE.files) == sbom(MADE.manifest, dict(reversed(MADE.files.items())))
    other = json.loads(sbom(MADE.manifest, {**MADE.files, "samples.npz": b"other"}))
    assert other["serialNumber"] != document["serialNumber"]
    assert uuid.UUID(document["serialNumber"]).version == 5
