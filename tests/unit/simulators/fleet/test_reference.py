from __future__ import annotations

from pathlib import Path

from simulators.fleet.reference import filled

PAGE = Path(__file__).parents[4] / "docs" / "fleet.md"


def test_the_page_lists_the_keys_and_columns_that_there_are() -> None:
    """If this fails: python -m simulators.fleet.reference docs/fleet.md"""
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page) == page
    assert "`report_period_s`" in page
    assert "`busiest_hour_s`" in page
