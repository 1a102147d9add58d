"""What the runtime adds to an inference: governor, policy, accounting and telemetry over a bare interpreter loop.

Both sides run the same graphs in the same process, in turn, many rounds. The bare loop is the least that can be called
one: the library's own calls on inputs that are prepared beforehand, then an argmax. The runtime's side is the whole
session on the machine's real clock: it prepares each raw sample, asks the policy, decides under a latency and an energy
budget, accounts, judges, and records into a real spool on disk.

    python benchmarks/bench_runtime_overhead.py [BUNDLE ...] [--rounds N] [--seconds S]

Time is wall-clock time, which is what a deadline sees; processor time is given as well, since it suffers less where
other work runs on the machine. Without a bundle it exports two hand-made networks, a small one and one of more than
200 us, for x86-64.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.plan import Format, Layout
from tamiyo_runtime.executor import Executor, encoder
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import HostBoard
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.signing import SigningKey, Trust
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.telemetry_opening import open_telemetry

PACKAGES = ("numpy", "ai-edge-litert", "onnxruntime")
Loop = Callable[[int], None]
# Limits that are checked at every inference and never reached: what is timed is the checking.
BUDGET = Budget(latency_ms=1e4, power_mw=1e6, energy_burst_uj=1e9)


def bare_loop(bundle: Bundle, executor: Executor, configuration: str) -> Loop:
    """The interpreter library alone, on the graphs of one configuration."""
    variant = executor.variant
    runnable = executor.runnables[executor.index_of(configuration)]
    first = variant.graphs[runnable.chain[0]]
    encode = encoder(bundle.manifest.input, first.inputs[0], channels_last=variant.format is Format.TFLITE)
    inputs = [encode(sample.value).copy() for sample in open_source("bundle", bundle)]
    if variant.format is Format.ONNX:
        return _bare_onnx(bundle, executor, configuration, inputs)
    steps = []
    from ai_edge_litert.interpreter import Interpreter

    for name in runnable.chain:
        interpreter = Interpreter(model_content=bundle.read(variant.graphs[name].file), num_threads=1)
        interpreter.allocate_tensors()
        entry, exit_ = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        steps.append((interpreter, entry, exit_))

    def loop(count: int) -> None:
        size = len(inputs)
        for index in range(count):
            value: Any = inputs[index % size]
            for interpreter, entry, exit_ in steps:
                interpreter.set_tensor(entry, value)
                interpreter.invoke()
                value = interpreter.get_tensor(exit_)
            int(value.argmax())

    return loop


def _bare_onnx(bundle: Bundle, executor: Executor, configuration: str, inputs: Sequence[Any]) -> Loop:
    import onnxruntime as ort

    variant = executor.variant
    assert variant.layout is Layout.GATED
    (graph,) = variant.graphs.values()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(bundle.read(graph.file), options, providers=["CPUExecutionProvider"])
    by_id = {item.id: item.gates for item in bundle.manifest.configurations}
    gates = [by_id[configuration][slot] for slot in bundle.manifest.plan.seeded_slots]
    feeds = {spec.name: np.asarray(gate) for spec, gate in zip(graph.inputs[1:], gates, strict=True)}
    entry, outputs = graph.inputs[0].name, [graph.outputs[0].name]

    def loop(count: int) -> None:
        size = len(inputs)
        for index in range(count):
            (value,) = session.run(outputs, {entry: inputs[index % size], **feeds})
            int(value.argmax())

    return loop


class RuntimeLoop:
    """Sessions on the machine's clock, telemetry into a real spool."""

    def __init__(self, bundle: Bundle, executor: Executor, spool: Path) -> None:
        self._bundle, self._executor = bundle, executor
        self._policy = Policy.of(bundle, executor.variant.format)
        self._board = HostBoard(bundle.manifest.profile)
        self._source = open_source("bundle", bundle)
        self.telemetry = open_telemetry(
            spool=spool,
            url=None,
            fleet="bench",
            device="bench",
            bundle=bundle.digest[:8],
            link=Ethernet(),
            clock=self._board.clock,
        )
        self.counts: dict[str, int] = {}
        self.has_policy = self._policy is not None

    def __call__(self, count: int) -> None:
        session = Session(
            self._bundle.manifest,
            self._executor,
            board=self._board,
            source=self._source,
            reporter=self.telemetry,
            policy=self._policy,
            plan=Plan(samples=count, period_s=0.0, budget=BUDGET),
        )
        summary = session.run()
        assert summary.inferences == count, summary
        for name, number in summary.counts.items():
            self.counts[name] = self.counts.get(name, 0) + number


