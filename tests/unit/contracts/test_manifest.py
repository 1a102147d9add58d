from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts import schema
from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.manifest import Manifest, check_member_name
from tamiyo_runtime.contracts.reference import Reference, Span
from tests.strategies import manifests, references

SCHEMA = schema.documents()["manifest-1.json"]


@given(manifests())
@settings(max_examples=20)
def test_a_manifest_survives_its_canonical_json(manifest: Manifest) -> None:
    raw = manifest.to_json()
    again = Manifest.from_json(raw)
    assert again == manifest
    assert again.to_json() == raw


@given(manifests())
@settings(max_examples=15)
def test_a_manifest_matches_its_published_schema(manifest: Manifest) -> None:
    jsonschema.validate(json.loads(manifest.to_json()), SCHEMA)


@given(manifests(), st.data())
@settings(max_examples=20)
def test_a_field_taken_away_or_made_null_is_a_schema_error_or_was_optional(manifest: Manifest, data: Any) -> None:
    document = json.loads(manifest.to_json())
    key = data.draw(st.sampled_from(sorted(document)))
    document.pop(key)
    raw = json.dumps(document).encode()
    if key in SCHEMA["required"]:
        with pytest.raises(SchemaError):
            Manifest.from_json(raw)
    else:
        Manifest.from_json(raw)


@given(manifests())
@settings(max_examples=5)
def test_a_later_version_is_refused_before_its_fields_are_looked_at(manifest: Manifest) -> None:
    with pytest.raises(SchemaVersionError):
        Manifest.from_json(b'{"schema":"tamiyo.manifest/2","everything":"else"}')
    with pytest.raises(SchemaError):
        replace(manifest, schema="tamiyo.other/1")


@given(manifests())
@settings(max_examples=10)
def test_references_that_lead_nowhere_are_refused(manifest: Manifest) -> None:
    with pytest.raises(SchemaError, match="is not listed in files"):
        replace(manifest, files={})
    with pytest.raises(SchemaError, match="no configuration"):
        replace(manifest, configurations=manifest.configurations[:-1])
    variant = manifest.variants[0]
    with pytest.raises(SchemaError, match="names no graph"):
        replace(variant, graphs={})
    segments = manifest.plan.segments
    with pytest.raises(SchemaError, match="head"):
        replace(manifest.plan, segments=segments[:-1])
    with pytest.raises(SchemaError, match="share a name"):
        replace(manifest.plan, segments=(segments[0], *segments))


@given(manifests())
@settings(max_examples=10)
def test_a_bundle_from_before_references_loads_and_one_from_after_survives(manifest: Manifest) -> None:
    document = json.loads(manifest.to_json())
    document.pop("reference", None)
    old = Manifest.from_json(json.dumps(document).encode())
    assert old == replace(manifest, reference=None)
    assert "reference" not in json.loads(old.to_json())
    if manifest.reference is not None:
        later = json.loads(manifest.to_json())
        later["reference"]["of tomorrow"] = [1]
        assert json.loads(Manifest.from_json(json.dumps(later).encode()).to_json()) == later


@given(manifests(), references({"tflite-int8": ["c9"], "onnx-float": ["c0"]}))
@settings(max_examples=10)
def test_a_reference_for_what_the_bundle_does_not_run_is_refused(manifest: Manifest, reference: Reference) -> None:
    if any(reference.confidence.values()) or "onnx-float" in reference.confidence:
        with pytest.raises(SchemaError, match=r"reference\.confidence: .*no (variant|configuration)"):
            replace(manifest, reference=reference)
    else:
        replace(manifest, reference=reference)


@pytest.mark.parametrize(
    "change",
    [
        {"samples": 2},
        {"samples": 10**8 + 1},
        {"raw_rank": 0},
        {"level_rank": 40},
        {"confidence": {"v": {"c": 1.5}}},
        {"confidence": {"v": {"c": float("nan")}}},
    ],
)
def test_a_reference_that_says_nothing_sensible_is_refused(change: dict[str, Any]) -> None:
    span = Span(low=0.0, high=1.0)
    sound = Reference(
        source="test set",
        samples=40,
        raw=span,
        raw_rank=2,
        mean=span,
        deviation=span,
        level_rank=4,
        confidence={"v": {"c": 0.5}},
        confidence_rank=1,
    )
    with pytest.raises(SchemaError):
        replace(sound, **change)
    with pytest.raises(SchemaError, match="is above high"):
        Span(low=1.0, high=0.0)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "./a", "a/", "x" * 201])
def test_an_unsafe_member_name_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="unsafe member name"):
        check_member_name(name)


def test_the_committed_schemas_are_those_of_the_code() -> None:
    for name, document in schema.documents().items():
        assert json.loads((schema.FOLDER / name).read_text()) == document, f"run python -m {schema.__name__}"


@given(manifests())
@settings(max_examples=5)
def test_sections_that_the_runtime_reads_are_checked_when_a_bundle_is_loaded(manifest: Manifest) -> None:
    document = json.loads(manifest.to_json())
    full = {"ambient_c": 25.0, "resistance_k_per_w": 4}
    for good in ({}, full, {**full, "throttle_c": 80.0}):
        document["profile"]["thermal"] = good
        assert Manifest.from_json(json.dumps(document).encode()).profile.extra["thermal"] == good
    for section, wrong, where in (
        ("thermal", {"throttle_c": 80.0}, r"profile\.thermal\.ambient_c: is missing"),
        ("thermal", {"ambient_c": 25.0}, r"profile\.thermal\.resistance_k_per_w: is missing"),
        ("thermal", {**full, "throttle_c": "hot"}, r"profile\.thermal\.throttle_c: must be a number"),
        ("thermal", [1], r"profile\.thermal: must be an object"),
        ("thermal", 0, r"profile\.thermal: must be an object"),
        ("simulation", {"jitter_sigma": True}, r"profile\.simulation\.jitter_sigma: must be a number"),
    ):
        broken = {**document, "profile": {**document["profile"], section: wrong}}
        with pytest.raises(SchemaError, match=where):
            Manifest.from_json(json.dumps(broken).encode())
