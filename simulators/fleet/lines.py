"""On which line of a TOML file a value is: the standard library's parser does not say.

The text is cut into statements, the fewest lines that parse by themselves, and each is given to that parser again. A
statement's keys are on its first line, those inside an inline table or a list too.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

_CLOSES = ("]", "}", '"""', "'''")


def lines_of(text: str) -> dict[str, int]:
    """Line, 1 the first, of each table and key of a valid TOML text, by paths like ``devices[0].battery.voltage_v``."""
    found: dict[str, int] = {}
    tables: dict[str, int] = {}  # arrays of tables, and how many each has so far
    prefix = ""
    for number, statement, parsed in _statements(text):
        if not statement.startswith("["):
            _note(found, prefix, parsed, number)
            continue
        prefix, again = "", statement.startswith("[[")
        keys = _keys(parsed)
        for place, key in enumerate(keys, start=1):
            prefix = f"{prefix}.{key}" if prefix else key
            if again and place == len(keys):
                found.setdefault(prefix, number)
                tables[prefix] = tables.get(prefix, 0) + 1
            if prefix in tables:
                prefix = f"{prefix}[{tables[prefix] - 1}]"
            found.setdefault(prefix, number)
    return found


def line_of(text: str, path: str) -> int | None:
    """Line of a path, or of what it lies in; None where nothing of it is there."""
    found = lines_of(text)
    while path and path not in found:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return found.get(path)


def _statements(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    waiting: list[str] = []
    began = 0
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):  # TOML knows no other ends
        if not waiting:
            began = number
            if not line.strip() or line.lstrip().startswith("#"):
                continue
        waiting.append(line)
        if len(waiting) > 1 and not any(mark in line for mark in _CLOSES):
            continue
        statement = "\n".join(waiting)
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        yield began, statement.lstrip(), parsed
        waiting = []


def _keys(parsed: Mapping[str, Any]) -> list[str]:
    """Of a header: the names from the outermost in."""
    keys = []
    inner: Any = parsed
    while isinstance(inner, Mapping) and inner:
        ((key, inner),) = inner.items()
        keys.append(key)
    return keys


def _note(found: dict[str, int], prefix: str, value: Any, number: int) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            path = f"{prefix}.{key}" if prefix else key
            found.setdefault(path, number)
            _note(found, path, item, number)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _note(found, f"{prefix}[{place}]", item, number)
