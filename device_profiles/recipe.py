"""The parts of a profile that are no figures: how networks are compiled for it, and how far off the model was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from device_profiles.figures import check_keys, number, require_key, text
from device_profiles.profile import ExportHints, Validation
from tamiyo_runtime.contracts.errors import SchemaError

LAYOUTS = ("auto", "segments", "whole")
_FIGURES = ("latency", "energy")


def read_export(data: Any, *, path: str) -> ExportHints:
    """Read ``[export]``; raises SchemaError. Whether the exporters know the names is for them to say."""
    table = _table(data, path)
    check_keys(table, ("variants", "layout"), optional=("operator_table", "compiler", "options"), path=path)
    variants = require_key(table, "variants", path=path)
    if not isinstance(variants, list) or not variants or not all(isinstance(item, str) for item in variants):
        raise SchemaError(f"{path}.variants", f"must be a list of names, the preferred first, got {variants!r}")
    layout = text(table, "layout", path=path)
    if layout not in LAYOUTS:
        raise SchemaError(f"{path}.layout", f"'{layout}' is not one of {', '.join(LAYOUTS)}")
    options = _table(table.get("options", {}), f"{path}.options")
    return ExportHints(
        variants=tuple(variants),
        layout=layout,
        operator_table=text(table, "operator_table", path=path) if "operator_table" in table else None,
        compiler=text(table, "compiler", path=path) if "compiler" in table else None,
        options={key: text(options, key, path=f"{path}.options") for key in options},
    )


def read_validation(data: Any, *, path: str) -> tuple[Validation, ...]:
    """Read ``[[validation]]``; raises SchemaError."""
    if not isinstance(data, list):
        raise SchemaError(path, "must be an array of tables", hint="write [[validation]]")
    return tuple(_validation(_table(item, f"{path}[{index}]"), f"{path}[{index}]") for index, item in enumerate(data))


def _validation(table: Mapping[str, Any], path: str) -> Validation:
    keys = ("against", "figure", "rows", "mean_error", "worst_error", "held_out")
    check_keys(table, keys, optional=("note",), path=path)
    figure = text(table, "figure", path=path)
    if figure not in _FIGURES:
        raise SchemaError(f"{path}.figure", f"'{figure}' is not one of {', '.join(_FIGURES)}")
    held_out = require_key(table, "held_out", path=path)
    if not isinstance(held_out, bool):
        raise SchemaError(f"{path}.held_out", f"must be true or false, got {held_out!r}")
    mean_error, worst_error = number(table, "mean_error", path=path), number(table, "worst_error", path=path)
    if not 0 <= mean_error <= worst_error:
        raise SchemaError(f"{path}.worst_error", "0 <= mean_error <= worst_error is false; both are shares")
    return Validation(
        against=text(table, "against", path=path),
        figure=figure,
        rows=int(number(table, "rows", path=path)),
        mean_error=mean_error,
        worst_error=worst_error,
        held_out=held_out,
        note=text(table, "note", path=path) if "note" in table else "",
    )


def _table(data: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(data, Mapping):
        raise SchemaError(path, f"must be a table, got {data!r}")
    return data
