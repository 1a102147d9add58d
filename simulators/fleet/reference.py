"""The reference in docs/fleet.md, made from the dataclasses: keys of a scenario, columns of a result.

    python -m simulators.fleet.reference docs/fleet.md      writes it between its markers

A test holds the page to what this makes.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
import typing
from pathlib import Path
from typing import Any

from simulators.fleet.detail.figures import Course, Sampled
from simulators.fleet.parts import Battery, Fault, Gateway, Placement, Schedule, Workload
from simulators.fleet.result import Devices, Gateways, Hours, Packets, Table
from simulators.fleet.scenario import Field, Group, Scenario
from tamiyo_runtime.contracts.budget import Budget

_TABLES: dict[str, type[Any]] = {
    "top of the file": Scenario,
    "[field]": Field,
    "[[gateways]]": Gateway,
    "[[devices]]": Group,
    "[devices.placement]": Placement,
    "[devices.workload]": Workload,
    "[devices.battery]": Battery,
    "[[faults]]": Fault,
    "[schedule]": Schedule,
}
_BUDGET = "[devices.budget]"
_RESULTS: dict[str, type[Table]] = {
    "devices": Devices,
    "packets": Packets,
    "hours": Hours,
    "gateways": Gateways,
    "sampled": Sampled,
    "detail.hours": Course,
}
_KINDS = {int: "integer", float: "number", str: "text", bool: "true or false"}


def scenario_keys() -> str:
    """Tables of all keys, in the order of the file."""
    parts = [
        _table(title, ("key", "kind", "default", "meaning"), [_key(cls, one) for one in dataclasses.fields(cls)])
        for title, cls in _TABLES.items()
    ]
    names = ", ".join(f"`{one.name}`" for one in dataclasses.fields(Budget) if one.name != "extra")
    return "\n".join([*parts, f"`{_BUDGET}`: limits as in a bundle, none by default: {names}.", ""])


def result_columns() -> str:
    """Tables of all columns."""
    return "\n".join(
        _table(
            f"{title}",
            ("column", "unit", "meaning"),
            [(f"`{one.name}`", one.metadata["unit"], one.metadata["meaning"]) for one in dataclasses.fields(cls)],
        )
        for title, cls in _RESULTS.items()
    )


def filled(page: str) -> str:
    """A page with what lies between its markers made afresh."""
    for name, text in (("keys", scenario_keys()), ("columns", result_columns())):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}"
    return page


def _key(cls: type[Any], one: dataclasses.Field[Any]) -> tuple[str, str, str, str]:
    if one.default is not dataclasses.MISSING:
        default = _shown(one.default)
    else:
        default = "needed" if one.default_factory is dataclasses.MISSING else ""
    return f"`{one.name}`", _kind(typing.get_type_hints(cls)[one.name]), default, one.metadata["doc"]


def _kind(hint: Any) -> str:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(_kind(one) for one in typing.get_args(hint) if one is not type(None))
    if typing.get_origin(hint) is tuple:
        return "tables"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "text"
    return _KINDS.get(hint, "table")


def _shown(value: Any) -> str:
    if value is None or isinstance(value, tuple):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"**{title if title.startswith('top') else f'`{title}`'}**", "", f"| {' | '.join(heads)} |"]
    lines.append(f"|{' --- |' * len(heads)}")
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(filled(target.read_text(encoding="utf-8")), encoding="utf-8")
