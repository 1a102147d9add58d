"""Errors about a scenario that options describe: they name the option, for there is no file to look into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def by_option(names: Mapping[str, str]) -> Iterator[None]:
    """Names the option in a SchemaError about the value that it stands for: ``names`` are options by path."""
    from tamiyo_runtime.contracts.errors import SchemaError, UsageError

    try:
        yield
    except SchemaError as exc:
        if exc.path not in names:
            raise
        problem = exc.message.removeprefix(f"{exc.path}: ")
        raise UsageError(f"{names[exc.path]}: {problem}", hint=exc.hint) from exc
