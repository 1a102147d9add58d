"""The profile file format, ``tamiyo.profile/1``, and its strict reader.

    schema, id, revision, title, notes      what it is
    [sources.NAME]   basis, text            cited by figures
    [compute] [work.int8] [work.float32] [memory] [power] [model] [simulation] [budget]
    [kernels.int8] [kernels.float32] [accelerator] [systolic] [thermal]    where the device has one, where it is known
    [points.NAME]                           clocks it can run at (`device_profiles.points`)
        key = { value = 3000, low = 2700, high = 4000, unit = "mW", source = "NAME" }
    [export]         variants, layout, operator_table, compiler, options    how networks are compiled for it
    [[validation]]   against, figure, rows, mean_error, worst_error, held_out, note    how far off the model was found

Which figures a section holds is said in `device_profiles.sections`; some of them may be left out.
Every key is known there or refused with the nearest legal name, every figure has a unit, an interval and a source, and
what is physically implausible is refused (`device_profiles.physics`): it is nearly always a wrong unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from device_profiles.engines import rates_of
from device_profiles.figures import Basis, Citation, Figure, check_keys, read_figure, require_key, text
from device_profiles.physics import check_physics
from device_profiles.points import SECTION as POINTS
from device_profiles.points import points_of, read_points
from device_profiles.profile import Profile
from device_profiles.recipe import read_export, read_validation
from device_profiles.sections import OPTIONAL, SECTIONS
from tamiyo_runtime.contracts.document import check_schema
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.plan import Precision

SCHEMA = "tamiyo.profile/1"
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_TEXTS = ("schema", "id", "title", "notes")


def parse_profile(document: Mapping[str, Any], *, sha256: str, path: str) -> Profile:
    """A parsed TOML document as a profile; ``path`` names the file in errors. Raises SchemaError."""
    check_schema(text(document, "schema", path=path), SCHEMA, path=f"{path}: schema")
    tops = {section.partition(".")[0] for section in SECTIONS}
    check_keys(document, {*_TEXTS, "revision", "sources", "export", "validation", POINTS, *tops}, path=path)
    identity = text(document, "id", path=path)
    if not _ID.fullmatch(identity):
        raise SchemaError(f"{path}: id", f"'{identity}' is not lower-case words joined by '-'")
    revision = require_key(document, "revision", path=path)
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise SchemaError(f"{path}: revision", f"must be an integer from 1, got {revision!r}")
    citations = _citations(document, path)
    figures = _figures(document, citations, path)
    check_physics(figures, path)
    figures |= read_points(document.get(POINTS, {}), citations, path=path)
    return Profile(
        id=identity,
        revision=revision,
        title=text(document, "title", path=path),
        notes=text(document, "notes", path=path),
        sha256=sha256,
        figures=figures,
        points=points_of(figures, path=path),
        rates={precision: rates_of(figures, precision) for precision in Precision},
        export=read_export(require_key(document, "export", path=path), path=f"{path}: export"),
        validation=read_validation(document.get("validation", []), path=f"{path}: validation"),
    )


def _citations(document: Mapping[str, Any], path: str) -> dict[str, Citation]:
    result = {}
    for name, data in _table(document, "sources", path).items():
        where = f"{path}: sources.{name}"
        if not isinstance(data, Mapping):
            raise SchemaError(where, "must be a table with basis and text")
        check_keys(data, ("basis", "text"), path=where)
        basis = text(data, "basis", path=where)
        if basis not in list(Basis):
            raise SchemaError(f"{where}.basis", f"'{basis}' is not one of {', '.join(Basis)}")
        result[name] = Citation(basis=Basis(basis), text=text(data, "text", path=where))
    return result


def _figures(document: Mapping[str, Any], citations: Mapping[str, Citation], path: str) -> dict[str, Figure]:
    result = {}
    for split in ("work", "kernels"):
        if split == "work" or split in document:
            check_keys(_table(document, split, path), tuple(Precision), path=f"{path}: {split}")
    for section, rules in SECTIONS.items():
        parent, _, child = section.rpartition(".")
        if parent in OPTIONAL and parent not in document:
            continue
        holder = _table(document, parent, path) if parent else document
        if (child not in holder) and section in OPTIONAL:
            continue
        table = _table(holder, child, path, shown=section)
        check_keys(table, rules, path=f"{path}: {section}")
        for key, figure_rule in rules.items():
            if key not in table and not figure_rule.needed:
                continue
            data = require_key(table, key, path=f"{path}: {section}")
            where = f"{path}: {section}.{key}"
            result[f"{section}.{key}"] = read_figure(data, figure_rule, citations, path=where)
    return result


def _table(document: Mapping[str, Any], name: str, path: str, *, shown: str | None = None) -> Mapping[str, Any]:
    data = require_key(document, name, path=path if shown in (None, name) else f"{path}: {shown}")
    if not isinstance(data, Mapping):
        raise SchemaError(f"{path}: {shown or name}", f"must be a table, got {data!r}")
    return data
