"""What is shipped: the best on training levels, with a card that says what the table says."""

from __future__ import annotations

import hashlib
import json

from benchmarks.growth_recheck import holds
from benchmarks.growth_shipping import COMPARED, best, card


def results(folder, *, passes):
    for stem, gain in (("policy-0", 0.001), ("policy-1", 0.002), ("policy-2", 0.0015)):
        recipe = {"seed": int(stem[-1]), "validation": {"mean": 0.8}, "cloning": {"rounds": 3}, "ppo": None}
        recipe |= {"stage": "cloned", "over_tuned": {"cloned": gain, "ppo": gain - 0.001}}
        (folder / f"{stem}.json").write_text(json.dumps(recipe))
        (folder / f"{stem}.safetensors").write_bytes(stem.encode())
    over = {"mean": 0.001, "low": 0.0005 if passes else -0.0005, "high": 0.002, "p": 0.01, "p_holm": None}
    table = {
        "episodes": 2520,
        "methods": {name: {"utility": 0.8, "test_accuracy": 0.8, "policy_seeds": 3} for name in ("none", "policy")},
        "comparisons": {f"over {name}": over for name in COMPARED},
        "over_tuned_by_family": {},
        "over_tuned_by_seed": {},
        "passes": {"tuned": passes},
        "calibration": {},
    }
    (folder / "table.json").write_text(json.dumps(table))


def test_the_seed_that_is_best_on_training_levels_is_shipped(tmp_path):
    results(tmp_path, passes=True)
    assert best(tmp_path) == "policy-1"


def test_the_card_keeps_what_was_measured_elsewhere_and_is_the_default_only_if_it_passed(tmp_path):
    for passes in (True, False):
        results(tmp_path, passes=passes)
        made = card(tmp_path, "policy-1", {"slots": 3, "recheck": {"mean": 0.1}}, machine="a machine")
        assert made["slots"] == 3 and made["recheck"] == {"mean": 0.1}
        assert made["default"] is passes and bool(made["why_not_default"]) is not passes
        assert made["weights_sha256"] == hashlib.sha256(b"policy-1").hexdigest()
        assert made["recipe"]["seed"] == 1 and made["recipe"]["machine"] == "a machine"
        assert set(made["held_out"]["policy_over"]) == set(COMPARED)


def test_a_tenth_of_the_advantage_may_be_lost_and_no_more():
    assert holds(0.1, 0.1) and holds(0.0901, 0.1) and not holds(0.0899, 0.1)
    assert holds(-0.1, -0.1) and not holds(-0.12, -0.1)
