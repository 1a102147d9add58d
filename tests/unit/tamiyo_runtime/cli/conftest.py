"""Commands are called in this process, as the console script does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tamiyo_runtime import cage
from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.signing import SigningKey
from tests import tiny


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Tamiyo = Callable[..., Outcome]


@pytest.fixture
def tamiyo(capfd: pytest.CaptureFixture[str]) -> Tamiyo:
    """Run a command; no traceback is ever right."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Outcome(int(code), out, err)

    return run


@pytest.fixture
def own_bundle(tmp_path: Path) -> Path:
    """A tiny bundle signed by this home's development key, so trusted here."""
    made, path = tiny.make(), tmp_path / "tiny.tamiyo"
    write_bundle(path, made.manifest, made.files, SigningKey.default(), overwrite=False)
    assert Bundle.open(path).manifest.name == "tiny"
    return path


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Hides a module from this process and from the canary's, as on a machine that does not have it."""

    def hide(module: str) -> None:
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        (hidden / "sitecustomize.py").write_text(
            "import sys\n"
            "class Hidden:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name.partition('.')[0] == {module!r}: raise ModuleNotFoundError(name)\n"
            "sys.meta_path.insert(0, Hidden())\n"
        )
        ours = cage._environment()
        monkeypatch.setattr(cage, "_environment", lambda: {**ours, "PYTHONPATH": f"{hidden}:{ours['PYTHONPATH']}"})
        monkeypatch.setattr("tamiyo_runtime.interpreters.base._installed", lambda name: not name.startswith(module))

    return hide
