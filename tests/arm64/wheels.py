"""The wheel of this tree and, from the index that pip is configured for, the aarch64 wheels of what it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONSTRAINTS = ROOT / "constraints.txt"
GLIBC_MINOR = 36
"""Debian 12 has glibc 2.36; wheels for 2.17, of 2012, and later run there."""


def build(folder: Path) -> Path:
    """Build the wheel into an empty folder."""
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("tamiyo_edge-*.whl"))


def download(folder: Path, *requirements: str) -> None:
    """Fetch wheels for CPython 3.11 on aarch64, with all they need; what lies there already is taken as it is.

    Only wheels: a board that must compile is a board on which an installation takes hours, or fails.
    """
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(GLIBC_MINOR, 16, -1)]
    tags = [f"--platform={platform}" for platform in (*platforms, "manylinux2014_aarch64", "any")]
    abis = ["--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3", "--abi=none"]
    where = ["--only-binary=:all:", f"--dest={folder}", f"--constraint={CONSTRAINTS}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*command, *where, *abis, *tags, *requirements], check=True, stderr=subprocess.DEVNULL)
