"""Ships the policy that is best on training levels, with the card that says how it was made and what it is worth."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from tamiyo_train.policy import shipped

FOLDER = Path(shipped.__file__).parent
TEACHERS = (
    "what every topology of five blueprints comes to on every training level, priced for the budget at hand "
    "(tamiyo_train/policy/atlas.py, foresight.py; benchmarks/growth_policy/atlas-*.json)"
)
COMPARED = ("tuned", "kasmina", "matched", "random", "bandit", "cloned", "ppo", "tutor", "none", "twin", "oracle")


def best(out: Path) -> str:
    """Which seed's policy is furthest above the tuned heuristic on fresh training episodes, by interquartile mean."""
    found = {path.stem: json.loads(path.read_text()) for path in out.glob("policy-[0-9]*.json")}
    return max(found, key=lambda stem: found[stem]["over_tuned"][found[stem]["stage"]])


def card(out: Path, stem: str, before: dict[str, Any], *, machine: str) -> dict[str, Any]:
    """The card of a policy; layout, gates and the check are those of ``before`` until they are measured again."""
    recipe = json.loads((out / f"{stem}.json").read_text())
    table = json.loads((out / "table.json").read_text())
    over = {name: table["comparisons"][f"over {name}"] for name in COMPARED if f"over {name}" in table["comparisons"]}
    default = bool(table["passes"]["tuned"])
    made = {
        "weights_sha256": hashlib.sha256((out / f"{stem}.safetensors").read_bytes()).hexdigest(),
        "recipe": {
            "teachers": TEACHERS,
            "weights": f"{stem}.safetensors",
            "cloning": recipe["cloning"],
            "ppo": recipe["ppo"],
            "seed": recipe["seed"],
            "stage": recipe["stage"],
            "command": "python benchmarks/bench_growth_policy.py teach --device cuda --seeds 0 1 2",
            "machine": machine,
            "data_seeds": {"samples": "71000 + number of the level", "weights": "10000-10063"},
        },
        "validation_utility": recipe["validation"],
        "validation_over_tuned": recipe["over_tuned"],
        "held_out": {
            "episodes": table["episodes"],
            "policy_seeds": table["methods"]["policy"]["policy_seeds"],
            "utility": {name: row["utility"] for name, row in table["methods"].items()},
            "test_accuracy": {name: row["test_accuracy"] for name, row in table["methods"].items()},
            "policy_over": over,
            "over_tuned_by_family": table["over_tuned_by_family"],
            "over_tuned_by_seed": table["over_tuned_by_seed"],
            "passes": table["passes"],
            "calibration": table["calibration"],
        },
        "default": default,
        "why_not_default": None if default else "It is not better than the tuned heuristic on held-out tasks.",
    }
    return before | made


def ship(out: Path, *, machine: str) -> str:
    """Put the best policy and its card in the package; which it was."""
    stem = best(out)
    path = FOLDER / "vector.json"
    made = card(out, stem, json.loads(path.read_text()), machine=machine)
    shutil.copyfile(out / f"{stem}.safetensors", FOLDER / "vector.safetensors")
    path.write_text(json.dumps(made, indent=1) + "\n")
    return stem
