"""Rendering: tables line up, progress keeps to stderr, native noise is shown only on failure."""

from __future__ import annotations

import io
import json
import os
import tempfile

import pytest

from tamiyo_runtime.cli.render import Progress, emit_json, format_table, hushed, progress, show_error
from tamiyo_runtime.contracts.errors import UsageError
from tamiyo_runtime.files import folder_in_memory


def test_figures_line_up_to_the_right_and_names_to_the_left() -> None:
    assert format_table(["name", "ms"], [["a", 1], ["longer", "10.5"], ["none", None]]).splitlines() == [
        "name      ms",
        "------  ----",
        "a          1",
        "longer  10.5",
        "none       -",
    ]


def test_a_table_without_rows_is_its_heading() -> None:
    assert format_table(["a", "b"], []) == "a  b\n-  -"


def test_json_never_holds_what_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"ä": [1, None]})
    assert json.loads(capsys.readouterr().out) == {"ä": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        emit_json(float("nan"))


def test_an_error_without_hint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(UsageError("wrong"))
    assert capsys.readouterr().err == "error: wrong\n"


def test_progress_off_a_terminal_is_one_line_a_phase(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("phase", 3) as bar:
        for _ in range(3):
            bar.advance(remark="busy")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("phase  3/3  busy  ok  ")
    assert err.count("\n") == 1
    with pytest.raises(RuntimeError), progress("phase"):
        raise RuntimeError
    assert "phase  failed" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), progress("phase"):
        raise KeyboardInterrupt
    assert "phase  stopped" in capsys.readouterr().err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_shows_share_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen, seconds = Terminal(), iter([0.0, 2.0, 4.0, 4.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    bar = Progress("run", 100, screen)
    bar.advance(20)
    assert "run  20/100 (20 %)  10/s  8 s left" in screen.getvalue()
    bar.advance(20)
    bar.finish("ok")
    assert screen.getvalue().endswith("run  40/100  ok  4.0 s\n")


def test_native_noise_is_dropped_on_success_and_shown_on_failure(capfd: pytest.CaptureFixture[str]) -> None:
    with hushed():
        os.write(2, b"INFO: Created delegate\n")
    assert capfd.readouterr().err == ""
    with pytest.raises(RuntimeError), hushed():
        os.write(2, b"FATAL: bad model\n")
        raise RuntimeError
    assert capfd.readouterr().err == "FATAL: bad model\n"


@pytest.mark.skipif(folder_in_memory() is None, reason="no folder in memory here")
def test_native_noise_needs_no_room_on_a_disk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", full)
        with hushed():
            os.write(2, b"INFO: Created delegate\n")
    assert capfd.readouterr().err == ""
