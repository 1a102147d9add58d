"""Host-steps a second of a population against a loop over plain modules: same host, same data, same work.

The peer trains as many copies of a torch module, one after the other, each with ``torch.optim.Adam`` (fused or
foreach, whichever is faster here), gradient clipping for the host and for each seed, and the same schedule; a
population trains them as lanes. Host: ``mlp`` of width 16 with a fossilised bottleneck in each of its three slots,
batches of 64. One CPU thread, rounds of both in turn. With a CUDA device also the population there, planning and
captured graph together, against the population on one core of the same machine and, with ``--core``, of another one.

    python benchmarks/bench_population.py [--rounds N] [--lanes 1,8,32,128]
                                          [--cuda-lanes 256,1024,4096,16384] [--core HOST_STEPS_S]
"""

from __future__ import annotations

import argparse
import copy
import functools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: one core, as the figure says

import torch
from torch import nn

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.results import append, spread
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors, data_of
from tamiyo_train.hosts import Host, hosts
from tamiyo_train.population import Population
from tamiyo_train.population.draws import Draws
from tamiyo_train.seed import GrownNetwork
from tamiyo_train.static import committed

Figures = dict[str, Any]
WIDTH = 16
STEPS = 50
"""Steps a round, and in a captured graph."""
WINDOWS = 4
"""Windows a round on a CUDA device, so that planning one may overlap with training another."""
DISTINCT = 32
EPISODE = Episode(steps=1_000_000, decisions=10, consolidation_steps=0, batch=64, learning_rate=3e-3, gate_dropout=0.0)
TOPOLOGY = dict.fromkeys(range(3), "bottleneck")
build = functools.partial(hosts.get("mlp"), shape=(2,), classes=2, width=WIDTH)


def grown(seed: int) -> GrownNetwork:
    """The host of a seed with all its slots filled."""
    torch.manual_seed(seed)
    host: Host = build()
    return committed(host, TOPOLOGY, seed=seed)


