"""An export before it is done: everything that decides what comes out, as a document that can be done later.

``tamiyo export RUN --target T --dry-run --plan plan.json`` writes one; ``tamiyo export --replay plan.json`` does it,
and refuses where the run, the profile or a tool is no longer the one the plan was made with.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.document import check_schema, dump, load, parse_json, require
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.contracts.plan import Format, Layout, Precision

SCHEMA = "tamiyo.export-plan/1"
_SHOWN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVariant:
    """A compiled form to make; ``configurations`` of the seeds that it will run."""

    id: str
    format: Format
    precision: Precision
    layout: Layout
    configurations: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportPlan:
    """What an export will do. ``accuracy_floor`` is a share; None: two points below the network's own in torch.

    ``estimate`` is the budget step's line, for people. ``version`` is the bundle's. ``options`` go to the vendor's
    compiler; ``tools`` are the versions of everything that makes or checks a graph.
    """

    schema: str
    run: str
    run_sha256: str
    out: str
    target: str
    profile: str
    profile_sha256: str
    variants: tuple[PlannedVariant, ...]
    groups: tuple[tuple[int, ...], ...]
    estimate: str
    budget: Budget
    accuracy_floor: float | None
    quantise: str
    calibration_samples: int
    calibration_sha256: str
    test_samples: int
    options: Mapping[str, str]
    tools: Mapping[str, str]
    smoke: bool
    strict: bool
    overwrite: bool
    version: int = 1

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA)
        for name in ("run", "out", "target", "profile"):
            require(bool(getattr(self, name)), name, "must not be empty")


def read_plan(raw: bytes, *, path: str) -> ExportPlan:
    """Read a plan strictly; raises SchemaError, with the near name for a field that there is none of."""
    data = parse_json(raw, path=path)
    if isinstance(data, Mapping):
        known = [field.name for field in dataclasses.fields(ExportPlan)]
        for key in data:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=2, cutoff=0.5)
                hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
                raise SchemaError(path, f"unknown field '{key}'", hint=hint)
    return load(ExportPlan, data, path=path)


def check_same(planned: ExportPlan, now: ExportPlan) -> None:
    """Raise InputError naming everything that differs between a plan and what an export would do now."""
    found = _differences(dump(planned), dump(now))
    if found:
        raise InputError(
            f"the plan no longer fits: {'; '.join(found)}",
            hint=f"make it again: tamiyo export {planned.run} --target {planned.target} --dry-run --plan FILE, "
            "or bring back what it was made with",
        )


def _differences(before: Mapping[str, Any], after: Mapping[str, Any], path: str = "") -> list[str]:
    found = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += _differences(old, new, f"{path}{key}.")
        elif old != new:
            found.append(f"{path}{key} was {_shown(old)}, is {_shown(new)}")
    return found


def _shown(value: Any) -> str:
    text = "not there" if value is None else str(value)
    return text if len(text) <= 4 * _SHOWN else f"{text[:_SHOWN]}..."
