"""Frozen dataclasses to JSON-ready dicts and back, strictly.

A contract is a frozen, slotted, keyword-only dataclass whose fields are scalars, enums, tuples,
mappings with string keys, or further contracts. ``load`` checks every type and says where a document
is wrong; fields this version does not know are kept in ``extra`` and written back by ``dump``, so that
an older tool can pass a newer document on unharmed.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError

C = TypeVar("C")
EXTRA = "extra"
MAX_DEPTH = 32
# C0 and C1 controls but tab and newline, DEL, bidirectional overrides, lone surrogates.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def dump(contract: Any) -> dict[str, Any]:
    """The contract as plain dicts, lists and scalars. ``None`` fields are left out; ``extra`` is merged in."""
    result: dict[str, Any] = {}
    for field in dataclasses.fields(contract):
        value = getattr(contract, field.name)
        if field.name == EXTRA:
            result.update(value)
        elif value is not None:
            result[field.name] = _dump_value(value)
    return result


def _dump_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return dump(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _dump_value(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_dump_value(item) for item in value]
    return value


def canonical_json(contract: Any) -> bytes:
    """The bytes that are hashed and signed: sorted keys, no spaces, UTF-8, no NaN."""
    data = dump(contract) if dataclasses.is_dataclass(contract) else contract
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def load(cls: type[C], data: Any, *, path: str = "document") -> C:
    """Build ``cls`` from plain data; raises SchemaError naming the path of the first thing that is wrong."""
    if not isinstance(data, Mapping):
        raise SchemaError(path, f"expected an object, got {_kind(data)}")
    hints = _hints(typing.cast(Any, cls))
    known: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in data.items():
        if key in hints and key != EXTRA:
            known[key] = _load_value(hints[key], value, f"{path}.{key}")
        else:
            extra[str(key)] = value
    if EXTRA in hints:
        known[EXTRA] = extra
    elif extra:
        raise SchemaError(path, f"unknown field '{min(extra)}'", hint=f"known: {', '.join(sorted(hints))}")
    for field in dataclasses.fields(typing.cast(Any, cls)):
        if _required(field) and field.name not in known:
            if type(None) not in typing.get_args(hints[field.name]):
                raise SchemaError(path, f"missing field '{field.name}'")
            known[field.name] = None  # ``dump`` leaves None out
    try:
        return cls(**known)
    except SchemaError as exc:
        raise SchemaError(f"{path}.{exc.path}", exc.message.removeprefix(f"{exc.path}: "), hint=exc.hint) from exc


def parse_json(raw: bytes, *, path: str = "document", limit_bytes: int = 4 << 20) -> Any:
    """Decode JSON from an untrusted source: bounded size, UTF-8, no NaN or Infinity, no duplicate keys."""
    if len(raw) > limit_bytes:
        raise SchemaError(path, f"{len(raw)} bytes exceed the limit of {limit_bytes}")
    try:
        return json.loads(raw, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except SchemaError as exc:
        raise SchemaError(path, exc.message.removeprefix(f"{exc.path}: ")) from exc
    except (ValueError, RecursionError) as exc:
        raise SchemaError(path, f"not valid JSON: {exc}") from exc


def check_tame(data: Any, *, path: str = "document") -> None:
    """Raise SchemaError for what `parse_json` lets through and only an attacker writes.

    That is: nesting beyond MAX_DEPTH, numbers that overflow to infinity, and text that a terminal would obey or that
    cannot be written as UTF-8.
    """
    waiting: list[tuple[Any, int]] = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise SchemaError(path, f"nested more than {MAX_DEPTH} deep")
        if isinstance(value, dict):
            waiting += [(key, depth) for key in value]
            waiting += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]
        elif isinstance(value, str):
            if not value.isprintable() and _UNPRINTABLE.search(value):
                raise SchemaError(path, f"{value[:40]!a} holds a control character")
        elif isinstance(value, float) and not math.isfinite(value):
            raise SchemaError(path, f"a number is {value}")


def check_schema(found: str, supported: str, *, path: str = "schema") -> None:
    """Check a ``name/version`` tag such as ``tamiyo.manifest/1`` against the one this code reads."""
    name, _, version = supported.partition("/")
    found_name, _, found_version = found.partition("/")
    if found_name != name or not found_version.isdecimal():
        raise SchemaError(path, f"expected {supported}, got {found!r}")
    if int(found_version) > int(version):
        raise SchemaVersionError(
            path,
            f"{found} is newer than {supported}, the latest this version reads",
            hint="upgrade tamiyo-edge",
        )


def require(condition: bool, path: str, problem: str) -> None:
    """Raise SchemaError unless ``condition`` holds; for ``__post_init__`` checks."""
    if not condition:
        raise SchemaError(path, problem)


def require_finite(**values: float | None) -> None:
    """Raise SchemaError for the first value that is NaN or infinite."""
    for name, value in values.items():
        if value is not None and not math.isfinite(value):
            raise SchemaError(name, f"must be finite, got {value}")


def _no_constant(text: str) -> Any:
    raise SchemaError("document", f"{text} is not allowed")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise SchemaError("document", "an object holds the same key twice")
    return result


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), f"the number {value}" if isinstance(value, int | float) else type(value).__name__)


def _load_value(hint: Any, value: Any, path: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _load_union(arguments, value, path)
    if origin is tuple:
        return _load_tuple(arguments, value, path)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise SchemaError(path, f"expected an object, got {_kind(value)}")
        return {str(key): _load_value(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return load(typing.cast(type[Any], hint), value, path=path)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _load_enum(hint, value, path)
    return _load_scalar(hint, value, path)


def _load_union(arguments: tuple[Any, ...], value: Any, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    options = [option for option in arguments if option is not type(None)]
    for option in options[:-1]:
        try:
            return _load_value(option, value, path)
        except SchemaError:
            continue
    return _load_value(options[-1], value, path)


def _load_tuple(arguments: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SchemaError(path, f"expected a list, got {_kind(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_load_value(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if len(arguments) != len(value):
        raise SchemaError(path, f"expected {len(arguments)} items, got {len(value)}")
    return tuple(_load_value(a, item, f"{path}[{i}]") for i, (a, item) in enumerate(zip(arguments, value, strict=True)))


def _load_enum(hint: type[enum.Enum], value: Any, path: str) -> enum.Enum:
    try:
        return hint(value)
    except ValueError:
        legal = ", ".join(str(member.value) for member in hint)
        raise SchemaError(path, f"{value!r} is not one of {legal}") from None


def _load_scalar(hint: Any, value: Any, path: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is hint:
        if hint is float and not math.isfinite(value):
            raise SchemaError(path, f"must be finite, got {value}")
        return value
    names = {int: "an integer", float: "a number", str: "a string", bool: "a boolean"}
    raise SchemaError(path, f"expected {names.get(hint, hint)}, got {_kind(value)}")
