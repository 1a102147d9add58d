"""`make test-arm64`: the wheel on an emulated board with the Raspberry Pi's architecture and system, and a table.

    python -m tests.arm64 [--folder DIR] [--mirror URL]

Needs Linux, root and a Debian mirror. The root folder and the wheels are kept outside of the project for the next
time; all else is made anew. Exit 0: every check passed; 1: one did not; 5: this machine cannot do it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tamiyo_runtime.cli.render import format_table
from tests.arm64 import bundles, checks, rootfs, wheels
from tests.arm64.board import WHEELS, Board

REMARK = "Under emulation seconds say nothing of a board; answers, wheels and memory do. Memory holds qemu's own too."


@dataclass(frozen=True, slots=True)
class Row:
    """One check and what came of it."""

    name: str
    passed: bool
    seconds: float
    remark: str


def ask(name: str, question: Callable[[], str]) -> Row:
    """Run one check, say so, and keep what it says; a failure is a row like others."""
    started_s = time.monotonic()
    try:
        passed, remark = True, question()
    except Exception as exc:  # noqa: BLE001  whatever a check meets, the others are asked too
        passed, remark = False, " ".join(f"{type(exc).__name__}: {exc}".split())
    row = Row(name, passed, time.monotonic() - started_s, remark)
    print(f"{'ok' if row.passed else 'FAILED':<8}{row.name:<34}{row.seconds:6.1f} s  {row.remark}", flush=True)
    return row


def main() -> int:
    """Make what is missing, ask everything, print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.arm64", description=__doc__)
    parser.add_argument("--folder", type=Path, default=cache(), help="for the root folder and the wheels")
    parser.add_argument("--mirror", help="of Debian; default: this machine's own, from apt's sources")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    try:
        root = rootfs.make(arguments.folder / "root", arguments.mirror)
    except rootfs.UnableError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 5
    with tempfile.TemporaryDirectory(prefix="tamiyo-arm64-") as name:
        rows = examine(Board(root), arguments.folder / "wheels", Path(name))
    failed = [row.name for row in rows if not row.passed]
    cells = [[row.name, "ok" if row.passed else "FAILED", f"{row.seconds:.1f}", row.remark] for row in rows]
    print(f"\n{format_table(['check', 'result', 'emulated s', 'remark'], cells)}\n\n{REMARK}")
    print(f"{len(rows) - len(failed)} of {len(rows)} checks passed in {(time.monotonic() - started_s) / 60:.1f} min")
    return 1 if failed else 0


def examine(board: Board, cached: Path, folder: Path) -> list[Row]:
    """Wheel, bundles, installation, then every check; ends early where nothing could follow."""
    made: dict[str, Path] = {}

    def prepare() -> str:
        made.update(bundles.make(folder))
        bundles.command("key", "trust", folder / "signer.pub", home=folder / "home")
        return f"{', '.join(made)}, made on this machine"

    def install() -> str:
        wheel = wheels.build(folder / "dist")
        for earlier in cached.glob("tamiyo_edge-*.whl"):  # of the same name, so pip would keep it
            earlier.unlink()
        wheels.download(cached, f"{wheel}[device]", "onnxruntime", *checks.TEST_TOOLS)
        board.clear()
        board.install(cached, f"{WHEELS}/{wheel.name}[device]", "onnxruntime")
        board.put(folder / "signer.pub", *made.values())
        return f"{wheel.name}[device] and onnxruntime, by the board's own pip, wheels only"

    rows = [ask("bundles", prepare)]
    if rows[-1].passed:
        rows.append(ask("install", install))
    if rows[-1].passed:
        bench = checks.Bench(board, made, folder / "home")
        rows += [ask(title, question) for title, question in checks.questions(bench)]
    return rows


def cache() -> Path:
    """Where root folder and wheels are kept: below ``$XDG_CACHE_HOME``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "tamiyo" / "arm64"


if __name__ == "__main__":
    sys.exit(main())