class Plain(nn.Module):
    """The same network as a plain module: nothing of growth in its forward pass."""

    def __init__(self, network: GrownNetwork) -> None:
        super().__init__()
        self.trunk = copy.deepcopy(network.trunk)
        self.grafts = nn.ModuleList(copy.deepcopy(network.seed_at(slot).module) for slot in TOPOLOGY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.trunk[0](x)
        for piece, graft in zip(self.trunk[1:], self.grafts, strict=True):
            x = piece(graft(x))
        return x


class Sequential:
    """Plain modules trained one after the other, a step of each in turn."""

    def __init__(self, data: Tensors, lanes: int, **adam: bool) -> None:
        self.data = data
        self.models = [Plain(grown(seed)) for seed in range(lanes)]
        self.groups = [[list(m.trunk.parameters()), *(list(g.parameters()) for g in m.grafts)] for m in self.models]
        self.optimisers = [
            torch.optim.Adam([{"params": group} for group in groups], lr=EPISODE.learning_rate, **adam)
            for groups in self.groups
        ]
        self.generators = [torch.Generator().manual_seed(seed) for seed in range(lanes)]

    def train(self, steps: int) -> None:
        for _ in range(steps):
            for model, groups, optimiser, generator in zip(
                self.models, self.groups, self.optimisers, self.generators, strict=True
            ):
                x, y = self.data.batch(EPISODE.batch, generator)
                optimiser.zero_grad(set_to_none=True)
                nn.functional.cross_entropy(model(x), y).backward()
                for group in groups:
                    nn.utils.clip_grad_norm_(group, EPISODE.gradient_limit)
                optimiser.step()


def population(data: Tensors, lanes: int, *, device: str = "cpu", tf32: bool = False) -> Population:
    """The same networks as lanes; from the 33rd on copies, since making modules takes longer than training them."""
    draws = Draws.STREAM if device == "cpu" else Draws.HASHED
    made = Population(build, data, EPISODE, lanes=lanes, device=device, tf32=tf32, draws=draws)
    for lane in range(min(lanes, DISTINCT)):
        made.load(lane, grown(lane), seed=lane)
    for lane in range(min(lanes, DISTINCT)):
        made.clone(lane, {other: other for other in range(lane + DISTINCT, lanes, DISTINCT)})
    return made


def host_steps_s(train: Callable[[int], object], lanes: int, steps: int = STEPS) -> float:
    """Host-steps a second of one round; waits for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    train(steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return lanes * steps / (time.perf_counter() - started)


def faster_adam(data: Tensors) -> dict[str, bool]:
    """Fused or foreach, whichever is faster on this machine, by the median of five rounds each."""
    rates = {}
    for option in ("fused", "foreach"):
        peer = Sequential(data, 1, **{option: True})
        peer.train(10)
        rates[option] = statistics.median(host_steps_s(peer.train, 1) for _ in range(5))
    return {max(rates, key=lambda option: rates[option]): True}


def on_cpu(data: Tensors, lanes: int, rounds: int, adam: dict[str, bool]) -> Figures:
    """Both in turn at a number of lanes."""
    peer, ours = Sequential(data, lanes, **adam), population(data, lanes)
    peer.train(2)
    ours.train(5)
    rates: dict[str, list[float]] = {"modules": [], "population": []}
    steps = max(2, STEPS // lanes)
    for _ in range(rounds):
        rates["modules"].append(host_steps_s(peer.train, lanes, steps))
        rates["population"].append(host_steps_s(ours.train, lanes))
    ratios = [a / b for a, b in zip(rates["population"], rates["modules"], strict=True)]
    return {"lanes": lanes, "ratio": spread(ratios), **{f"{k}_host_steps_s": spread(v) for k, v in rates.items()}}


def on_cuda(data: Tensors, lanes: int, rounds: int, *, tf32: bool) -> Figures:
    """The population on the CUDA device: whole windows, planning included, and the graph's replays alone."""
    ours = population(data, lanes, device="cuda", tf32=tf32)
    for _ in range(2):
        ours.train(STEPS)  # captures the graph
    plan, outline = ours.planner.plan(ours.lanes, STEPS, {})

    def whole(steps: int) -> None:
        for _ in range(steps // STEPS):
            ours.train(STEPS)

    def replay(steps: int) -> None:
        for _ in range(steps // STEPS):
            ours.engine.run(plan, outline)

    return {
        "lanes": lanes,
        "tf32": tf32,
        "host_steps_s": spread([host_steps_s(whole, lanes, WINDOWS * STEPS) for _ in range(rounds)]),
        "replay_host_steps_s": spread([host_steps_s(replay, lanes, WINDOWS * STEPS) for _ in range(rounds)]),
    }


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--lanes", default="1,8,32,128")
    parser.add_argument("--cuda-lanes", default="256,1024,4096,16384")
    parser.add_argument("--core", type=float, help="host-steps a second of one core elsewhere, to compare with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = data_of("spirals")
    adam = faster_adam(data)
    print(f"one CPU thread, Adam of the loop: {next(iter(adam))}")
    print(f"{'lanes':>7}{'modules/s':>12}{'population/s':>14}{'ratio':>8}   quartiles")
    cpu = []
    for lanes in map(int, arguments.lanes.split(",")):
        row = on_cpu(data, lanes, arguments.rounds, adam)
        cpu.append(row)
        loop, ours, ratio = row["modules_host_steps_s"], row["population_host_steps_s"], row["ratio"]
        print(
            f"{lanes:7}{loop['median']:12.0f}{ours['median']:14.0f}{ratio['median']:8.1f}"
            f"   {ratio['q1']:.1f}..{ratio['q3']:.1f}",
            flush=True,
        )
    figures: Figures = {
        "host": f"mlp-{WIDTH}, 3 bottlenecks, batch {EPISODE.batch}",
        "adam": adam,
        "cpu": cpu,
    }
    if torch.cuda.is_available():
        here = max(row["population_host_steps_s"]["median"] for row in cpu)
        cores = {"this_machine": here} | ({} if arguments.core is None else {"given": arguments.core})
        cuda = [
            on_cuda(data, lanes, arguments.rounds, tf32=tf32)
            for lanes in map(int, arguments.cuda_lanes.split(","))
            for tf32 in (False, True)
        ]
        figures |= {"cuda_device": torch.cuda.get_device_name(), "cores_host_steps_s": cores, "cuda": cuda}
        print(f"{figures['cuda_device']}, windows of {STEPS} steps; times one core at {_listed(cores.values(), 0)} /s")
        print(f"{'lanes':>7}{'tf32':>7}{'windows/s':>13}{'replays/s':>13}   times one core, windows")
        for row in cuda:
            whole, replay = row["host_steps_s"]["median"], row["replay_host_steps_s"]["median"]
            row["times_one_core"] = {name: whole / core for name, core in cores.items()}
            row["replay_times_one_core"] = {name: replay / core for name, core in cores.items()}
            times = _listed(row["times_one_core"].values(), 1)
            print(f"{row['lanes']:7}{row['tf32']!s:>7}{whole:13.0f}{replay:13.0f}   {times}")
    print(f"written to {append('population', figures, ['torch', 'numpy'])}")


def _listed(values: Iterable[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    main()
