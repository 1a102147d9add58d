"""The top level: fast, forgiving to read, strict in exit codes, no traceback unasked."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

from tamiyo_runtime import __version__
from tamiyo_runtime.cli import main as module
from tamiyo_runtime.cli.main import COMMANDS, DEBUG, Command, main
from tamiyo_runtime.contracts.errors import BudgetError


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tamiyo_runtime.cli.main import main; main(['--help']);"
        "loaded = {'typer', 'numpy', 'torch', 'rich', 'paho'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_explains_itself(name: str, tamiyo: Any) -> None:
    target = COMMANDS[name].target
    path, _, attribute = target.partition(":")
    assert hasattr(importlib.import_module(path), attribute)
    outcome = tamiyo(name, "--help")
    assert outcome.code == 0
    assert f"Usage: tamiyo {name}" in outcome.out


def test_the_version_and_an_empty_command_line(tamiyo: Any) -> None:
    assert tamiyo("--version") == (0, f"tamiyo {__version__}\n", "")
    empty = tamiyo()
    assert (empty.code, "Usage: tamiyo COMMAND" in empty.out) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exprot"], "did you mean export"),
        (["--versoin"], "did you mean --version"),
        (["run", "x.tamiyo", "--devise", "host"], "did you mean --device"),
        (["run"], "missing argument"),
        (["run", "x.tamiyo", "--samples", "many"], "--samples"),
        (["run", "x.tamiyo", "--samples", "0"], "--samples"),
        (["key"], "which of its commands"),
        (["key", "nwe"], "new"),
    ],
)
def test_a_mistyped_command_line_gets_one_line_and_a_hint(tamiyo: Any, arguments: list[str], said: str) -> None:
    outcome = tamiyo(*arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.startswith("error: ")
    assert "\nhint: " in outcome.err
    assert len(outcome.err.splitlines()) == 2


def _install(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    def probe() -> None:
        action()

    monkeypatch.setattr(module, "probe", probe, raising=False)
    monkeypatch.setitem(COMMANDS, "probe", Command("tamiyo_runtime.cli.main:probe", "a test's command"))


def _raiser(error: BaseException) -> Any:
    def action() -> None:
        raise error

    return action


def test_errors_of_ours_have_their_exit_code_and_hint(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _raiser(BudgetError("too much", hint="want less")))
    assert tamiyo("probe") == (3, "", "error: too much\nhint: want less\n")


def test_an_unexpected_error_is_one_line_and_its_traceback_is_there_for_the_asking(
    tamiyo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(monkeypatch, _raiser(KeyError("gone\naway")))
    outcome = tamiyo("probe")
    assert outcome.code == 1
    assert "internal error: KeyError" in outcome.err
    assert DEBUG in outcome.err
    monkeypatch.setenv(DEBUG, "1")
    with pytest.raises(KeyError):
        main(["probe"])


def test_a_library_that_is_missing_deep_inside_names_its_extra(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _raiser(ModuleNotFoundError("No module named 'torch'", name="torch")))
    outcome = tamiyo("probe")
    assert outcome.code == 5
    assert "pip install 'tamiyo-edge[train]'" in outcome.err
    _install(monkeypatch, _raiser(ModuleNotFoundError("No module named 'ours'", name="ours")))
    assert tamiyo("probe").code == 1


def test_an_interrupt_and_a_closed_pipe_end_quietly(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _raiser(KeyboardInterrupt()))
    assert tamiyo("probe") == (130, "", "interrupted\n")
    command = f"{sys.executable} -m tamiyo_runtime.cli.main --help | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_commands_own_exit_code_is_kept(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    _install(monkeypatch, _raiser(typer.Exit(4)))
    assert tamiyo("probe").code == 4
