"""``tamiyo blueprints``: the list, its figures, its errors, and the page made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.cli import blueprints_cmd
from tamiyo_train.blueprints import Blueprint, Domain, blueprints
from tamiyo_train.footprint import Footprint
from tamiyo_train.slots import sequence

PAGE = Path(__file__).parents[4] / "docs" / "blueprints.md"


def test_the_list_names_every_blueprint_and_the_action(tamiyo: Any) -> None:
    outcome = tamiyo("blueprints")
    assert outcome.code == 0
    first_words = {line.split(" ")[0] for line in outcome.out.splitlines() if line}
    assert set(blueprints.names()) <= first_words
    assert "pruning:" in first_words


def test_the_list_says_where_its_costs_come_from_and_leaves_out_the_domains_of_one_domain(tamiyo: Any) -> None:
    every, one = tamiyo("blueprints", "glu").out, tamiyo("blueprints", "glu", "--domain", "image").out
    assert "vector sequence image" in every and "vector" not in one
    assert "(analytic)" in every and "(analytic)" in one


def test_a_domain_and_a_width_state_the_slot_the_costs_are_for(tamiyo: Any) -> None:
    outcome = tamiyo("blueprints", "--domain", "sequence", "--channels", "8", "--json")
    records = {item["name"]: item for item in json.loads(outcome.out)["blueprints"]}
    assert set(records) == {name for name, blueprint in blueprints if Domain.SEQUENCE in blueprint.domains}
    attention = records["mini-attention"]
    cost = Footprint.of(blueprints.get("mini-attention").layers(sequence(8, 20)))
    assert attention["slot"] == {"domain": "sequence", "shape": [8, 20], "carried": None}
    assert (attention["params"], attention["macs"], attention["activation_bytes"]) == (
        cost.params,
        cost.macs,
        cost.activation_bytes,
    )
    assert attention["targets"]["edge-tpu"]["not_on_accelerator"] == ["BATCH_MATMUL"]
    assert attention["targets"]["x86-64"]["not_on_accelerator"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "said", "hint"),
    [
        (["bottlneck"], 2, "unknown blueprint 'bottlneck'", "did you mean bottleneck"),
        (["--domain", "sequnce"], 2, "unknown domain 'sequnce'", "did you mean sequence"),
        (["mini-attention", "--domain", "image"], 4, "'mini-attention' works on sequence", "--domain image"),
        (["--channels", "0"], 2, "--channels", "--help"),
    ],
)
def test_a_wrong_name_domain_or_width_gets_one_line_and_a_hint(
    tamiyo: Any, arguments: list[str], code: int, said: str, hint: str
) -> None:
    outcome = tamiyo("blueprints", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    first, second = outcome.err.splitlines()
    assert said in first
    assert hint in second


def test_a_blueprint_that_needs_a_carried_input_is_listed_in_a_slot_that_has_one(tamiyo: Any) -> None:
    record = json.loads(tamiyo("blueprints", "input-conv", "--json").out)["blueprints"][0]
    assert record["slot"] == {"domain": "vector", "shape": [56], "carried": [1, 40]}


@pytest.mark.toolchain
def test_check_builds_converts_and_says_what_came_of_it(tamiyo: Any) -> None:
    outcome = tamiyo("blueprints", "low-rank", "--domain", "image", "--channels", "4", "--check", "--json")
    assert outcome.code == 0
    check = json.loads(outcome.out)["blueprints"][0]["check"]
    assert check["problem"] is None
    assert {name: item["holds"] for name, item in check["formats"].items()} == {
        "onnx-float32": True,
        "tflite-float32": True,
        "tflite-int8": True,
    }
    assert check["beside"]["edge-tpu"] == []


def test_check_fails_on_a_blueprint_that_breaks_a_promise(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    good = blueprints.get("low-rank")
    liar = Blueprint(
        name="liar", summary="costs nothing, it says", domains=good.domains, build=good.build, layers=lambda slot: ()
    )
    monkeypatch.setitem(blueprints._items, "liar", liar)
    outcome = tamiyo("blueprints", "liar", "--domain", "vector", "--check")
    assert outcome.code == 4
    assert "fails: blueprint 'liar' has 148 parameters as built, its closed form says 0" in outcome.out
    assert "error: liar: not what a blueprint promises" in outcome.err


def test_the_page_in_the_docs_is_current() -> None:
    assert PAGE.read_text() == blueprints_cmd.page(), "tamiyo blueprints --markdown > docs/blueprints.md"
