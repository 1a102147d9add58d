"""Vela, Arm's compiler for the Ethos-U: a Python package, run at every export for such a device.

Each graph is compiled by itself, so that the cycles of its file are those of a link in the chain; they add up exactly,
which is why they can be the cost table of all configurations. They are Vela's own estimate: it counts what the hardware
would do, and neither an FVP model nor a board has confirmed the figures here.
"""

from __future__ import annotations

import csv
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from exporters.vendors import compiler
from exporters.vendors.compiler import Compilation, VendorCost, last_word, run_apart, vendors
from tamiyo_runtime.contracts.errors import MissingDependencyError, MissingExtraError, SchemaError

EXTRA = "ethos"
OUTPUT = "_vela.tflite"
_DISTRIBUTION = "ethos-u-vela"
_NEEDED = ("accelerator_config", "system_config", "memory_mode")
_DEFAULTS = {"config": "Arm/vela.ini"}
_KNOWN = (*_NEEDED, *_DEFAULTS, "optimise", "arena_cache_size")
_KIB = 1024
_WARNING = re.compile(
    r"^Warning \(supported operators\) operator: (?P<operator>\S+), ofm: '(?P<tensor>[^']*)'\s*\n"
    r"(?:Reason: )?(?P<reason>[^\n]*)",
    re.MULTILINE,
)
_STORED = ("dram_memory_used", "on_chip_flash_memory_used", "off_chip_flash_memory_used")


@dataclass(frozen=True, slots=True, kw_only=True)
class VelaGraph:
    """One graph as Vela compiled it; ``left`` as in `Compilation`."""

    data: bytes
    cost: VendorCost
    left: Mapping[str, str]


class Vela:
    """``python -m ethosu.vela``, a process a graph: it takes half a second, and a crash in C++ is only a message."""

    program = "vela"
    needed = True
    where = f"pip install 'tamiyo-edge[{EXTRA}]'"

    def version(self) -> str | None:
        """Of the installed package; looked up without importing it."""
        try:
            return version(_DISTRIBUTION) if find_spec("ethosu") is not None else None
        except (PackageNotFoundError, ValueError):
            return None

    def missing(self) -> MissingDependencyError:
        """It is an extra."""
        return MissingExtraError("ethosu.vela", EXTRA)

    def check(self, options: Mapping[str, str]) -> None:
        """Device, system and memory mode must be given: Vela's defaults belong to no device in particular."""
        for name in _NEEDED:
            if name not in options:
                raise SchemaError(f"export.options.{name}", "is missing; Vela needs it")
        for name in options:
            if name not in _KNOWN:
                raise SchemaError(f"export.options.{name}", f"is none of Vela's: {', '.join(_KNOWN)}")

    def command(self, files: Sequence[str], options: Mapping[str, str]) -> str:
        """One command a file, in one line."""
        return " && ".join(" ".join((self.program, *_flags(options), name)) for name in files)

    def compile(self, graphs: Mapping[str, bytes], options: Mapping[str, str]) -> Compilation:
        """Compile one graph after the other; the first that fails ends it."""
        made: dict[str, VelaGraph] = {}
        for name, data in graphs.items():
            found = _compile(name, data, options)
            if isinstance(found, str):
                return Compilation(problem=f"{self.program} on {name}: {found}")
            made[name] = found
        return Compilation(
            files={f"{name}{OUTPUT}": item.data for name, item in made.items()},
            left={name: item.left for name, item in made.items()},
            costs={name: item.cost for name, item in made.items()},
        )


def _flags(options: Mapping[str, str]) -> list[str]:
    flags = []
    for name, value in {**_DEFAULTS, **options}.items():
        flags += [f"--{name.replace('_', '-')}", value]
    return flags


def _compile(name: str, data: bytes, options: Mapping[str, str]) -> VelaGraph | str:
    """The graph, or what went wrong."""
    with tempfile.TemporaryDirectory(prefix="tamiyo-vela-") as place:
        folder = Path(place)
        (folder / f"{name}.tflite").write_bytes(data)
        arguments = [sys.executable, "-m", "ethosu.vela", f"{name}.tflite", *_flags(options)]
        arguments += ["--output-dir", "out", "--verbose-performance", "--show-cpu-operations"]
        done = run_apart(arguments, folder, timeout_s=compiler.TIMEOUT_S)
        if done is None:
            return f"took over {compiler.TIMEOUT_S:g} s: stopped"
        if done.returncode != 0:
            return f"failed with {done.returncode}: {last_word(done)}"
        try:
            (summary,) = (folder / "out").glob(f"{name}_summary_*.csv")
            return parse(
                (folder / "out" / f"{name}{OUTPUT}").read_bytes(),
                summary=summary.read_text(),
                layers=(folder / "out" / f"{name}_per-layer.csv").read_text(),
                log=done.stdout + done.stderr,
            )
        except (OSError, ValueError, KeyError) as exc:
            return f"wrote no report that can be read ({type(exc).__name__}: {exc})"


def parse(data: bytes, *, summary: str, layers: str, log: str) -> VelaGraph:
    """Read Vela's reports on one graph.

    ``summary``: the CSV with one row of totals; ``layers``: one row an operator as compiled, with its target; ``log``
    has the reason for each operator that is left. Raises ValueError or KeyError for reports of another form.
    """
    (totals,) = csv.DictReader(summary.splitlines())
    reasons = {item["tensor"]: item["reason"].strip() for item in _WARNING.finditer(log)}
    left = {
        row["Name"]: reasons.get(row["Name"], "Vela leaves it to the CPU and does not say why")
        for row in csv.DictReader(layers.splitlines())
        if row["Target"] == "CPU"
    }
    cost = VendorCost(
        cycles=round(float(totals["cycles_total"])),
        clock_mhz=float(totals["core_clock"]) * 1e-6,
        latency_us=float(totals["inference_time"]) * 1e6,
        sram_bytes=round(float(totals["sram_memory_used"]) * _KIB),
        stored_bytes=round(sum(float(totals[key]) for key in _STORED) * _KIB),
    )
    return VelaGraph(data=data, cost=cost, left=left)


vendors.register("vela")(Vela())
