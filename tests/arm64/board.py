"""The root folder as a board: tamiyo installed in it from wheels, and its commands."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.arm64.rootfs import Outcome, Root

HOME = "/opt/tamiyo-home"
PYTHON = "/opt/tamiyo/bin/python"
TAMIYO = "/opt/tamiyo/bin/tamiyo"
WORK = "/var/tamiyo"
WHEELS = "/opt/wheels"


class FailedError(Exception):
    """A check found something wrong; the message says what."""


@dataclass(frozen=True, slots=True)
class Board:
    """Commands on the emulated board. Paths are those of the inside."""

    root: Root

    def clear(self) -> None:
        """Take off what an earlier run left: the installation, keys, state."""
        for folder in ("/opt/tamiyo", HOME, WORK, WHEELS):
            shutil.rmtree(self.root.path(folder), ignore_errors=True)
        for folder in (HOME, WORK):
            self.root.path(folder).mkdir(parents=True)

    def install(self, wheels: Path, *requirements: str) -> None:
        """A virtual environment with the requirements, by the board's own pip, from these wheels and no index."""
        shutil.copytree(wheels, self.root.path(WHEELS))
        self.shell("python3", "-m", "venv", "/opt/tamiyo")
        self.pip(*requirements)

    def pip(self, *arguments: str) -> None:
        """Install with the board's pip."""
        options = ("--no-index", f"--find-links={WHEELS}", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
        self.shell(PYTHON, "-m", "pip", "install", *options, *arguments)

    def shell(self, *command: str, environment: Mapping[str, str] | None = None) -> Outcome:
        """Run a command; raises FailedError unless it ends with 0."""
        outcome = self.root.run(*command, environment={"TAMIYO_HOME": HOME, **(environment or {})})
        if outcome.code != 0:
            words = (outcome.stderr.strip() or outcome.stdout.strip())[-600:]
            raise FailedError(f"{' '.join(command[:6])}: exit {outcome.code}: {words}")
        return outcome

    def python(self, script: str, *arguments: str) -> Outcome:
        """Run a script in the environment."""
        return self.shell(PYTHON, "-c", script, *arguments)

    def tamiyo(self, *arguments: object) -> Outcome:
        """Run a command of tamiyo; raises FailedError unless it ends with 0."""
        return self.shell(TAMIYO, *map(str, arguments))

    def json(self, *arguments: object) -> Any:
        """What a command prints with ``--json``."""
        return json.loads(self.tamiyo(*arguments, "--json").stdout)

    def put(self, *files: Path) -> None:
        """Copy files into the work folder."""
        for file in files:
            shutil.copy(file, self.root.path(WORK))

    def file(self, name: str) -> Path:
        """Where a file of the work folder is for this machine."""
        return self.root.path(WORK) / name
