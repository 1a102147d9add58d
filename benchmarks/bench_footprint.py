"""What the runtime costs a board beside a bare interpreter loop: installed size, start to first answer, peak memory.

Two clean environments: the built wheel with the extra ``device``, and one with nothing but numpy and ai-edge-litert.
Both run the same graphs of the same bundle once, as whole processes in turn. Needs the package index.

    python benchmarks/bench_footprint.py BUNDLE [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
FORBIDDEN = ("torch", "onnx", "tensorflow", "jax", "pandas")

BARE = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
value = None
for path in sys.argv[1:]:
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    entry, out = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(entry["index"], np.zeros(entry["shape"], entry["dtype"]) if value is None else value)
    interpreter.invoke()
    value = interpreter.get_tensor(out["index"])
print(int(value.argmax()))
"""


def make_environment(folder: Path, *requirements: str) -> Path:
    """A virtual environment with the requirements; returns its python."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    subprocess.run([*pip, *requirements], check=True)
    return python


def installed_bytes(python: Path) -> int:
    """Size of everything in site-packages but pip and setuptools, which a board image has anyway."""
    packages = next((python.parents[1] / "lib").glob("python3*/site-packages"))
    skipped = ("pip", "setuptools", "_distutils_hack")
    return sum(
        path.lstat().st_size
        for path in packages.rglob("*")
        if path.is_file() and not path.relative_to(packages).parts[0].startswith(skipped)
    )


def whole_process(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of one process, by the operating system's own accounting."""
    started_s = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    elapsed_s = time.perf_counter() - started_s
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return elapsed_s, usage.ru_maxrss / 1024


def main() -> None:
    """Build, install, run in turn, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
        subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        wheel = next(folder.glob("*.whl"))
        ours = make_environment(folder / "ours", f"{wheel}[device]")
        bare = make_environment(folder / "bare", "numpy", "ai-edge-litert")
        for module in FORBIDDEN:
            probe = subprocess.run([str(ours), "-c", f"import {module}"], capture_output=True, check=False)
            if probe.returncode == 0:
                raise SystemExit(f"{module} is installed beside the runtime")

        with zipfile.ZipFile(arguments.bundle) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            variant = next(v for v in manifest["variants"] if v["format"] == "tflite")
            chain = variant["runnables"][-1]["chain"]
            files = [archive.extract(variant["graphs"][graph]["file"], folder) for graph in chain]
        environment = {**os.environ, "PYTHONPATH": ""}
        run = ["-m", "tamiyo_runtime.cli.main", "run", str(arguments.bundle), "--samples", "1", "--broker", "none"]
        commands = {
            "tamiyo": [str(ours), *run, "--device", "host", "--period-ms", "0", "--state-dir", str(folder / "state")],
            "bare": [str(bare), "-c", BARE, *files],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        memory: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(arguments.runs + 1):
            for label, command in commands.items():
                elapsed_s, peak_mib = whole_process(command, environment)
                if turn:  # the first warms the disk cache
                    seconds[label].append(elapsed_s)
                    memory[label].append(peak_mib)
        sizes = {"tamiyo": installed_bytes(ours) / 2**20, "bare": installed_bytes(bare) / 2**20}

    ratios = [a / b for a, b in zip(seconds["tamiyo"], seconds["bare"], strict=True)]
    print(f"{'':32}{'tamiyo':>10}{'bare loop':>12}{'ratio':>9}")
    medians = {label: statistics.median(values) for label, values in seconds.items()}
    peaks = {label: statistics.median(values) for label, values in memory.items()}
    for title, pair, unit in (
        ("installed", sizes, "MiB"),
        ("start to first answer, exit", medians, "s"),
        ("peak memory", peaks, "MiB"),
    ):
        print(f"{title + ', ' + unit:32}{pair['tamiyo']:10.2f}{pair['bare']:12.2f}{pair['tamiyo'] / pair['bare']:9.2f}")
    figures = {
        "installed_mib": sizes,
        "wall_s": {label: spread(values) for label, values in seconds.items()},
        "wall_ratio": spread(ratios),
        "peak_mib": {label: spread(values) for label, values in memory.items()},
    }
    print(f"written to {append('footprint', figures, ['numpy', 'ai-edge-litert', 'cryptography', 'paho-mqtt'])}")


if __name__ == "__main__":
    main()
