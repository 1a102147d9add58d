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
from tests.strategies import manifests

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


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a\\b", "./a", "a/", "x" * 201])
def test_an_unsafe_member_name_is_refused(name: str) -> None:
    with pytest.raises(SchemaError, match="unsafe member name"):
        check_member_name(name)


def test_the_committed_schemas_are_those_of_the_code() -> None:
    for name, document in schema.documents().items():
        assert json.loads((schema.FOLDER / name).read_text()) == document, f"run python -m {schema.__name__}"
