"""The shipped policy again, on a few held-out episodes: fails where its advantage fell behind the one on its card.

Two episodes a held-out level, on the CPU. The advantage is mean utility above the bare host's; the card holds that of
the same episodes when the policy was shipped. A difference is one of code or of arithmetic, not of luck.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from benchmarks.growth_judging import held_out_lanes
from benchmarks.growth_setting import Scale, held_out_envs, say
from benchmarks.results import append
from tamiyo_train.policy import shipped
from tamiyo_train.policy.lane_deciders import Networked, Waiting
from tamiyo_train.policy.rollout import roll

EPISODES = 2
ALLOWED = 0.9
"""Share of the recorded advantage that has to be there still."""


def advantage() -> dict[str, float]:
    """Mean utility of the shipped policy above the bare host's, by family and of all."""
    policy, found = shipped.network(), {}
    for name, env in held_out_envs(Scale(), "cpu").items():
        lanes = held_out_lanes(env, EPISODES)
        grown, bare = (roll(env, lanes, decider).utility for decider in (Networked(policy), Waiting()))
        found[name] = float((grown - bare).mean())
        say(f"{name}: {found[name]:+.4f} above the bare host")
    return {**found, "mean": float(np.mean(list(found.values())))}


def holds(found: float, recorded: float) -> bool:
    """Whether an advantage is not more than a tenth behind the recorded one, whatever its sign."""
    return found >= recorded - (1 - ALLOWED) * abs(recorded)


def main() -> int:
    """Play, print, keep a line; 1 where the policy fell behind."""
    started = time.monotonic()
    found, recorded = advantage(), shipped.card()["recheck"]
    held = holds(found["mean"], recorded["mean"])
    append(
        "growth_policy",
        {"advantage": found, "recorded": recorded, "held": held, "seconds": time.monotonic() - started},
        ["torch"],
    )
    print(f"shipped policy: {found['mean']:+.4f} above the bare host, {recorded['mean']:+.4f} when it was shipped")
    if not held:
        print(f"FAILS: below {ALLOWED:.0%} of what it was", file=sys.stderr)
    return 0 if held else 1
