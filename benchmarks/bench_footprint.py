"""What the runtime costs a board beside a bare interpreter loop: installed size, start, peak and steady memory.

Two clean environments: the built wheel with the extra ``device``, and one with nothing but numpy and ai-edge-litert.
Both run the same graphs of the same bundle once, as whole processes in turn. Then, for LiteRT and for ONNX Runtime,
each as a device in the field: samples at a steady pace, a spool on disk, a broker with TLS and client certificates;
beside it `steady_peer.py` with the same libraries. Needs the package index and mosquitto. The bundle must have
variants in both formats; without one a short run is trained and exported for raspberry-pi-4.

    python benchmarks/bench_footprint.py [BUNDLE] [--runs N] [--settle-s S] [--over-s S]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from benchmarks.steady import Steady, observe
from tests.arm64.bundles import make
from tests.far_end import Fleet, broker

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
PEER = Path(__file__).parent / "steady_peer.py"
ENGINES = {"tflite": "litert", "onnx": "onnxruntime"}
PERIODS_S = {"20 ms": 0.02, "1 s": 1.0}
HOST = ("--device", "host", "--latency-ms", "0")
"""Without a deadline: what is measured here is memory, and a busy machine must not end a run."""
FORBIDDEN = ("torch", "onnx", "tensorflow", "jax", "pandas")

# Linux counts the parent's memory as a child's until it calls exec, and keeps the peak: the parent must be small.
LAUNCHER = """
import json, os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started_s = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(child, 0)
elapsed_s = time.perf_counter() - started_s
print(json.dumps([elapsed_s, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""

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
    install(python, *requirements)
    return python


def install(python: Path, *requirements: str) -> None:
    """Add to an environment, in the versions that the project is tested with."""
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-c", str(CONSTRAINTS)]
    subprocess.run([*pip, *requirements], check=True)


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
    launch = [sys.executable, "-S", "-c", LAUNCHER, *command]
    told = subprocess.run(launch, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    elapsed_s, peak_mib, code = json.loads(told)
    if code != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return elapsed_s, peak_mib


def graphs_of(bundle: Path, form: str, folder: Path) -> tuple[str, list[str]]:
    """The bundle's first variant of a format, and the files of its largest configuration, unpacked, in order."""
    with zipfile.ZipFile(bundle) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        variant = next(item for item in manifest["variants"] if item["format"] == form)
        chain = variant["runnables"][-1]["chain"]
        return variant["id"], [archive.extract(variant["graphs"][graph]["file"], folder) for graph in chain]


def steadily(
    pythons: dict[str, Path],
    bundle: Path,
    trust: list[str],
    folder: Path,
    fleet: Fleet,
    *,
    settle_s: float,
    over_s: float,
) -> dict[str, dict[str, Steady]]:
    """Runtime and peer in the field, by engine and pace: one after the other."""
    environment = {**os.environ, "PYTHONPATH": ""}
    pki, seen = fleet.authority.folder, {}
    fleet.authority.issue("device")
    for form, engine in ENGINES.items():
        variant, files = graphs_of(bundle, form, folder)
        for pace, period_s in PERIODS_S.items():
            state = folder / f"state-{engine}-{period_s}"
            state.mkdir()
            run = ["-m", "tamiyo_runtime.cli.main", "run", bundle, "--variant", variant, *HOST, *trust]
            run += ["--source", "generator?seed=1", "--samples", 10**9, "--period-ms", 1000 * period_s]
            run += ["--device-id", "device", "--fleet", fleet.name, "--state-dir", state, *fleet.options(pki, "device")]
            peer = [PEER, engine, fleet.url.rpartition(":")[2], pki, state / "peer.db", period_s, *files]
            pair = {"tamiyo": [pythons["tamiyo"], *run], "bare": [pythons["bare"], *peer]}
            seen[f"{engine}, a sample every {pace}"] = {
                label: observe([*map(str, words)], environment, settle_s=settle_s, over_s=over_s)
                for label, words in pair.items()
            }
    return seen


def main() -> None:
    """Build, install, run in turn, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--settle-s", type=float, default=10.0)
    parser.add_argument("--over-s", type=float, default=20.0)
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

        bundle, trust = arguments.bundle, list[str]()
        if bundle is None:
            (folder / "made").mkdir()
            bundle = make(folder / "made")["raspberry-pi-4"]
            trust = ["--key", str(folder / "made" / "signer.pub")]
        _, files = graphs_of(bundle, "tflite", folder)
        environment = {**os.environ, "PYTHONPATH": ""}
        run = ["-m", "tamiyo_runtime.cli.main", "run", str(bundle), "--samples", "1", "--broker", "none"]
        run += [*HOST, *trust, "--period-ms", "0", "--state-dir", str(folder / "state")]
        commands = {
            "tamiyo": [str(ours), *run],
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
        pythons = {"tamiyo": ours, "bare": bare}
        sizes = {label: installed_bytes(python) / 2**20 for label, python in pythons.items()}
        for python, added in ((ours, ["onnxruntime"]), (bare, ["onnxruntime", "paho-mqtt"])):
            install(python, *added)
        with broker(folder / "broker") as fleet, fleet.collecting():
            settled = {"settle_s": arguments.settle_s, "over_s": arguments.over_s}
            steady = steadily(pythons, bundle, trust, folder, fleet, **settled)

    ratios = [a / b for a, b in zip(seconds["tamiyo"], seconds["bare"], strict=True)]
    print(f"{'':44}{'tamiyo':>10}{'bare loop':>12}{'ratio':>9}")
    medians = {label: statistics.median(values) for label, values in seconds.items()}
    peaks = {label: statistics.median(values) for label, values in memory.items()}
    show("installed, MiB", sizes)
    show("start to first answer, exit, s", medians)
    show("peak memory, MiB", peaks)
    for title, pair in steady.items():
        print(f"{title}, TLS broker, spool:")
        show("  resident, MiB", {label: item.resident_mib for label, item in pair.items()})
        show("  of it the process's own, MiB", {label: item.anonymous_mib for label, item in pair.items()})
        show("  of one core, %", {label: 100 * item.cpu_share for label, item in pair.items()})
        show("  wake-ups a second", {label: item.wakeups_per_s for label, item in pair.items()})
    figures = {
        "installed_mib": sizes,
        "wall_s": {label: spread(values) for label, values in seconds.items()},
        "wall_ratio": spread(ratios),
        "peak_mib": {label: spread(values) for label, values in memory.items()},
        "steady": {title: {label: asdict(item) for label, item in pair.items()} for title, pair in steady.items()},
    }
    packages = ["numpy", "ai-edge-litert", "onnxruntime", "cryptography", "paho-mqtt"]
    print(f"written to {append('footprint', figures, packages)}")


def show(title: str, pair: dict[str, float]) -> None:
    """One line of the table."""
    ratio = f"{pair['tamiyo'] / pair['bare']:9.2f}" if pair["bare"] else f"{'-':>9}"
    print(f"{title:44}{pair['tamiyo']:10.2f}{pair['bare']:12.2f}{ratio}")


if __name__ == "__main__":
    main()
