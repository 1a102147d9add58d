"""The page on the life cycle says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from tamiyo_train.config import Episode, Limits
from tamiyo_train.governor import Panic
from tamiyo_train.lifecycle import TRANSITIONS, table

PAGE = Path(__file__).parents[3] / "docs" / "lifecycle.md"
BEGIN, END = "<!-- transitions: generated from tamiyo_train.lifecycle.table() -->\n", "<!-- end -->"


def test_the_transition_table_is_that_of_the_code():
    text = PAGE.read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip() == table()
    assert len(table().splitlines()) == 2 + len(TRANSITIONS)


def test_the_numbers_named_on_the_page_are_the_defaults():
    defaults = {field.name: getattr(made, field.name) for made in (Limits(), Episode()) for field in fields(made)}
    named = re.findall(r"`([a-z_]+)` (\.?\d+(?:\.\d+)?)", PAGE.read_text())
    assert len(named) >= 9
    for name, value in named:
        assert float(value) == defaults[name], name


def test_every_panic_is_explained():
    assert all(panic.value in PAGE.read_text() for panic in Panic)
