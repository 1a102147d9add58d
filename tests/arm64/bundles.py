"""Bundles made on this machine to be run on the other: one by hand, and two by the exporters from a trained network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.signing import SigningKey
from tests import tiny

ROOT = Path(__file__).parents[2]
TINY = "tiny"
TARGETS = ("raspberry-pi-4", "gpu-server")
"""Between them: TFLite int8 and float, ONNX float with gates, ONNX int8."""
STEPS = "256"


def make(folder: Path) -> dict[str, Path]:
    """Train shortly, export, and write ``signer.key`` and ``signer.pub`` beside the bundles; bundles by name."""
    signer = folder / "signer.key"
    key = SigningKey.create(signer)
    made = {name: folder / f"{name}.tamiyo" for name in (TINY, *TARGETS)}
    by_hand = tiny.make()
    write_bundle(made[TINY], by_hand.manifest, by_hand.files, key, overwrite=False)
    run = folder / "digits"
    command("train", run, "--growth", "kasmina", "--steps", STEPS, home=folder / "home")
    for target in TARGETS:
        options = ("--accuracy-floor", "0", "--smoke", "--key", signer)
        command("export", run, "--target", target, "--out", made[target], *options, home=folder / "home")
    return made


def command(*arguments: object, home: Path) -> str:
    """What a command of this tree prints, run on this machine; raises RuntimeError with its last words."""
    result = subprocess.run(
        [sys.executable, "-m", "tamiyo_runtime.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "TAMIYO_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"tamiyo {arguments[0]}: exit {result.returncode}: {result.stderr.strip()[-400:]}")
    return result.stdout
