"""The short way from a command line to a command's arguments: the same values as Typer's, or none."""

from __future__ import annotations

import functools
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.cli import plain
from tamiyo_runtime.cli.main import COMMANDS, _click_exception, _typer

FUNCTIONS: dict[str, Callable[..., Any]] = {}
for _name, _command in COMMANDS.items():
    _module, _, _attribute = _command.target.partition(":")
    _target = getattr(importlib.import_module(_module), _attribute)
    if not isinstance(_target, typer.Typer):
        FUNCTIONS[_name] = _target
NUMBERS = ["1", "0", "-1", "007", "2.5", "1e3", ".5", "5.", "1_000", "nan", "inf", " 1", "99999999999999999999"]
TEXTS = ["a", "a=b", "-", "--", "-x", "", "on", "/nowhere/x", "..", "ü"]
OPTIONS = ["--json", "--no-policy", "--policy", "--overwrite", "--help"]
WORDS = st.sampled_from([*NUMBERS, *TEXTS, *OPTIONS])
RUN_BY_TLS = "b.tamiyo --broker mqtts://h:8883 --broker-ca ca.pem --period-ms 0 --no-policy --budget-at 1:latency-ms=5"
RUN_TRACED = "--samples=3 --seed 4 b.tamiyo --trace t.csv --overwrite --key a.pub --key b.pub --power-mw 1.5e2 --json"


def by_typer(function: Callable[..., Any], arguments: list[str]) -> dict[str, Any] | None:
    """What Typer would call the function with; None for what it refuses, or help."""
    seen: list[dict[str, Any]] = []

    @functools.wraps(function)
    def listen(**values: Any) -> None:
        seen.append(values)

    try:
        _typer(listen, "test", arguments)
    except (_click_exception(), typer.Exit, typer.Abort):
        return None
    return seen[0] if seen else None


def complete(function: Callable[..., Any], values: dict[str, Any]) -> dict[str, Any]:
    return {name: values.get(name, item.default) for name, item in inspect.signature(function).parameters.items()}


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A command and words that may suit it: its own options, each with some value, and stray ones."""
    name = draw(st.sampled_from(sorted(FUNCTIONS)))
    own = [f"--{item.replace('_', '-')}" for item in inspect.signature(FUNCTIONS[name]).parameters]
    option = st.sampled_from([*own, "--json", "--for"])
    joined = st.builds("{}={}".format, option, WORDS)
    piece = st.one_of(st.tuples(option, WORDS), st.tuples(joined), st.tuples(option), st.tuples(WORDS))
    return name, [word for words in draw(st.lists(piece, max_size=4)) for word in words]


@given(lines())
@settings(max_examples=300)
def test_what_is_read_the_short_way_is_what_typer_reads(line: tuple[str, list[str]]) -> None:
    name, arguments = line
    function = FUNCTIONS[name]
    values = plain.read(function, arguments)
    if values is not None:
        assert by_typer(function, arguments) == complete(function, values)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "run",
            "b.tamiyo --broker mqtts://h:8883 --broker-ca ca.pem --period-ms 0 --no-policy --budget-at 1:latency-ms=5",
        ),
        (
            "run",
            "--samples=3 --seed 4 b.tamiyo --trace t.csv --overwrite --key a.pub --key b.pub --power-mw 1.5e2 --json",
        ),
        ("collect", "--store s.db --for 2 --until-balanced"),
        ("verify", "b.tamiyo --json"),
        ("doctor", ""),
    ],
)
def test_an_ordinary_line_is_read_the_short_way(name: str, line: str) -> None:
    function, arguments = FUNCTIONS[name], line.split()
    values = plain.read(function, arguments)
    assert values is not None
    assert complete(function, values) == by_typer(function, arguments)


@pytest.mark.parametrize("line", ["--help", "-h", "c", "--sample 3", "--samples", "--samples 0", "--samples x"])
def test_help_and_mistakes_are_left_to_typer(line: str) -> None:
    assert plain.read(FUNCTIONS["run"], ["b.tamiyo", *line.split()]) is None
    assert plain.read(FUNCTIONS["run"], []) is None


@pytest.mark.parametrize("line", ["--samples 010", "--device --json", "--power-mw nan", "--", "--device=", "--json=1"])
def test_odd_forms_are_left_to_typer(line: str) -> None:
    assert plain.read(FUNCTIONS["run"], ["b.tamiyo", *line.split()]) is None


def test_a_file_that_may_not_be_read_is_left_to_typer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "b.tamiyo").touch()
    assert plain.read(FUNCTIONS["verify"], [str(file)]) == {"bundle": file}
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read everything
    assert plain.read(FUNCTIONS["verify"], [str(file)]) is None


def test_an_ordinary_command_starts_without_pydantic() -> None:
    script = (
        "import sys\nfrom tamiyo_runtime.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print(code, sorted({'pydantic', 'rich', 'torch'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", script, "verify", "/nowhere/b.tamiyo"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "2 []", result.stderr
