"""Figures in another unit: what is refused, by which rule, and what a file cannot tell."""

from __future__ import annotations

import copy
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_profiles.loader import profile_ids
from device_profiles.schema import parse_profile
from device_profiles.sections import SECTIONS
from tamiyo_runtime.contracts.errors import SchemaError

FACTORS = (1000.0, 1e-3)
DOCUMENTS = {
    name: tomllib.loads(resources.files("device_profiles").joinpath(f"data/{name}.toml").read_text())
    for name in profile_ids()
}
RULES = {  # a word of the message, by rule
    "range": "is not plausible for this",
    "energy of a MAC": "pJ a MAC",
    "idle": "above the active",
    "idle of a board": "200th of the active",
    "class of operators": "times as long as",
    "parts of the memory": "flash_bytes and sram_bytes",
    "an operator, an invocation": "for a whole invocation",
    "rates of an accelerator": "times macs_per_us",
    "budget": "the least time of an invocation|the least energy|computes all the time|memory.total_bytes, ",
}
BLIND = {
    # A budget is a choice; far too small or too large a one is a budget still.
    *("budget.latency_ms", "budget.power_mw", "budget.energy_burst_uj", "budget.memory_bytes"),
    *("budget.airtime_s_per_hour", "simulation.jitter_sigma"),
    # From a microcontroller to a data centre everything is somebody's memory, idle power or start-up time.
    *("memory.total_bytes", "power.idle_mw", "compute.dispatch_us", "thermal.ambient_c"),
}
"""Figures of which a factor of a thousand may pass, on boards and microcontrollers without an accelerator."""


def figures(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Section and key of every figure."""
    for section in SECTIONS:
        parent, _, child = section.rpartition(".")
        table = (document.get(parent, {}) if parent else document).get(child, {})
        for key in table:
            yield section, key


def scaled(name: str, section: str, key: str, factor: float) -> dict[str, Any]:
    """The profile with one figure and its interval times ``factor``."""
    document = copy.deepcopy(DOCUMENTS[name])
    table = document
    for part in section.split("."):
        table = table[part]
    for field in {"value", "low", "high"} & set(table[key]):
        table[key][field] *= factor
    return document


def refusal(document: dict[str, Any]) -> str | None:
    try:
        parse_profile(document, sha256="0" * 64, path="my.toml")
    except SchemaError as exc:
        return exc.message
    return None


def test_four_of_five_figures_off_by_a_thousand_are_refused_and_every_rule_catches_some() -> None:
    caught, passed = Counter[str](), 0
    for name, document in DOCUMENTS.items():
        for section, key in figures(document):
            for factor in FACTORS:
                message = refusal(scaled(name, section, key, factor))
                if message is None:
                    passed += 1
                    continue
                rules = [rule for rule, words in RULES.items() if any(word in message for word in words.split("|"))]
                caught[rules[0] if rules else message] += 1
    assert caught.total() >= 4 * passed, f"{passed} pass; {caught}"
    assert set(caught) >= set(RULES), caught


@pytest.mark.parametrize("name", [name for name in profile_ids() if name.startswith(("raspberry-pi", "cortex-m"))])
def test_on_boards_and_microcontrollers_only_these_figures_may_be_off_by_a_thousand_unseen(name: str) -> None:
    passed = {
        f"{section}.{key}"
        for section, key in figures(DOCUMENTS[name])
        for factor in FACTORS
        if refusal(scaled(name, section, key, factor)) is None
    }
    assert passed <= BLIND


@given(st.data())
def test_a_wrong_figure_is_named_by_its_section_or_a_neighbour_it_no_longer_fits(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(DOCUMENTS)))
    section, key = data.draw(st.sampled_from(sorted(figures(DOCUMENTS[name]))))
    factor = data.draw(st.sampled_from(FACTORS)) * data.draw(st.floats(0.8, 1.25))
    message = refusal(scaled(name, section, key, factor))
    if message is not None:
        assert message.startswith("my.toml: ")
        assert any(f" {known}." in message.partition(" ")[1] + message.partition(" ")[2] for known in SECTIONS)


@given(st.data())
def test_a_board_a_little_off_the_ones_that_ship_is_not_refused(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(DOCUMENTS)))
    document = copy.deepcopy(DOCUMENTS[name])
    factor = data.draw(st.floats(0.8, 1.25))
    for section in ("work.int8", "work.float32"):
        parent, _, child = section.partition(".")
        key = data.draw(st.sampled_from(sorted(document[parent][child])))
        for field in ("value", "low", "high"):
            document[parent][child][key][field] *= factor
    assert refusal(document) is None
