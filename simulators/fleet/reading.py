"""A scenario from its TOML file: strict, with one error that names the file, the line, the key and what is legal.

    name = "orchard"
    days = 30
    [[gateways]]
    [[devices]]
    name = "soil"
    count = 40
    link = "lora-eu868"
    placement = { kind = "disc", radius_m = 2000 }
    workload = { report_period_s = 3600 }

Keys are the fields of `scenario.Scenario` and of the values within. Files that a scenario names are looked for beside
it.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from device_profiles.loader import SUFFIX
from simulators.fleet.lines import line_of
from simulators.fleet.scenario import Group, Scenario
from tamiyo_runtime.contracts.document import EXTRA, load
from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.files import read_bytes

_LIMIT_BYTES = 1 << 20
_ROOT = "scenario"


def read_scenario(
    path: Path, *, seed: int | None = None, days: float | None = None, sample: int | None = None
) -> Scenario:
    """The scenario in a file, with another seed, duration or sample if given.

    Raises InputError for a file that cannot be read or is not TOML, SchemaError for what is wrong in it.
    """
    raw = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="scenario")
    try:
        text = raw.decode()
    except UnicodeDecodeError as exc:
        raise InputError(f"{path} is not text: {exc}", hint="a scenario is a TOML file in UTF-8") from exc
    scenario = parse_scenario(text, name=str(path), folder=path.parent)
    if seed is not None:
        scenario = replace(scenario, seed=seed)
    if sample is not None:
        scenario = replace(scenario, sample=sample)
    return scenario if days is None else replace(scenario, days=days)


def parse_scenario(text: str, *, name: str, folder: Path) -> Scenario:
    """The scenario in a text; ``name`` is the file's in errors, ``folder`` where it lies. Raises as `read_scenario`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise InputError(f"{name} is not TOML: {exc}", hint='keys are written key = value, texts in "quotes"') from exc
    with placed(text, name):
        _check_keys(Scenario, document, "")
        return _beside(_load(document), folder)


@contextmanager
def placed(text: str, name: str) -> Iterator[None]:
    """Puts file and line before the path of a SchemaError about a scenario that was read from ``text``."""
    try:
        yield
    except SchemaError as exc:
        line = line_of(text, exc.path)
        where = name if line is None else f"{name}:{line}"
        problem = exc.message.removeprefix(f"{exc.path}: ")
        raise SchemaError(f"{where}: {exc.path}", problem, hint=exc.hint) from exc


def _load(document: Mapping[str, Any]) -> Scenario:
    try:
        return load(Scenario, document, path=_ROOT)
    except SchemaError as exc:
        path = exc.path.removeprefix(f"{_ROOT}.")
        problem = exc.message.removeprefix(f"{exc.path}: ")
        raise SchemaError(path, problem, hint=exc.hint) from exc


def _beside(scenario: Scenario, folder: Path) -> Scenario:
    """Files by paths from where the command runs."""

    def beside(group: Group) -> Group:
        if group.network is not None:
            group = replace(group, network=str(folder / group.network))
        if group.profile.endswith(SUFFIX):
            group = replace(group, profile=str(folder / group.profile))
        if group.placement is not None and group.placement.file is not None:
            group = replace(group, placement=replace(group.placement, file=str(folder / group.placement.file)))
        return group

    return replace(scenario, devices=tuple(beside(group) for group in scenario.devices))


def _check_keys(cls: type[Any], data: Any, path: str) -> None:
    """Refuse the first key that the dataclass does not have; values of the wrong kind are for `load` to refuse."""
    if not isinstance(data, Mapping):
        return
    hints = {name: hint for name, hint in typing.get_type_hints(cls).items() if name != EXTRA}
    legal = [field.name for field in dataclasses.fields(cls) if field.name in hints]
    for key, value in data.items():
        inner = f"{path}.{key}" if path else key
        if key not in legal:
            near = difflib.get_close_matches(key, legal, n=2, cutoff=0.5)
            guess = f"did you mean {' or '.join(near)}? " if near else ""
            raise SchemaError(inner, "unknown key", hint=f"{guess}legal here: {', '.join(legal)}")
        found = _dataclass_in(hints[key])
        if found is None:
            continue
        items = enumerate(value) if isinstance(value, list) else ()
        for place, item in items:
            _check_keys(found, item, f"{inner}[{place}]")
        _check_keys(found, value, inner)


def _dataclass_in(hint: Any) -> type[Any] | None:
    """The dataclass that a field holds, may hold or holds many of."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (types.UnionType, typing.Union, tuple):
        return next((found for one in typing.get_args(hint) if (found := _dataclass_in(one)) is not None), None)
    return None
