"""The uplink of a device in a fleet keeps the region's rules, and draws what the vector engine draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.airtime import HOUR_S
from simulators.fleet.detail.link import FieldLink, Frame, accounts, level_of
from simulators.lorawan import open_loop
from simulators.lorawan.network import resolve
from simulators.lorawan.windows import windows
from tamiyo_runtime.contracts.errors import SchemaError
from tests.mediums import radio_of, scenario

NETWORK = resolve(scenario())


def yes(frame: Frame) -> bool:
    return True


def test_a_frame_goes_out_as_the_vector_engine_has_it() -> None:
    schedule, radio = open_loop.plan(NETWORK), radio_of(NETWORK, 7, filled_bytes=40)
    link, mine = FieldLink(radio, yes), np.flatnonzero(schedule.device == 7)
    for at_s in schedule.packets.start_s[mine].tolist():
        link.transmit(25, at_s)
    assert [frame.channel for frame in link.frames] == schedule.packets.channel[mine].tolist()
    assert [frame.end_s for frame in link.frames] == schedule.packets.end_s[mine].tolist()


@given(st.data())
def test_no_hour_of_any_sub_band_holds_more_than_its_limit(data: st.DataObject) -> None:
    plan, rate = data.draw(st.sampled_from([("default", 0), ("ttn", 0), ("ttn", 5), ("default", 6)]))
    radio = radio_of(resolve(scenario(devices=1, plan=plan, data_rate=rate)), 0, end_s=math.inf)
    link, now_s = FieldLink(radio, yes), 0.0
    sends = st.tuples(st.sampled_from([0.0, 1.0, 700.0]), st.integers(0, 51))
    for gap_s, size in data.draw(st.lists(sends, max_size=90)):
        now_s = link.ready_at_s(size, now_s + gap_s)
        assert link.ready_at_s(size, now_s) == now_s
        link.transmit(size, now_s)
    for band, worst_s in link.worst_hours_s().items():
        assert worst_s <= band.limit_s_per_hour + 1e-6
        inside = [one for one in link.frames if radio.region.sub_band(radio.channels[one.channel].frequency_hz) == band]
        by_hand = [
            sum(max(0.0, min(two.end_s, one.start_s + HOUR_S) - two.start_s) for two in inside[first:])
            for first, one in enumerate(inside)
        ]
        assert max(by_hand, default=0.0) <= worst_s + 1e-6
    after = windows(radio.region, radio.data_rate).until_closed_s
    assert all(two.start_s >= one.end_s + after for one, two in zip(link.frames, link.frames[1:], strict=False))


def test_a_link_says_what_it_carries_for_ever() -> None:
    for region, plan, rate in (("eu868", "ttn", 0), ("us915", "fsb2", 2)):
        network = resolve(scenario(devices=1, region=region, plan=plan, data_rate=rate))
        link = FieldLink(radio_of(network, 0, end_s=math.inf), yes)
        size, now_s, count = link.max_payload_bytes(), 0.0, 400
        for _ in range(count):
            now_s = link.ready_at_s(size, now_s)
            link.transmit(size, now_s)
        limited = region == "eu868"
        assert count * size / now_s == pytest.approx(link.sustainable_bytes_per_s(), rel=0.15 if limited else 0.02)
        assert link.level(now_s) < 0.1 if limited else link.level(now_s) == 1.0


def test_nothing_begins_once_the_simulation_is_over_or_before_the_windows_have_closed() -> None:
    link = FieldLink(radio_of(NETWORK, 0, end_s=100.0), yes)
    link.transmit(20, 90.0)
    closed_s = 90.0 + link.airtime_s(20) + windows(NETWORK.region, 3).until_closed_s
    assert link.ready_at_s(20, 90.0) == pytest.approx(closed_s)
    assert link.ready_at_s(20, 99.0) == 99.0
    assert link.ready_at_s(20, 100.0) == math.inf
    with pytest.raises(ValueError, match="may not be sent"):
        link.transmit(20, 90.5)
    with pytest.raises(SchemaError, match="do not fit"):
        link.airtime_s(400)


def test_the_level_falls_with_every_frame_and_comes_back() -> None:
    radio = radio_of(resolve(scenario(devices=1, data_rate=0)), 0)
    held = accounts(radio).values()
    assert level_of(held, 0.0) == 1.0
    next(iter(held)).spend(1.8, 0.0)
    assert level_of(held, 0.0) == pytest.approx(0.5)
    assert level_of(held, 1e6) == 1.0


@pytest.mark.parametrize(("change", "word"), [({"data_rate": 7}, "no channel"), ({"filled_bytes": 200}, "do not fit")])
def test_a_radio_that_cannot_be_is_refused(change: dict[str, int], word: str) -> None:
    with pytest.raises(SchemaError, match=word):
        replace(radio_of(NETWORK, 0), **change)
