"""The page on codes says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_runtime.codes import page
from tamiyo_runtime.contracts.explained import Explained
from tamiyo_runtime.contracts.records import Event, LossReason, Mode, Reason
from tamiyo_runtime.modes import Signal

PAGE = Path(__file__).parents[3] / "docs" / "codes.md"


def test_the_committed_page_is_that_of_the_code() -> None:
    assert PAGE.read_text() == page(), "run python -m tamiyo_runtime.codes docs/codes.md"


@pytest.mark.parametrize("kind", [Reason, Mode, Event, LossReason, Signal])
def test_every_code_is_explained_and_is_its_own_text(kind: type[Explained]) -> None:
    for member in kind:
        assert member.meaning
        assert member == member.value == str(member) == kind(member.value)
