"""A run and its bundles, made once by the real commands, shared by all integration tests."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tamiyo_runtime.cli.main import main

ROOT = Path(__file__).parents[2]
TARGETS = ("x86-64", "raspberry-pi-4", "edge-tpu")

Tamiyo = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One home for keys for the whole session, so that bundles made once stay trusted."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def tamiyo(home: Path) -> Tamiyo:
    """Run a command as a user would: another process, its exit code, what it printed."""

    def run(*arguments: object, timeout_s: float = 280.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tamiyo_runtime.cli.main", *map(str, arguments)]
        environment = {**os.environ, "TAMIYO_HOME": str(home), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    return run


@pytest.fixture(scope="session")
def here(home: Path, tools_that_remember: None) -> Tamiyo:
    """The same command line in this process, which loads once what every new one would load for seconds."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words, out, err = [str(argument) for argument in arguments], io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAMIYO_HOME", str(home))
            patch.chdir(ROOT)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(words)
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches what a test starts; behind `&` in a script, processes inherit that signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def run_folder(tamiyo: Tamiyo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run that has grown two seeds: by a schedule, since a smoke run is too short for any to prove itself."""
    folder = tmp_path_factory.mktemp("train") / "digits"
    result = tamiyo("train", folder, "--growth", "examples/schedule.toml", "--steps", 256)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="session")
def bundles(here: Tamiyo, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle for each target."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {}
    for target in TARGETS:
        made[target] = folder / f"{target}.tamiyo"
        result = here(
            "export", run_folder, "--target", target, "--out", made[target], "--accuracy-floor", "0", "--smoke"
        )
        assert result.returncode == 0, result.stderr
    return made
