"""JSON Schemas of the documents other programs read, derived from the dataclasses that validate them.

One file a document and version lies in ``schemas/``; a test fails when a file and its dataclass part ways, and files of
older versions stay. ``python -m tamiyo_runtime.contracts.schema`` rewrites the files of the current versions.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import EXTRA
from tamiyo_runtime.contracts.export_plan import SCHEMA as EXPORT_PLAN
from tamiyo_runtime.contracts.export_plan import ExportPlan
from tamiyo_runtime.contracts.manifest import SCHEMA as MANIFEST
from tamiyo_runtime.contracts.manifest import Manifest
from tamiyo_runtime.contracts.records import KINDS
from tamiyo_runtime.contracts.records import SCHEMA as RECORDS

FOLDER = Path(__file__).parent / "schemas"
_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(cls: Any) -> dict[str, Any]:
    """The schema of one contract, nested contracts inlined."""
    hints = typing.get_type_hints(cls)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in dataclasses.fields(cls):
        if field.name == EXTRA:
            continue
        properties[field.name] = _of(hints[field.name])
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    open_ended = any(field.name == EXTRA for field in dataclasses.fields(cls))
    description = (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in required if not _optional(hints[name])],
        "additionalProperties": open_ended,
    }


def documents() -> dict[str, dict[str, Any]]:
    """File name -> schema, for every document of a current version."""
    records = {"oneOf": [_of_kind(kind, json_schema(cls)) for kind, cls in KINDS.items()]}
    return {
        _file(MANIFEST): _titled(MANIFEST, json_schema(Manifest)),
        _file(EXPORT_PLAN): _titled(EXPORT_PLAN, json_schema(ExportPlan)),
        _file(RECORDS): _titled(RECORDS, records),
    }


def _of_kind(kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {"kind": {"const": kind}, **schema["properties"]}
    return {**schema, "properties": properties, "required": ["kind", *schema["required"]]}


def _file(tag: str) -> str:
    return tag.removeprefix("tamiyo.").replace("/", "-") + ".json"


def _titled(tag: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": tag, **schema}


def _optional(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _of(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin in (types.UnionType, typing.Union):
        options = [_of(option) for option in arguments if option is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return {"type": "array", "items": _of(arguments[0])}
        return {"type": "array", "prefixItems": [_of(a) for a in arguments], "minItems": len(arguments), "items": False}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(arguments[1])}
    if dataclasses.is_dataclass(hint):
        return json_schema(hint)
    if issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    return {"type": _SCALARS[hint]}


def write(folder: Path = FOLDER) -> None:
    """Write the current schemas; older versions in the folder are left alone."""
    import json

    folder.mkdir(exist_ok=True)
    for name, schema in documents().items():
        (folder / name).write_text(json.dumps(schema, indent=1) + "\n")


if __name__ == "__main__":
    write()
