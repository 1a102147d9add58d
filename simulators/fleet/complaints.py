"""What is wrong with a scenario, said with the path of the field, so that its file's reader finds the line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tamiyo_runtime.contracts.errors import SchemaError, UnknownNameError, UsageError
from tamiyo_runtime.contracts.registry import Registry


def doc(text: str) -> dict[str, str]:
    """Metadata of a dataclass field: its line in the reference of docs/fleet.md."""
    return {"doc": text}


@contextmanager
def at(path: str) -> Iterator[None]:
    """Names the field in errors of code that knows nothing of fields, and puts it before those that it knows."""
    try:
        yield
    except SchemaError as exc:
        raise SchemaError(f"{path}.{exc.path}", exc.message.removeprefix(f"{exc.path}: "), hint=exc.hint) from exc
    except UsageError as exc:
        raise SchemaError(path, exc.message, hint=exc.hint) from exc


def unknown(path: str, noun: str, name: str, names: Iterable[str]) -> SchemaError:
    """The error for a name that is none: near ones in its hint, or all."""
    error = UnknownNameError(noun, name, names)
    return SchemaError(path, error.message, hint=error.hint)


def check_name(path: str, registry: Registry[Any], name: str) -> None:
    """Raise SchemaError for a name that nothing is registered under."""
    if name not in registry:
        raise unknown(path, registry.noun, name, registry.names())
