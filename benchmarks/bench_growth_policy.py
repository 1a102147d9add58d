"""Teaches growth policies and judges them by `growth_protocol.md`: heuristics, bandit, cloning, PPO, held-out tasks.

    python benchmarks/bench_growth_policy.py                       the shipped policy again: fails where it fell behind
    python benchmarks/bench_growth_policy.py smoke --out DIR       every part once, on the CPU, in minutes
    python benchmarks/bench_growth_policy.py teach --device cuda --out DIR [--seeds 0 1 2]
    python benchmarks/bench_growth_policy.py judge --device cuda --out DIR
    python benchmarks/bench_growth_policy.py table --out DIR
    python benchmarks/bench_growth_policy.py confirm --device cuda --out DIR
    python benchmarks/bench_growth_policy.py ship --out DIR --machine "one ..., torch ..."

``teach`` writes the search for habits, the atlas, the bandit, and for every seed a forecast, the cloned policy and the
one after PPO with their scores on fresh episodes of the training levels; ``judge`` plays all methods on the held-out
levels; ``table`` compares what was played; ``confirm`` plays and compares once more, on levels that no examination had
before; ``ship`` puts the policy that is best on training levels in the package. All of them take up what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks import growth_recheck
from benchmarks.growth_confirming import confirm
from benchmarks.growth_front import beside_gromo, beside_twin
from benchmarks.growth_judging import Court, judge
from benchmarks.growth_prices import price_table
from benchmarks.growth_setting import SMOKE, Scale, held_out_envs, training_envs, write
from benchmarks.growth_shipping import ship
from benchmarks.growth_table import Table, text
from benchmarks.growth_teaching import fitted_bandit, searched, surveyed, teach, tutor_of

HERE = Path(__file__).parent
WHAT = ("check", "smoke", "teach", "judge", "table", "confirm", "ship")


def teach_all(scale: Scale, device: str, out: Path, seeds: Sequence[int]) -> None:
    """Search habits, survey topologies, fit the bandit, and teach a policy from every seed."""
    envs = training_envs(scale, device)
    teachers = searched(scale, envs, out)
    atlases = surveyed(scale, envs, out)
    fitted_bandit(scale, envs, out)
    if not (out / "prices.json").exists():
        write(out / "prices.json", price_table(scale, envs))
    for seed in seeds:
        tutor = tutor_of(scale, envs, atlases, out, seed)
        teach(scale, envs, tutor, teachers.tuned, out=out, seed=seed)


def tabulate(out: Path) -> dict[str, Any]:
    """The table of what was played, with the hashes of who played it."""
    table = Table(out / "plays")
    figures = table.figures() | {"twin": beside_twin(table)}
    if table.has("thrifty-twin"):
        figures["thrifty"] = beside_twin(table, ours="thrifty", theirs="thrifty-twin")
    peer = out / "gromo-judge.jsonl"
    if peer.exists():
        figures["gromo"] = beside_gromo(table, peer)
        figures["passes"] |= figures["gromo"].get("passes", {})
    files = sorted((*out.glob("*.safetensors"), *(out / "plays").glob("*.npz"), *out.glob("gromo-*.jsonl")))
    figures["hashes"] = {path.name: _sha256(path) for path in files} | {
        "protocol": _sha256(HERE / "growth_protocol.md")
    }
    write(out / "table.json", figures)
    print(text(figures))
    return figures


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Check, teach, judge, tabulate, ship, or a little of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="?", choices=WHAT, default="check")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=HERE / "growth_policy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--iterations", type=int, help="of PPO, instead of those of the full run")
    parser.add_argument("--machine", help="what it was taught on, for the card")
    parser.add_argument("--only", nargs="+", help="methods to judge, as in 'tuned policy-0', instead of all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "check":
        return growth_recheck.main()
    scale, out = (SMOKE if arguments.what == "smoke" else Scale()), arguments.out
    if arguments.iterations is not None:
        scale = replace(scale, ppo=replace(scale.ppo, iterations=arguments.iterations))
    out.mkdir(parents=True, exist_ok=True)
    if arguments.what in ("smoke", "teach"):
        seeds = [0] if arguments.what == "smoke" else arguments.seeds
        teach_all(scale, arguments.device, out, seeds)
    if arguments.what in ("smoke", "judge"):
        judge(Court(scale, held_out_envs(scale, arguments.device), out), only=arguments.only)
    if arguments.what == "confirm":
        confirm(scale, device=arguments.device, learned=out, out=out / "confirm")
        tabulate(out / "confirm")
    if arguments.what in ("smoke", "table"):
        tabulate(out)
    if arguments.what == "ship":
        if arguments.machine is None:
            parser.error("ship needs --machine, for the card")
        print(f"shipped {ship(out, machine=arguments.machine)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
