"""Coral's compiler for the Edge TPU: a program of 2021 for x86-64 Linux, run when it is on PATH.

It can't be had from any package index. Without it the int8 graphs are what the bundle holds; they run on the CPU, and
can be compiled on another machine by the command that the export shows.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from exporters.vendors import compiler
from exporters.vendors.compiler import Compilation, last_word, run_apart, vendors
from tamiyo_runtime.contracts.errors import MissingDependencyError, MissingToolError, SchemaError

_FLAGS = ("--show_operations",)
_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^(?P<operator>[A-Z][A-Z0-9_]+)\s+(?P<count>\d+)\s+(?P<status>\S.*)$")


class EdgeTpuCompiler:
    """``edgetpu_compiler``: all graphs in one run, one log a graph."""

    program = "edgetpu_compiler"
    needed = False
    where = "https://coral.ai/docs/edgetpu/compiler (Debian package edgetpu-compiler, x86-64)"

    def version(self) -> str | None:
        """Only whether it is there: it would have to be run to be asked."""
        return None if shutil.which(self.program) is None else "unknown"

    def missing(self) -> MissingDependencyError:
        """It has to be fetched from its vendor."""
        return MissingToolError(
            f"the compiler '{self.program}' is not on PATH",
            hint=f"install it from {self.where}, or leave --strict out",
        )

    def check(self, options: Mapping[str, str]) -> None:
        """It takes none."""
        for name in options:
            raise SchemaError(f"export.options.{name}", f"{self.program} takes no options")

    def command(self, files: Sequence[str], options: Mapping[str, str]) -> str:
        """One command for all files."""
        return " ".join((self.program, *_FLAGS, "--out_dir", ".", *files))

    def compile(self, graphs: Mapping[str, bytes], options: Mapping[str, str]) -> Compilation:
        """Run it in a folder of its own and read its logs."""
        program = shutil.which(self.program)
        if program is None:
            return Compilation(problem=f"{self.program} is not on PATH")
        with tempfile.TemporaryDirectory(prefix="tamiyo-vendor-") as place:
            folder = Path(place)
            for name, data in graphs.items():
                (folder / f"{name}.tflite").write_bytes(data)
            names = [f"{name}.tflite" for name in graphs]
            done = run_apart([program, *_FLAGS, "--out_dir", ".", *names], folder, timeout_s=compiler.TIMEOUT_S)
            if done is None:
                return Compilation(problem=f"{self.program} took over {compiler.TIMEOUT_S:g} s: stopped")
            logs = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
            files = {path.name: path.read_bytes() for path in sorted(folder.glob("*_edgetpu.tflite"))}
        if done.returncode != 0 or not files:
            return Compilation(problem=f"{self.program} failed with {done.returncode}: {last_word(done)}")
        mapped, unmapped = parse_log(logs or done.stdout)
        return Compilation(files=files, mapped=mapped, unmapped=unmapped)


def parse_log(text: str) -> tuple[dict[str, int], dict[str, int]]:
    """Operators that the compiler's table says are mapped, and the others with their status; counts are summed."""
    mapped: dict[str, int] = {}
    unmapped: dict[str, int] = {}
    for line in text.splitlines():
        row = _ROW.match(line.strip())
        if row is None:
            continue
        operator, count, status = row["operator"], int(row["count"]), row["status"].strip()
        if status == _MAPPED:
            mapped[operator] = mapped.get(operator, 0) + count
        else:
            key = f"{operator} ({status})"
            unmapped[key] = unmapped.get(key, 0) + count
    return mapped, unmapped


vendors.register("edgetpu")(EdgeTpuCompiler())
