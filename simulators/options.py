"""Options behind a name, as in ``lte?distance_m=300&seed=1``: taken apart, each given once."""

from __future__ import annotations

import math

from tamiyo_runtime.contracts.errors import UsageError


def parse_options(query: str, *, where: str) -> dict[str, str]:
    """NAME=VALUE&... by name; raises UsageError, which begins with ``where``, for one that is given twice."""
    options: dict[str, str] = {}
    for part in query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if name in options:
            raise UsageError(f"{where}: {name} is given twice", hint=f"either {name}={options[name]} or {part}")
        options[name] = value
    return options


def number(text: str, name: str, *, where: str, example: str) -> float:
    """A finite number, an integer where it is written as one; raises UsageError with the option's name."""
    if text.isdecimal() and len(text) < 19:
        return int(text)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{where}: {name}={text} is no number", hint=f"as in {example}")
    return value
