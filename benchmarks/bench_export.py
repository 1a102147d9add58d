"""What an exported bundle runs like beside plain exports of the same trained network.

    python benchmarks/bench_export.py [--run RUN ...] [--rounds N] [--executorch VENV] [--dry-run]

The contenders compute the same network with all its seeds, one thread, batch 1, on prepared inputs, through the
interpreter library's own calls, in turn, round after round; so a slow spell of the machine meets all of them:

    ours               the preferred variant of `tamiyo export --target x86-64`, all seeds
    ours, smallest     the cheapest configuration of that variant
    litert-torch       `litert_torch.convert(network, (x,))`, nothing else
    onnxruntime        `torch.onnx.export(network, (x,), dynamo=True)`, nothing else
    executorch         XNNPACK, in a virtual environment of its own, made when there is none

Accuracy is measured for each on the run's test split. A ratio is ours over the fastest of the others, round by round.
Without --run it trains a small network on digits (dsconv), MNIST-1D (conv1d) and spirals (mlp) first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread

PACKAGES = ("torch", "litert-torch", "ai-edge-litert", "onnxruntime", "numpy")
EXECUTORCH = ("torch==2.13.0", "executorch==1.5.1", "numpy")
ROOT = Path(__file__).parents[1]
RUNS: Mapping[str, tuple[str, ...]] = {
    "digits": ("--task", "digits"),
    "mnist1d": ("--task", "mnist1d"),
    "spirals": ("--task", "spirals"),
}
AIM = 1.05
SAMPLES = 64
Answers = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One compiled form: ``time_us(count)`` times that many inferences; accuracy on the test split."""

    name: str
    size_bytes: int
    accuracy: float | None
    time_us: Callable[[int], float]
    note: str = ""


