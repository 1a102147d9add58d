"""The benchmark that leaves out parts of teaching a growth policy, on very little work."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.bench_growth_ablations import HEADS, HISTORY, RESULTS, SMOKE, VARIANTS, Blind, _env
from benchmarks.growth_ablation_table import FIGURES, REFERENCE, page, summary, text
from tamiyo_runtime.contracts.observation import GLOBAL_FEATURES, SLOT_FEATURES
from tamiyo_train.policy import ppo
from tamiyo_train.policy.network import PolicyNetwork
from tamiyo_train.policy.oracle import simulate
from tamiyo_train.policy.rollout import drawn_lanes
from tamiyo_train.seeding import initialising

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "bench_growth_ablations.py"


@pytest.fixture(scope="module")
def blind() -> Blind:
    return _env("spirals", SMOKE, "cpu", held_out=False)


def line(
    variant: str, seed: int | None, utility: float, *, luck: Sequence[float] = (0.0,) * 8, **settings: int
) -> dict:
    """Two levels that take turns in eight episodes."""
    columns = {key: [utility, utility] for key in FIGURES}
    columns["utility_of_episodes"] = [utility + value for value in luck]
    return {"variant": variant, "about": "", "seed": seed, "judged": {"spirals": columns}, "settings": settings}


def test_what_a_variant_is_not_shown_is_0_at_every_decision_and_all_else_is_as_it_was(blind):
    lanes = drawn_lanes(blind, np.random.default_rng(0), count=4, inits=range(10_000, 10_002))
    waiting = torch.zeros(4, 4, dtype=torch.int64)

    def shown() -> torch.Tensor:
        rows = [blind.reset(lanes).vector]
        while not blind.done:
            rows.append(blind.act(waiting).vector)
        return torch.stack(rows)

    everything = shown()
    blind.hide((*HISTORY, "is_free"))
    hidden = shown()
    blind.hide(())
    own = [GLOBAL_FEATURES.index(name) for name in HISTORY]
    each = [len(GLOBAL_FEATURES) + slot * len(SLOT_FEATURES) + SLOT_FEATURES.index("is_free") for slot in range(3)]
    assert bool(everything[..., own + each].any()) and not bool(hidden[..., own + each].any())
    rest = [index for index in range(everything.shape[-1]) if index not in own + each]
    assert torch.equal(everything[..., rest], hidden[..., rest])


def test_the_table_compares_each_seed_with_the_reference_of_the_same_seed():
    lines = [line(REFERENCE, 0, 0.5), line(REFERENCE, 1, 0.7), line("unshaped", 0, 0.6), line("unshaped", 1, 0.6)]
    rows = summary([line("none", None, 0.4), *lines])["variants"]
    assert rows["unshaped"]["utility_less_reference"] == pytest.approx([0.1, -0.1])
    assert rows[REFERENCE]["utility_less_reference"] == [0.0, 0.0]
    assert rows["none"]["utility_less_reference"] == pytest.approx([-0.1, -0.3])
    assert rows["unshaped"]["over_episodes"]["mean"] == pytest.approx(0.0)
    with pytest.raises(ValueError, match="different settings"):
        summary([*lines, line("cloned", 0, 0.5, lanes=3)])


def test_episodes_are_compared_in_pairs_within_their_levels_and_seeds_beforehand():
    hard = [0.0, -0.3] * 4  # the second level
    even = [line(REFERENCE, seed, 0.5 + 0.1 * seed, luck=hard) for seed in (0, 1)]
    gained = [line("unshaped", seed, 0.6 + 0.1 * seed, luck=hard) for seed in (0, 1)]
    found = summary([*even, *gained])["variants"]["unshaped"]["over_episodes"]
    assert found["low"] == pytest.approx(0.1) and found["high"] == pytest.approx(0.1)
    lucky = summary([even[0], line("unshaped", 0, 0.5, luck=[0.4, -0.3, *hard[2:]])])["variants"]["unshaped"]
    assert lucky["over_episodes"]["mean"] == pytest.approx(0.05)
    assert lucky["over_episodes"]["low"] == pytest.approx(0.0) and lucky["over_episodes"]["high"] > 0.05


def test_a_variant_whose_seed_has_no_reference_is_compared_with_nothing():
    table = summary([line(REFERENCE, 0, 0.5), line("cloned", 1, 0.4)])
    assert table["variants"]["cloned"]["over_episodes"] is None
    rows = text(table).splitlines()
    assert len(rows) == 3 and rows[2].split()[:4] == ["cloned", "0.4000", "-", "-"]


def test_the_hash_is_of_the_lines_whatever_their_order():
    lines = [line(REFERENCE, 0, 0.5), line("cloned", 0, 0.4)]
    assert summary(lines)["lines_sha256"] == summary(lines[::-1])["lines_sha256"]
    assert summary(lines)["lines_sha256"] != summary([lines[0], line("cloned", 0, 0.41)])["lines_sha256"]


def test_the_page_on_the_policy_has_the_table_of_the_lines_that_are_kept():
    lines = [json.loads(text) for text in (RESULTS / "ablations.jsonl").read_text().splitlines()]
    table = json.loads((RESULTS / "ablations.json").read_text())
    assert table == summary(lines)
    shown = (RESULTS.parents[1] / "docs" / "policy.md").read_text().splitlines()
    assert [row for row in page(table).splitlines() if row not in shown] == []


@pytest.mark.parametrize("group", [1, 4])
def test_policies_learn_from_what_pays_with_and_without_groups_to_compare_within(blind, group):
    """Every other term of the loss is off, so that only advantages can move the policy."""
    off = {"value": 0.0, "entropy": 0.0, "leash": 0.0, "auxiliary": 0.0, "gates": 0.0}
    chosen = ppo.Settings(iterations=1, lanes=16, group=group, minibatches=1, **off)
    with initialising(0):
        network = PolicyNetwork(HEADS)
    learner = ppo.Learner(network, chosen, scale=ppo.Scale(0.5, 0.1), running=simulate(16, 3, seed=0), seed=0)
    assert learner.learn({"spirals": blind})[0].kl > 1e-6


@pytest.mark.long
def test_the_smoke_version_teaches_every_kind_of_variant_and_writes_the_spread_over_seeds(tmp_path):
    names = [REFERENCE, "cloned", "from-scratch", "no-groups", "no-history"]
    done = subprocess.run(
        [sys.executable, SCRIPT, "--smoke", "--out", tmp_path, "--variants", *names],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(text) for text in (tmp_path / "ablations.jsonl").read_text().splitlines()]
    assert [(each["variant"], each["seed"]) for each in lines] == [
        ("none", None),
        ("tuned", None),
        *((name, seed) for seed in (0, 1) for name in names),
    ]
    table = json.loads((tmp_path / "ablations.json").read_text())
    assert table["held_out_levels"] == 3
    for name in names:
        row = table["variants"][name]
        assert row["about"] == VARIANTS[name].about and row["seeds"] == [0, 1]
        assert len(row["utility"]) == len(row["utility_less_reference"]) == 2
        assert row["over_episodes"]["mean"] == pytest.approx(sum(row["utility_less_reference"]) / 2, abs=1e-5)
    assert table["variants"]["none"]["training_ratio"] == [1.0]
