"""What a vendor's compiler is to the export: a name, whether it is here, and what it made of a set of graphs.

A compiler is run in a process and a folder of its own, so that one that crashes, hangs or writes where it likes does no
harm. What it says of operators and time is data; whether that is a warning or a failure is for the export to decide.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tamiyo_runtime.contracts.errors import MissingDependencyError
from tamiyo_runtime.contracts.registry import Registry

TIMEOUT_S = 180.0
"""Longest run of a compiler on one set of graphs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorCost:
    """What the compiler says that one graph takes on the accelerator; operators left to the CPU are not in it.

    ``sram_bytes``: memory for activations while it runs; ``stored_bytes``: weights and commands, wherever they lie.
    """

    cycles: int
    clock_mhz: float
    latency_us: float
    sram_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What came of a compiler's run. ``problem``: why nothing did; None when it worked.

    ``files``: what it made, by file name. ``left``: by graph, the operators it leaves to the CPU: the name of their
    first output tensor, with the reason; None from a compiler that only counts operators by kind, which are then in
    ``mapped`` and ``unmapped``. ``costs``: by graph, from a compiler that estimates them.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    mapped: Mapping[str, int] = field(default_factory=dict)
    unmapped: Mapping[str, int] = field(default_factory=dict)
    left: Mapping[str, Mapping[str, str]] | None = None
    costs: Mapping[str, VendorCost] = field(default_factory=dict)
    problem: str | None = None


class VendorCompiler(Protocol):
    """A program that turns int8 TFLite files into an accelerator's own.

    ``needed``: without it there is nothing to run on the device, so that an export fails; otherwise the int8 files run
    on the CPU, and can be compiled elsewhere. ``where``: how to get it.
    """

    @property
    def program(self) -> str: ...

    @property
    def needed(self) -> bool: ...

    @property
    def where(self) -> str: ...

    def version(self) -> str | None:
        """Its version, ``unknown`` where it has none to show without being run; None when it is not installed."""

    def missing(self) -> MissingDependencyError:
        """The error for a user who has to have it."""

    def check(self, options: Mapping[str, str]) -> None:
        """Raise SchemaError for options that it does not know."""

    def command(self, files: Sequence[str], options: Mapping[str, str]) -> str:
        """What a user would type to compile these files."""

    def compile(self, graphs: Mapping[str, bytes], options: Mapping[str, str]) -> Compilation:
        """Compile graphs given by name; it does not raise for what the compiler does."""


vendors: Registry[VendorCompiler] = Registry("vendors", noun="vendor compiler")


def run_apart(arguments: Sequence[str], folder: Path, *, timeout_s: float) -> subprocess.CompletedProcess[str] | None:
    """Run a program in ``folder`` without the caller's Python path; None when it took too long and was stopped."""
    kept = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONSTARTUP"}}
    try:
        return subprocess.run(  # noqa: S603  a fixed program, our own file names, no shell
            list(arguments),
            cwd=folder,
            env=kept,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


def last_word(done: subprocess.CompletedProcess[str]) -> str:
    """The last line that a program wrote before it failed."""
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else "no message"