def train(name: str, folder: Path) -> Path:
    """A short run that has grown."""
    run = folder / name
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "train", str(run), *RUNS[name], "--growth", "kasmina"]
    subprocess.run([*command, "--steps", "256"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return run


def loop_of(step: Callable[[Any], Any], inputs: list[Any]) -> Callable[[int], float]:
    """Times ``step`` over the inputs, us an inference; the answer is looked at, as a caller would."""

    def time_us(count: int) -> float:
        size = len(inputs)
        started = time.perf_counter()
        for index in range(count):
            int(step(inputs[index % size]).argmax())
        return (time.perf_counter() - started) / count * 1e6

    return time_us


def accuracy_of(step: Callable[[Any], Any], inputs: list[Any], labels: Answers) -> float:
    """Share of the samples that are answered right."""
    return float(np.mean([int(step(value).argmax()) for value in inputs] == labels))


def litert_step(*files: bytes) -> Callable[[Any], Any]:
    """A chain of TFLite graphs, by the library's own calls."""
    from ai_edge_litert.interpreter import Interpreter

    steps = []
    for data in files:
        interpreter = Interpreter(model_content=data, num_threads=1)
        interpreter.allocate_tensors()
        ends = (interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"])
        steps.append((interpreter, *ends))

    def step(value: Any) -> Any:
        for interpreter, entry, exit_ in steps:
            interpreter.set_tensor(entry, value)
            interpreter.invoke()
            value = interpreter.get_tensor(exit_)
        return value

    return step


def onnx_step(data: bytes, feeds: Mapping[str, Any]) -> Callable[[Any], Any]:
    """An ONNX graph, by the library's own calls."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    entry, outputs = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    return lambda value: session.run(outputs, {entry: value, **feeds})[0]


def ours(bundle: Path, raw: Answers, labels: Answers) -> list[Contender]:
    """The full and the cheapest configuration of the preferred variant."""
    from tamiyo_runtime.bundle import Bundle
    from tamiyo_runtime.contracts.plan import Format
    from tamiyo_runtime.executor import encoder

    opened = Bundle.open(bundle)
    variant = opened.manifest.variants[0]
    gates = {item.id: item.gates for item in opened.manifest.configurations}
    full = max(variant.runnables, key=lambda item: sum(gates[item.configuration]))
    found = []
    for name, runnable in (("ours", full), ("ours, smallest", variant.runnables[0])):
        graphs = [variant.graphs[graph] for graph in runnable.chain]
        channels_last = variant.format is Format.TFLITE
        encode = encoder(opened.manifest.input, graphs[0].inputs[0], channels_last=channels_last)
        inputs = [encode(sample).copy() for sample in raw]
        if variant.format is Format.TFLITE:
            step = litert_step(*(opened.read(graph.file) for graph in graphs))
        else:
            slots = opened.manifest.plan.seeded_slots
            switches = [np.asarray(gates[runnable.configuration][slot]) for slot in slots]
            names = [item.name for item in graphs[0].inputs[1:]]
            step = onnx_step(opened.read(graphs[0].file), dict(zip(names, switches, strict=True)))
        found.append(
            Contender(
                name=name,
                size_bytes=sum(opened.manifest.files[graph.file].size_bytes for graph in graphs),
                accuracy=accuracy_of(step, inputs, labels),
                time_us=loop_of(step, inputs[:SAMPLES]),
                note=f"{variant.id}, {variant.layout.value}, {runnable.configuration}, graphs: {len(graphs)}",
            )
        )
    return found


def plain(network: Any, real: Answers, labels: Answers, scratch: Path) -> list[Contender]:
    """What a user gets from the exporters alone."""
    import torch

    from exporters.backends.toolchain import quiet, tool

    litert_torch = tool("litert_torch")
    inputs = [np.ascontiguousarray(row[np.newaxis]) for row in real]
    example = torch.from_numpy(inputs[0])
    with quiet():
        tflite = litert_torch.convert(network, (example,)).model_content()
        program = torch.onnx.export(network, (example,), dynamo=True, external_data=False, verbose=False)
    assert program is not None
    program.save(str(scratch / "plain.onnx"))
    onnx = (scratch / "plain.onnx").read_bytes()
    made = []
    for name, size, step in (
        ("litert-torch", len(tflite), litert_step(bytes(tflite))),
        ("onnxruntime", len(onnx), onnx_step(onnx, {})),
    ):
        right = accuracy_of(step, inputs, labels)
        made.append(
            Contender(
                name=name, size_bytes=size, accuracy=right, time_us=loop_of(step, inputs[:SAMPLES]), note="float32"
            )
        )
    return made


@contextmanager
def executorch(network: Any, real: Answers, venv: Path, scratch: Path) -> Any:
    """The peer process; its environment is made when it is missing."""
    import torch

    python = venv / "bin" / "python"
    if not python.exists():
        print(f"making {venv} with {', '.join(EXECUTORCH)}: 1.5 GB ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *EXECUTORCH], check=True)
    torch.export.save(torch.export.export(network, (torch.from_numpy(real[:1].copy()),)), scratch / "network.pt2")
    np.save(scratch / "samples.npy", real[:SAMPLES])
    command = [str(python), str(ROOT / "benchmarks" / "executorch_peer.py")]
    peer = subprocess.Popen(
        [*command, str(scratch / "network.pt2"), str(scratch / "samples.npy")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={"OMP_NUM_THREADS": "1", "PATH": str(venv / "bin")},
    )
    entry, answers = peer.stdin, peer.stdout
    assert entry is not None and answers is not None

    def time_us(count: int) -> float:
        print(count, file=entry, flush=True)
        return float(_answer(answers)["us"])

    first = _answer(answers)
    try:
        yield Contender(
            name="executorch",
            size_bytes=int(first["size_bytes"]),
            accuracy=None,
            time_us=time_us,
            note=f"float32, XNNPACK, {first['difference']:.1e} from torch",
        )
    finally:
        entry.close()
        peer.wait(timeout=30)


def _answer(answers: IO[str]) -> dict[str, float]:
    """The next line that is an answer; the library prints beside it."""
    for line in answers:
        if line.startswith("{"):
            found: dict[str, float] = json.loads(line)
            return found
    raise RuntimeError("the ExecuTorch process ended early; run benchmarks/executorch_peer.py by hand to see why")


def compare(contenders: list[Contender], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Interleaved rounds; each contender runs about ``seconds`` a round."""
    counts = {}
    for item in contenders:
        item.time_us(200)
        counts[item.name] = max(200, int(seconds / (item.time_us(200) * 1e-6)))
    taken: dict[str, list[float]] = {item.name: [] for item in contenders}
    for round_ in range(rounds):
        for item in contenders[:: 1 if round_ % 2 else -1]:
            taken[item.name].append(item.time_us(counts[item.name]))
    return taken


def bench(run: Path, venv: Path, rounds: int, seconds: float, scratch: Path) -> dict[str, Any]:
    """Export one run every way and compare."""
    from exporters.network import capture, scaled
    from exporters.pipeline import export
    from tamiyo_runtime.cli.export_cmd import request_of
    from tamiyo_runtime.signing import SigningKey
    from tamiyo_train.checkpoint import load_run
    from tamiyo_train.handover import pieces

    request = request_of(pieces(load_run(run)))
    network = capture(request)
    whole, real = network.whole(network.full.gates), scaled(request, request.test_inputs)
    bundle = scratch / "ours.tamiyo"
    started = time.perf_counter()
    export(request, "x86-64", bundle, key=SigningKey.default(), overwrite=True)
    export_s = time.perf_counter() - started
    with ExitStack() as stack:
        peers = plain(whole, real, request.test_labels, scratch)
        peers.append(stack.enter_context(executorch(whole, real, venv, scratch)))
        contenders = [*ours(bundle, request.test_inputs, request.test_labels), *peers]
        taken = compare(contenders, rounds, seconds)
    best = [min(values) for values in zip(*(taken[peer.name] for peer in peers), strict=True)]
    ratio = [mine / theirs for mine, theirs in zip(taken["ours"], best, strict=True)]
    smallest = [small / full for small, full in zip(taken["ours, smallest"], taken["ours"], strict=True)]
    print(f"\n{request.name}: {sum(piece.params for piece in network.pieces)} parameters, exported in {export_s:.1f} s")
    for item in contenders:
        right = "as torch" if item.accuracy is None else f"{100 * item.accuracy:.1f} %"
        low, middle, high = (spread(taken[item.name])[key] for key in ("q1", "median", "q3"))
        times = f"{middle:7.1f} us ({low:.1f} to {high:.1f})"
        print(f"  {item.name:<16} {times:<30} {item.size_bytes:>8} B  {right:>8}  {item.note}")
    found = spread(ratio)
    verdict = "met" if found["median"] <= AIM else "MISSED"
    print(f"  ours over the best of the others: {found['median']:.3f} (aim {AIM}: {verdict}); ", end="")
    print(f"smallest over full: {spread(smallest)['median']:.3f}")
    return {
        "run": request.name,
        "export_s": round(export_s, 1),
        "contenders": {
            item.name: {
                "us": spread(taken[item.name]),
                "size_bytes": item.size_bytes,
                "accuracy": item.accuracy,
                "note": item.note,
            }
            for item in contenders
        },
        "ratio_to_best_peer": found,
        "smallest_over_full": spread(smallest),
    }


def main() -> int:
    """Measure, print, append to results/export.jsonl; fails when the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--run", nargs="*", type=Path, default=[], help="run folders; default: trains three")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=float, default=0.2, help="of each contender in a round")
    parser.add_argument("--executorch", type=Path, default=ROOT / ".venv-executorch", help="its virtual environment")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for run in arguments.run or [train(task, scratch) for task in RUNS]:
            figures = bench(run, arguments.executorch, arguments.rounds, arguments.seconds, scratch)
            missed |= figures["ratio_to_best_peer"]["median"] > AIM
            if not arguments.dry_run:
                append("export", figures, PACKAGES)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