def measure(bundle: Bundle, variant: str, rounds: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Interleaved rounds of both loops on one variant; a round of the bare loop takes about ``seconds``."""
    executor = Executor(bundle, variant)
    runtime = RuntimeLoop(bundle, executor, folder / f"{bundle.digest[:8]}-{variant}.spool")
    runtime(300)  # warms up, and shows which configuration the policy settles on
    configuration = max(runtime.counts, key=lambda name: runtime.counts[name])
    bare = bare_loop(bundle, executor, configuration)
    bare(300)
    inferences = max(300, int(seconds / (timed(bare, 300)[0] * 1e-6)))
    runtime.counts.clear()
    loops: dict[str, Loop] = {"bare": bare, "runtime": runtime}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in loops}
    for round_ in range(rounds):
        for name in sorted(loops, reverse=bool(round_ % 2)):
            taken[name].append(timed(loops[name], inferences))
    runtime.telemetry.flush(time.monotonic(), 0.0)
    records = runtime.telemetry.counters().records_created
    runtime.telemetry.close()
    pairs = list(zip(taken["bare"], taken["runtime"], strict=True))
    return {
        "bundle": bundle.manifest.name,
        "variant": variant,
        "interpreter": executor.interpreter,
        "configuration": configuration,
        "same_configuration_share": round(runtime.counts[configuration] / sum(runtime.counts.values()), 4),
        "graphs": len(executor.runnables[executor.index_of(configuration)].chain),
        "policy": runtime.has_policy,
        "bare_us": spread([wall for wall, _ in taken["bare"]]),
        "runtime_us": spread([wall for wall, _ in taken["runtime"]]),
        "added_us": spread([ours[0] - theirs[0] for theirs, ours in pairs]),
        "added_cpu_us": spread([ours[1] - theirs[1] for theirs, ours in pairs]),
        "ratio": spread([ours[0] / theirs[0] for theirs, ours in pairs]),
        "inferences_a_round": inferences,
        "records": records,
    }


def timed(loop: Loop, inferences: int) -> tuple[float, float]:
    """Wall-clock and processor time of an inference, us."""
    wall, cpu = time.perf_counter(), time.process_time()
    loop(inferences)
    return (time.perf_counter() - wall) / inferences * 1e6, (time.process_time() - cpu) / inferences * 1e6


def apart(work: Callable[..., Path], *arguments: Any) -> Path:
    """Do the work in a process of its own, so that what is timed does not share one with torch and its heap."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def hand_made(name: str, channels: int, side: int, folder: Path, key: SigningKey) -> Path:
    """Export a network of our own: two convolution pieces, a head, one seed, random weights and inputs."""
    import torch
    from torch import nn

    from exporters.pipeline import export
    from exporters.request import ExportRequest, SeedModule
    from tamiyo_runtime.contracts.manifest import InputSpec

    torch.manual_seed(0)

    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(channels, channels // 4, 1), nn.Conv2d(channels // 4, channels, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.up(torch.relu(self.down(x)))

    def piece(wide_in: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(wide_in, channels, 3, padding=1), nn.ReLU()).eval()

    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)).eval()
    inputs = np.random.default_rng(0).integers(0, 256, (96, 1, side, side)).astype(np.float32)
    request = ExportRequest(
        name=name,
        task="benchmark",
        classes=tuple(map(str, range(10))),
        input=InputSpec(shape=(1, side, side), layout="CHW", offset=0.0, scale=1 / 255, raw_low=0.0, raw_high=255.0),
        trunk=[piece(1), piece(channels), head],
        seeds=[SeedModule(slot=1, blueprint="adapter", module=Adapter().eval())],
        calibration=inputs[:64],
        test_inputs=inputs[64:],
        test_labels=np.zeros(32, np.int64),
        budget=Budget(latency_ms=1e3),
        accuracy_floor=0.0,
    )
    path = folder / f"{name}.tamiyo"
    export(request, "x86-64", path, key=key)
    return path


def main() -> int:
    """Measure, print, append to results/runtime_overhead.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundles", nargs="*", type=Path, help="signed bundles; default: two hand-made networks")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.5, help="of the bare loop in a round")
    parser.add_argument("--dry-run", action="store_true", help="don't append to the results")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.bundles:
            bundles = [Bundle.open(path) for path in arguments.bundles]
        else:
            key = SigningKey.generate()
            made = [apart(hand_made, "small", 16, 8, folder, key), apart(hand_made, "large", 48, 28, folder, key)]
            bundles = [Bundle.open(path, trusted=Trust.of(key.public)) for path in made]
        bundles = [replace_budget(bundle) for bundle in bundles]
        line = "{:<10} {:<14} {:>6} {:>9} {:>11} {:>9} {:>18} {:>13} {:>6}"
        titles = ("graphs", "bare us", "runtime us", "added us", "quartiles", "added cpu us", "ratio")
        print(line.format("bundle", "variant", *titles))
        for bundle in bundles:
            for variant in bundle.manifest.variants:
                figures = measure(bundle, variant.id, arguments.rounds, arguments.seconds, folder)
                bare, runtime, added, cpu = (
                    f"{figures[name]['median']:.1f}" for name in ("bare_us", "runtime_us", "added_us", "added_cpu_us")
                )
                quartiles = f"{figures['added_us']['q1']:.1f} to {figures['added_us']['q3']:.1f}"
                ratio = f"{figures['ratio']['median']:.2f}"
                name = bundle.manifest.name
                print(line.format(name, variant.id, figures["graphs"], bare, runtime, added, quartiles, cpu, ratio))
                if not arguments.dry_run:
                    append("runtime_overhead", figures, PACKAGES)
    return 0


def replace_budget(bundle: Bundle) -> Bundle:
    """The bundle without limits of its own, which a slow or busy machine might not meet."""
    manifest = replace(bundle.manifest, budget=Budget())
    files = {name: bundle.read(name) for name in bundle.names}
    return Bundle(
        name=bundle.name,
        size_bytes=bundle.size_bytes,
        manifest=manifest,
        digest=bundle.digest,
        signer=bundle.signer,
        files=files,
    )


if __name__ == "__main__":
    sys.exit(main())
