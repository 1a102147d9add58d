"""Step 6: the vendor's compiler, when it is installed: run in a folder and a process of its own, its log read back."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporters.compiled import Compiled
from exporters.report import VendorReport
from exporters.steps.outcome import Outcome, ok, skip, warn
from exporters.targets import Target, VendorCompiler
from tamiyo_runtime.contracts.errors import MissingToolError
from tamiyo_runtime.contracts.plan import Precision

TIMEOUT_S = 180.0
_MAPPED = "Mapped to Edge TPU"
_ROW = re.compile(r"^(?P<operator>[A-Z][A-Z0-9_]+)\s+(?P<count>\d+)\s+(?P<status>\S.*)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFiles:
    """Files the compiler made, by name inside the bundle."""

    files: Mapping[str, bytes]
    report: VendorReport | None


def run(compiled: tuple[Compiled, ...], target: Target, *, strict: bool) -> tuple[VendorFiles, Outcome]:
    """Compile the int8 graphs, or say which command would.

    Raises MissingToolError when ``strict`` and the compiler is not installed.
    """
    compiler = target.compiler
    if compiler is None:
        return VendorFiles(files={}, report=None), skip(f"{target.name} needs no vendor compiler")
    graphs = {
        name: artefact.data
        for variant in compiled
        if variant.recipe.precision is Precision.INT8
        for name, artefact in variant.artefacts.items()
    }
    command = " ".join(compiler.command(*(f"{name}.tflite" for name in graphs)))
    program = shutil.which(compiler.program)
    if program is None:
        if strict:
            raise MissingToolError(
                f"the compiler '{compiler.program}' is not on PATH",
                hint=f"install it from {compiler.where}, or leave --strict out",
            )
        report = VendorReport(program=compiler.program, command=command, ran=False)
        return VendorFiles(files={}, report=report), skip(
            f"{compiler.program} not found: the int8 graphs run on the CPU as they are",
            f"compile elsewhere: unzip BUNDLE 'graphs/*' && cd graphs/{compiled[0].recipe.id} && {command}",
            f"the compiler: {compiler.where}",
        )
    return _compile(program, compiler, graphs, command)


def _compile(
    program: str, compiler: VendorCompiler, graphs: Mapping[str, bytes], command: str
) -> tuple[VendorFiles, Outcome]:
    with tempfile.TemporaryDirectory(prefix="tamiyo-vendor-") as place:
        folder = Path(place)
        for name, data in graphs.items():
            (folder / f"{name}.tflite").write_bytes(data)
        arguments = [program, *compiler.command(*(f"{name}.tflite" for name in graphs))[1:]]
        try:
            done = subprocess.run(  # noqa: S603  a fixed program from PATH, our own file names, no shell
                arguments, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            report = VendorReport(program=compiler.program, command=command, ran=False)
            return VendorFiles(files={}, report=report), warn(f"{compiler.program} took over {TIMEOUT_S:g} s: stopped")
        logs = "\n".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.log")))
        mapped, unmapped = parse_log(logs or done.stdout)
        files = {f"vendor/{path.name}": path.read_bytes() for path in sorted(folder.glob("*_edgetpu.tflite"))}
    report = VendorReport(
        program=compiler.program, command=command, ran=done.returncode == 0, mapped=mapped, unmapped=unmapped
    )
    if done.returncode != 0 or not files:
        last = (done.stderr or done.stdout).strip().splitlines()
        return VendorFiles(files={}, report=report), warn(
            f"{compiler.program} failed with {done.returncode}: {last[-1] if last else 'no message'}"
        )
    text = f"{len(files)} graphs compiled, {sum(mapped.values())} operators on the accelerator"
    if unmapped:
        return VendorFiles(files=files, report=report), warn(f"{text}; CPU: {', '.join(sorted(unmapped))}")
    return VendorFiles(files=files, report=report), ok(text)


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
