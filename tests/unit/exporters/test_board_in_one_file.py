"""The worked example of docs/profiles.md: a board of the user's own is one file, and every command takes it."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from device_profiles.loader import load_profile
from exporters.request import ExportRequest
from tamiyo_runtime.cli import export_cmd
from tamiyo_runtime.cli.main import main
from tests.unit.device_profiles import fit_cortex_m

PAGE = (Path(__file__).parents[3] / "docs" / "profiles.md").read_text()
BOARD = "my-board.toml"


def fenced(language: str) -> str:
    """The one block of that language on the page."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def example() -> str:
    """The page's example done: the nearest profile without its claims, the page's lines in the place of its own."""
    text = resources.files("device_profiles").joinpath("data/cortex-m4.toml").read_text()
    text = re.sub(r"\[(?:\[validation\]|points\.[a-z0-9-]+)\]\n(?:.+\n)+\n", "", text)
    changes, claims = fenced("toml").split("[[validation]]")
    section = ""
    for line in changes.splitlines():
        if line.startswith("["):
            section = line
        elif line:
            text = replaced(text, section, line)
    return f"{text}\n[[validation]]{claims}"


def replaced(text: str, section: str, line: str) -> str:
    """The file with one key of one section set; the key is there already."""
    start = text.index(f"{section}\n") if section else 0
    key = line.split(" = ", maxsplit=1)[0]
    pattern = re.compile(rf'^{key} = (?:""".*?"""|.*?)$', flags=re.MULTILINE | re.DOTALL)
    found = pattern.search(text, start)
    assert found is not None, line
    assert "\n[" not in text[start + 1 : found.start()], f"{key} is not in {section}"
    return text[: found.start()] + line + text[found.end() :]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request_: ExportRequest) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMIYO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(export_cmd, "_request", lambda run: request_)
    run = tmp_path / "runs" / "digits"
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")  # the hand-made network stands for it
    (tmp_path / BOARD).write_text(example())
    return tmp_path / BOARD


def test_the_commands_of_the_page_take_the_file(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = fenced("sh").splitlines()
    assert [line.split()[1] for line in commands] == ["profile", "targets", "export"]
    for line in commands:
        assert main(line.split()[1:]) == 0, line
        assert "my-board" in capsys.readouterr().out, line
    assert not list(board.parent.glob("*.tamiyo"))


def test_the_example_states_what_the_fit_finds(board: Path) -> None:
    profile = load_profile(BOARD)
    fitted = fit_cortex_m.BOARDS["cortex-m33"]
    for kind, rate in zip(fit_cortex_m.CLASSES, fit_cortex_m.rates_for("cortex-m33"), strict=True):
        assert profile.value(f"work.int8.{kind}") == pytest.approx(rate, rel=5e-3)
    assert profile.value("power.active_mw") == pytest.approx(fitted.active_mw(), rel=5e-3)
    errors = [abs(miss.latency) for miss in fit_cortex_m.held_out("cortex-m33").values()]
    block = profile.validation[0]
    assert (block.rows, len(profile.validation)) == (len(errors), 1)
    assert (block.mean_error, block.worst_error) == pytest.approx((sum(errors) / 4, max(errors)), abs=5e-4)


def test_the_error_on_the_page_is_the_one_that_a_wrong_unit_brings(
    board: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = board.read_text()
    wrong = text.replace("value = 23.1, low = 20.8, high = 25.4", "value = 0.0231, low = 0.0208, high = 0.0254")
    assert wrong != text
    board.write_text(wrong)
    for line in fenced("sh").splitlines():
        assert main(line.split()[1:]) == 2, line
        assert capsys.readouterr().err.strip() == fenced("text").strip(), line


def test_every_section_of_the_format_is_on_the_page() -> None:
    table = PAGE.partition("## What a file holds")[2].partition("## Worked")[0]
    for name in tomllib.loads(example()):
        assert f"`{name}`" in table or f"[{name}" in table, name
