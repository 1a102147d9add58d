"""A contact beside LoRa: there when the timetable says so, at its rate, and LoRa none the worse for it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.links import open_link
from simulators.links.contact import CONTACT_BYTES_PER_S, Contact, LoRaWithContact
from simulators.links.lora import LoRaLink
from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError


@given(st.floats(0, 1e5), st.floats(1, 5000), st.floats(0.01, 0.99))
def test_the_way_changes_when_it_says_and_not_before(now_s: float, period_s: float, share: float) -> None:
    link = LoRaWithContact(period_s=period_s, length_s=share * period_s)
    there, changes_s = link.way(now_s) is link.contact, link.changes_at_s(now_s)
    assert not (there and now_s < period_s)
    assert now_s <= changes_s <= now_s + period_s * (1 + 1e-9)
    between_s = now_s + 0.5 * (changes_s - now_s)
    assert (link.way(between_s) is link.contact) == there
    assert (link.way(changes_s + 1e-4 * share * period_s) is link.contact) != there


def test_a_contact_carries_its_rate_and_no_more() -> None:
    contact = Contact()
    now_s, sent = 10.0, 0
    while now_s < 20.0:
        sent += 16 << 10
        contact.transmit(16 << 10, now_s)
        with pytest.raises(ValueError, match="not over"):
            contact.transmit(1, now_s)
        now_s = contact.ready_at_s(1, now_s)
    assert sent == pytest.approx(10.0 * CONTACT_BYTES_PER_S, rel=0.01)
    assert contact.carries_raw


def test_lora_beside_a_contact_is_lora() -> None:
    link, lora = LoRaWithContact(period_s=100.0, length_s=10.0), LoRaLink()
    assert not link.carries_raw
    for now_s in (0.0, 105.0):
        assert link.ready_at_s(200, now_s) == lora.ready_at_s(200, now_s)
        assert link.transmit(200, now_s) == lora.transmit(200, now_s)
    assert link.level(106.0) == lora.level(106.0) < 1.0
    assert link.worst_hour_s() == lora.worst_hour_s() > 0
    assert link.sustainable_bytes_per_s() == lora.sustainable_bytes_per_s()
    assert lora.way(0.0) is lora
    assert lora.changes_at_s(0.0) == math.inf


def test_links_are_opened_by_name_with_the_timetable_behind() -> None:
    assert open_link("lora-eu868+contact").changes_at_s(0.0) == 3600.0
    link = open_link("lora-eu868-sf9+contact?period_s=600&length_s=30")
    assert link.changes_at_s(0.0) == 600.0
    assert link.changes_at_s(601.0) == 630.0
    assert link.max_payload_bytes() == 115
    assert link.label.startswith("lora-eu868 SF9 (simulated")
    assert "30 s every 600 s" in link.label
    for wrong, error in (
        ("lora-eu868+kontakt", UnknownNameError),
        ("lora-eu868+contact?every=3", UnknownNameError),
        ("lora-eu868+contact?period_s=soon", UsageError),
        ("lora-eu868+contact?period_s=10&length_s=20", UsageError),
        ("ethernet?period_s=10", UsageError),
    ):
        with pytest.raises(error):
            open_link(wrong)
