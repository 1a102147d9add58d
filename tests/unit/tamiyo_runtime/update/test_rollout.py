"""The operator's side: who is where with an order, who is served what, and what a share of the fleet comes to."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import InputError, SchemaError
from tamiyo_runtime.transport import announcement
from tamiyo_runtime.transport.topics import Address, Channel
from tamiyo_runtime.update.chunks import MAX_CHUNKS
from tamiyo_runtime.update.commands import LIMIT_BYTES, LONGEST_S
from tamiyo_runtime.update.desk import Desk
from tamiyo_runtime.update.messages import (
    MAX_WANTED,
    OrderReport,
    Outcome,
    Part,
    Reported,
    SlotReport,
    Want,
    cut_text,
    ranges_of,
)
from tamiyo_runtime.update.orders import Sent, command_of, next_counter
from tamiyo_runtime.update.record import Offer
from tamiyo_runtime.update.rollout import ENDED, Phase, Rollout, Stage, Standing, with_somebody_in
from tamiyo_runtime.update.shelf import Shelf
from tamiyo_runtime.update.states import SlotState
from tests.updates import NOW_S, OFFICE, order, release

NEW, OLD = "ab" * 32, "cd" * 32
OFFER = Sent.of(order(7, bundle=Offer(sha256=NEW, size_bytes=1000)))
ME = OFFICE.public.id[:16]

CONFIRMED = SlotReport(state=SlotState.CONFIRMED, sha256=OLD, name="digits", version=1)
BASE = Reported(
    slots={"a": CONFIRMED, "b": SlotReport(state=SlotState.EMPTY)},
    running="a",
    offer=NEW,
    reaches=True,
    counters={ME: 7},
    applied=True,
)


def topic(device: str, channel: Channel) -> str:
    return Address("pumps", device).topic(channel)


def said(rollout: Rollout, device: str, channel: Channel, **fields: object) -> None:
    rollout.hear(topic(device, channel), announcement.write(fields, device))


def fleet_of(**devices: Reported | None) -> Rollout:
    """Devices that are there and take orders; underscores in names stand for signs."""
    rollout = Rollout("pumps")
    for name, reported in devices.items():
        device = name.replace("_", "-")
        said(rollout, device, Channel.BIRTH, schema="tamiyo.birth/1", update="all")
        said(rollout, device, Channel.STATE, state="online")
        if reported is not None:
            rollout.hear(topic(device, Channel.REPORTED), reported.to_bytes(device))
    return rollout


def slot(state: SlotState, sha256: str = NEW, **fields: object) -> SlotReport:
    return SlotReport(state=state, sha256=sha256, name="digits", version=2, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reported", "phase"),
    [
        (None, Phase.WAITING),
        (replace(BASE, counters={ME: 6}), Phase.WAITING),
        (replace(BASE, counters={"0" * 16: 9}), Phase.WAITING),
        (BASE, Phase.FETCHING),
        (replace(BASE, reaches=False), Phase.OUTSIDE),
        (replace(BASE, slots={"a": CONFIRMED, "b": slot(SlotState.RECEIVING)}), Phase.FETCHING),
        (replace(BASE, slots={"a": CONFIRMED, "b": slot(SlotState.STAGED)}), Phase.TESTING),
        (replace(BASE, slots={"a": CONFIRMED, "b": slot(SlotState.TRIAL)}, running="b"), Phase.TRIAL),
        (replace(BASE, slots={"a": CONFIRMED, "b": slot(SlotState.CONFIRMED)}, running="b"), Phase.CONFIRMED),
        (replace(BASE, slots={"a": CONFIRMED, "b": slot(SlotState.REJECTED)}, rejected=(NEW[:16],)), Phase.BACK),
        (replace(BASE, order=OrderReport(digest=OFFER.digest, outcome=Outcome.REFUSED)), Phase.REFUSED),
        (replace(BASE, order=OrderReport(digest="0" * 16, outcome=Outcome.REFUSED)), Phase.FETCHING),
    ],
)
def test_a_device_is_where_its_report_says_it_is(reported: Reported | None, phase: Phase) -> None:
    (row,) = fleet_of(pump_7=reported).standings(OFFER)
    assert (row.device, row.phase) == ("pump-7", phase)


def test_an_order_without_a_bundle_is_obeyed_when_the_run_is_as_it_says() -> None:
    off = Sent.of(order(7, policy=False))
    assert [row.phase for row in fleet_of(a=replace(BASE, applied=False), b=BASE).standings(off)] == [
        Phase.WAITING,
        Phase.OBEYED,
    ]
    undone = replace(BASE, order=OrderReport(digest=off.digest, outcome=Outcome.UNDONE, problem="too tight"))
    (row,) = fleet_of(a=undone).standings(off)
    assert (row.phase, row.remark) == (Phase.REFUSED, "too tight")


def test_who_is_away_or_takes_no_orders_or_cannot_answer_is_not_waited_for() -> None:
    rollout = fleet_of(a=None, b=None, c=None)
    said(rollout, "a", Channel.STATE, state="offline")
    said(rollout, "b", Channel.BIRTH, schema="tamiyo.birth/1")
    said(rollout, "c", Channel.BIRTH, schema="tamiyo.birth/1", update="orders")
    assert [row.phase for row in rollout.standings(OFFER)] == [Phase.AWAY, Phase.DEAF, Phase.BLIND]
    assert {Phase.AWAY, Phase.DEAF, Phase.BLIND} <= ENDED
    named = Rollout("pumps", ("z",))
    assert [row.phase for row in named.standings(OFFER)] == [Phase.WAITING]


@given(st.sampled_from(Channel), st.binary(max_size=300), st.sampled_from(["pump-7", "other"]))
def test_garbage_from_devices_moves_nobody_and_is_counted(channel: Channel, payload: bytes, device: str) -> None:
    rollout = fleet_of(pump_7=BASE)
    before = rollout.standings(OFFER)
    assert rollout.hear(topic(device, channel), payload) is None
    assert rollout.standings(OFFER) == before
    assert rollout.refused == (channel in (Channel.BIRTH, Channel.STATE, Channel.REPORTED, Channel.WANT))
    rollout.hear("a/b", payload)
    rollout.hear(Address("others", device).topic(channel), payload)


def test_a_report_of_another_device_is_not_believed() -> None:
    rollout = fleet_of(a=None, b=None)
    rollout.hear(topic("a", Channel.REPORTED), BASE.to_bytes("b"))
    assert rollout.refused == 1
    assert {row.phase for row in rollout.standings(OFFER)} == {Phase.WAITING}


def rows(**counts: int) -> list[Standing]:
    return [Standing(device="d", phase=Phase[name]) for name, count in counts.items() for _ in range(count)]


def test_a_share_has_ended_when_nobody_is_on_the_way_and_what_went_back_is_counted_of_those_that_tried() -> None:
    assert Stage.of(10, rows(CONFIRMED=98, BACK=2, AWAY=50, OUTSIDE=900)).share_back == 0.02
    assert Stage.of(10, rows(OUTSIDE=10)).share_back == 0.0
    assert Stage.of(10, rows(CONFIRMED=1, AWAY=1, BACK=1)).ended
    assert not any(Stage.of(10, rows(**{phase.name: 1})).ended for phase in set(Phase) - ENDED)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.floats(0, 1))
def test_a_share_is_lost_when_no_end_of_those_on_the_way_could_bring_it_within_the_limit(
    kept: int, back: int, under_way: int, limit: float
) -> None:
    stage = Stage.of(10, rows(CONFIRMED=kept, BACK=back, TRIAL=under_way, OUTSIDE=5))
    ends = [Stage.of(10, rows(CONFIRMED=kept + under_way - n, BACK=back + n)) for n in range(under_way + 1)]
    assert stage.lost(limit) == all(end.lost(limit) for end in ends)
    assert stage.tried == (kept + back > 0)


@given(st.lists(st.integers(1, 100), min_size=1, unique=True), st.sets(st.text("abc", min_size=1), max_size=5))
def test_every_share_holds_somebody_if_anybody_is_there_and_none_is_smaller_than_was_asked_for(
    percents: list[int], takers: set[str]
) -> None:
    offered = Offer(sha256=NEW, size_bytes=1000)
    shares = with_somebody_in(percents, offered, takers)
    assert shares == sorted(set(shares))
    assert shares[-1] >= max(percents)
    assert set(shares) - set(percents) <= {offered.least_percent(name) for name in takers}

    def reached(percent: int) -> bool:
        return any(replace(offered, stage_percent=percent).reaches(name) for name in takers)

    assert not takers or all(reached(share) for share in shares)
    assert shares[0] == min(percents) or not reached(shares[0] - 1)


@given(st.lists(st.integers(0, 1 << 52), max_size=5), st.integers(0, 1 << 33))
def test_the_next_counter_is_the_time_or_just_above_what_can_be_believed(known: list[int], now_s: int) -> None:
    found = next_counter(now_s, known)
    assert found >= now_s * 1000
    day_ms = 86400 * 1000
    assert all(found > count for count in known if count <= now_s * 1000 + day_ms)
    assert found <= now_s * 1000 + day_ms + 1


indices = st.sets(st.integers(0, MAX_CHUNKS - 1), min_size=1, max_size=MAX_WANTED)


@given(indices, st.sampled_from(Part), st.integers(24, 16 << 10))
def test_what_a_device_wants_survives_the_way(wanted: set[int], part: Part, payload_bytes: int) -> None:
    want = Want(file=NEW, part=part, payload_bytes=payload_bytes, missing=ranges_of(sorted(wanted)))
    assert Want.from_bytes(want.to_bytes("pump-7"), "pump-7") == want
    assert want.indices == sorted(wanted)


@pytest.mark.parametrize(
    "missing",
    [(), ((0, MAX_WANTED),), ((-1, 0),), ((3, 2),), ((0, MAX_CHUNKS),), tuple((2 * n, 2 * n) for n in range(65))],
)
def test_a_wish_for_nothing_or_too_much_is_none(missing: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(SchemaError):
        Want(file=NEW, part=Part.BUNDLE, payload_bytes=1024, missing=missing)


@given(st.text(max_size=500))
def test_the_longest_report_fits_a_message_and_comes_back(text: str) -> None:
    long = SlotReport(
        state=SlotState.REJECTED, sha256=NEW, name="x" * 64, version=1 << 31, reason=cut_text(text * 3 + "x" * 300)
    )
    reported = Reported(
        slots={"a": long, "b": long},
        running=None,
        offer=NEW,
        received=MAX_CHUNKS,
        chunks=MAX_CHUNKS,
        order=OrderReport(digest="0" * 16, outcome=Outcome.REFUSED, counter=(1 << 53) - 1, problem=cut_text(text)),
        counters={f"{number:016x}": (1 << 53) - 1 for number in range(16)},
        rejected=tuple(f"{number:016x}" for number in range(16)),
        refused=dict.fromkeys(("signature", "form", "target", "time", "counter", "impossible"), 1 << 40),
        trouble=cut_text(text),
    )
    assert Reported.from_bytes(reported.to_bytes("d" * 64), "d" * 64) == reported


class Broker:
    """Takes ``room`` messages and no more until it is told so."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.sent: list[tuple[str, bytes, bool]] = []

    def publish(self, name: str, payload: bytes, retain: bool) -> bool:
        if self.room:
            self.room -= 1
            self.sent.append((name, payload, retain))
            return True
        return False

    def to(self, device: str, channel: Channel) -> list[bytes]:
        return [payload for name, payload, _ in self.sent if name == topic(device, channel)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(release(tmp_path_factory.mktemp("shelf"), 2))


def wish(shelf: Shelf, *indices: int, part: Part = Part.BUNDLE, payload_bytes: int = 1024) -> Want:
    return Want(file=shelf.sha256, part=part, payload_bytes=payload_bytes, missing=ranges_of(indices))


def asks(desk: Desk, device: str, want: Want) -> None:
    desk.hear(topic(device, Channel.WANT), want.to_bytes(device))


def test_an_order_goes_once_retained_to_everybody_who_takes_orders() -> None:
    rollout, broker = fleet_of(a=None, b=BASE, c=None), Broker(room=1)
    said(rollout, "c", Channel.BIRTH, schema="tamiyo.birth/1")
    desk = Desk(rollout, "pumps", broker.publish, bytes_per_s=1e6)
    assert not desk.send(OFFER)  # the connection took one message only
    broker.room = 10
    assert desk.send(OFFER)
    assert desk.send(OFFER)
    assert broker.sent == [(topic(name, Channel.ORDER), OFFER.envelope, True) for name in ("a", "b")]
    said(rollout, "late", Channel.BIRTH, schema="tamiyo.birth/1", update="all")
    desk.send(OFFER)
    assert broker.to("late", Channel.ORDER) == [OFFER.envelope]
    desk.send(Sent.of(order(8, device="a", policy=False)))
    assert len(broker.to("a", Channel.ORDER)) == 2
    assert len(broker.to("b", Channel.ORDER)) == 1


def test_devices_are_served_in_turns_and_a_full_window_loses_nothing(shelf: Shelf) -> None:
    rollout, broker = fleet_of(a=BASE, b=BASE), Broker(room=3)
    desk = Desk(rollout, "pumps", broker.publish, bytes_per_s=1e6)
    desk.offer(shelf)
    asks(desk, "a", wish(shelf, 0, 1, 2))
    asks(desk, "b", wish(shelf, 0, 1))
    desk.serve(0.0)
    assert desk.serve(1.0)
    broker.room = 10
    assert not desk.serve(2.0)
    assert [name.split("/")[3] for name, _, _ in broker.sent] == ["a", "b", "a", "b", "a"]
    assert broker.to("a", Channel.CHUNK) == list(shelf.frames(wish(shelf, 0, 1, 2)))
    assert broker.to("b", Channel.CHUNK) == list(shelf.frames(wish(shelf, 0, 1)))


def test_the_rate_holds_however_much_is_asked_for(shelf: Shelf) -> None:
    rollout, broker = fleet_of(**{f"d{number}": BASE for number in range(20)}), Broker()
    desk = Desk(rollout, "pumps", broker.publish, bytes_per_s=10_000.0)
    desk.offer(shelf)
    draw, now_s = random.Random(1), 0.0
    while now_s < 20.0:
        asks(desk, f"d{draw.randrange(20)}", wish(shelf, *range(12)))
        desk.serve(now_s)
        now_s += draw.uniform(0.0, 0.1)
    assert 0.8 * 10_000 * 20 < desk.sent_bytes < 10_000 * 21
    assert len(desk._serving) <= 20


def test_what_is_not_on_the_shelf_is_not_served(shelf: Shelf) -> None:
    rollout, broker = fleet_of(a=BASE), Broker()
    desk = Desk(rollout, "pumps", broker.publish, bytes_per_s=1e6)
    asks(desk, "a", wish(shelf, 0))  # nothing is offered yet
    desk.offer(shelf)
    asks(desk, "a", replace(wish(shelf, 0), file=OLD))
    asks(desk, "a", wish(shelf, 10_000))
    asks(desk, "a", wish(shelf, 1, part=Part.LIST))
    desk.serve(0.0)
    desk.serve(1.0)
    assert broker.sent == []
    assert rollout.refused == 3


def test_devices_may_ask_for_frames_of_many_sizes_and_lists_are_not_kept_for_ever(shelf: Shelf) -> None:
    for size in range(1000, 1020):
        assert sum(len(frame) for frame in shelf.frames(wish(shelf, 0, part=Part.LIST, payload_bytes=size))) > 53
    assert len(shelf._lists) <= 4


@pytest.mark.parametrize("envelope", [b"", b"{}", b"x" * 100, order(1, policy=False)[:-20]])
def test_what_is_no_order_is_not_sent(envelope: bytes) -> None:
    with pytest.raises(InputError, match="no signed order"):
        Sent.of(envelope)


@pytest.mark.parametrize("valid_s", [1, 3600, LONGEST_S - 10, LONGEST_S])
def test_an_order_is_good_for_as_long_as_was_said_also_where_the_clock_is_a_minute_behind(valid_s: int) -> None:
    made = command_of({"policy": False}, counter=1, now_s=NOW_S + 0.5, valid_s=valid_s, device="a", fleet=None)
    assert made.expires_s == NOW_S + valid_s
    assert made.not_before_s == max(NOW_S - 300, made.expires_s - LONGEST_S)


def test_an_order_that_was_signed_elsewhere_says_what_it_is() -> None:
    sent = Sent.of(order(9, policy=False))
    assert (sent.command.counter, sent.signers, sent.offer) == (9, (ME,), None)
    assert len(sent.envelope) < LIMIT_BYTES
    assert sent.command.not_before_s == NOW_S
    assert Counter(fleet_of(a=None).counters(ME)) == Counter()
    assert list(fleet_of(a=BASE, b=None).counters(OFFICE.public.id)) == [7]
