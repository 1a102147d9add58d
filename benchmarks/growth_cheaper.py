"""What it would take for the learned policy to train no more than its static twins: episodes cut short, an early end.

    python benchmarks/growth_cheaper.py play --device cuda --out DIR [--only short ...]
    python benchmarks/growth_cheaper.py table --out DIR

The ways were written down in `growth_protocol.md` before they were played. The three policies of ``DIR`` play the
episodes of the examination; plays are kept in ``DIR/cheaper`` and compared with those of the full twins.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

if __package__ is None or __package__ == "":
    sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.growth_front import beside_twin
from benchmarks.growth_judging import THRIFT, Court, networked, seen_again, thrifty, twin_of
from benchmarks.growth_setting import Scale, held_out_envs, write
from benchmarks.growth_statistics import compare
from benchmarks.growth_table import Table, mean
from benchmarks.growth_thrift import Thrift
from tamiyo_train.config import Episode
from tamiyo_train.policy.levels import EPISODE


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Steps a ``window``, 100 where nothing is cut short, and the ``thrift`` that the policy is held to, if any."""

    window: int
    thrift: Thrift | None = None


WAYS: Mapping[str, Way] = MappingProxyType(
    {
        "short": Way(window=81),
        "short-thrifty": Way(window=84, thrift=THRIFT),
        "early": Way(window=100, thrift=Thrift(patience=2, until=3)),
    }
)


def cut(episode: Episode, way: Way) -> Episode:
    """The episode with windows as much shorter as those of ``way`` are, and as many decisions."""
    window = max(1, episode.window * way.window // EPISODE.window)
    return replace(episode, steps=episode.decisions * window)


def play(out: Path, device: str, names: Sequence[str], scale: Scale | None = None) -> None:
    """Play what is not there: every way by every policy, and the static twins of networks grown in full length."""
    full = scale or Scale()
    for name in names:
        way = WAYS[name]
        own = replace(full, episode=cut(full.episode, way))
        court = Court(own, held_out_envs(own, device), out / "cheaper", learned=out)
        for path in sorted(out.glob("policy-[0-9]*.safetensors")):
            method = replace(networked(court, path), name=name)
            if way.thrift is not None:
                method = thrifty(court, method, way.thrift)
            grown = court.play(method)
            if way.window == EPISODE.window and method.seed is not None:
                court.play(twin_of(f"{name}-twin", method.seed, grown or seen_again(court, method)))


def figures(out: Path) -> dict[str, Any]:
    """Every way beside the twins of the policies' own networks, which train in full length, paired by episode."""
    table = Table(out / "plays", out / "cheaper" / "plays")
    strata = np.concatenate([1000 * number + tasks for number, tasks in enumerate(table.strata.values())])
    found: dict[str, Any] = {}
    for name in ("policy", "thrifty", *WAYS):
        if not table.has(name):
            continue
        spent = np.log(table.mean(name, "training_macs") / table.mean("twin", "training_macs"))
        total = table.mean(name, "training_macs") / table.mean("none", "training_macs")
        accuracy = compare(table.difference("twin", "test_accuracy", name), strata, statistic=mean)
        found[name] = {
            "test_accuracy": float(table.mean(name, "test_accuracy").mean()),
            "params": float(table.mean(name, "params").mean()),
            "training_over_host": float(total.mean()),
            "test_accuracy_over_twin": accuracy.to_json(),
            "ln_training_macs_over_twin": compare(spent, strata, statistic=mean).to_json(),
            **beside_twin(table, ours=name),
        }
        if table.has(f"{name}-twin"):
            own = table.difference(f"{name}-twin", "test_accuracy", name)
            found[name]["test_accuracy_over_own_twin"] = compare(own, strata, statistic=mean).to_json()
            more = np.log(table.mean(name, "training_macs") / table.mean(f"{name}-twin", "training_macs"))
            found[name]["ln_training_macs_over_own_twin"] = compare(more, strata, statistic=mean).to_json()
    return found


def main() -> int:
    """Play, or tabulate what was played."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("play", "table"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "growth_policy")
    parser.add_argument("--only", nargs="+", default=list(WAYS), choices=list(WAYS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "play":
        play(arguments.out, arguments.device, arguments.only)
    else:
        write(arguments.out / "cheaper.json", figures(arguments.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
