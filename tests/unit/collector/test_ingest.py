"""Whatever a topic carries, it becomes something the store can keep."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.arrivals import Announcement, Delivery, Rejected
from collector.ingest import acks, arrival
from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.records import Ack, Batch, Event, EventRecord, Numbered
from tamiyo_runtime.contracts.skim import skimmed
from tamiyo_runtime.transport import Address, Channel, announcement

ADDRESS = Address("fleet", "board-1")
BATCH = Batch(5, "0a0b0c0d", (Numbered(3, EventRecord(t_ms=1, event=Event.START)),), 4)
FAREWELL = announcement.write({"state": "stopped", "boot": 5, "created": 30, "pending": 0}, ADDRESS.device)
FRAME = wire.encode(BATCH, device=ADDRESS.device)


def test_a_frame_is_a_delivery_of_the_device_in_the_topic() -> None:
    for channel in (Channel.EVENTS, Channel.TELEMETRY):
        came = arrival(ADDRESS.topic(channel), FRAME, 2.0, fleet="fleet")
        assert came == Delivery("board-1", skimmed(BATCH, device="board-1"), 2.0)


def test_births_and_states_are_announcements() -> None:
    birth = arrival(ADDRESS.topic(Channel.BIRTH), announcement.write({"boot": 1}, "board-1"), 2.0, fleet="fleet")
    assert birth == Announcement("board-1", {"boot": 1}, None, 2.0)
    state = arrival(ADDRESS.topic(Channel.STATE), FAREWELL, 2.0, fleet="fleet")
    assert state == Announcement("board-1", None, {"state": "stopped", "boot": 5, "created": 30, "pending": 0}, 2.0)


def test_what_cannot_be_understood_says_why() -> None:
    later = bytes([wire.VERSION + 1]) + FRAME[1:]
    for topic, payload, reason in (
        (ADDRESS.topic(Channel.TELEMETRY), b"", "bytes"),
        (ADDRESS.topic(Channel.TELEMETRY), later, "newer"),
        (ADDRESS.topic(Channel.STATE), b"[1]", "object"),
        (ADDRESS.topic(Channel.STATE), FAREWELL.replace(b"30", b"31"), "damaged"),
        (ADDRESS.topic(Channel.STATE), b'{"state":"online"}', "damaged"),
        (ADDRESS.topic(Channel.STATE), b'{"x":' + b"[" * 900 + b"]" * 900 + b"}", "deep"),
        (Address("fleet", "board-2").topic(Channel.STATE), FAREWELL, "another device"),
        (ADDRESS.topic(Channel.BIRTH), b"{" * 5000, "limit"),
        (ADDRESS.topic(Channel.ACK), b"\x01\x00\x00", "nobody says ack"),
        (ADDRESS.topic(Channel.EVENTS), FRAME[:-1] + b"!", "damaged"),
        (Address("fleet", "board-2").topic(Channel.EVENTS), FRAME, "another device"),
        ("tamiyo/v1/other/board-1/t", FRAME, "other"),
        ("tamiyo/v2/fleet/board-1/t", FRAME, "not one of ours"),
    ):
        came = arrival(topic, payload, 0.0, fleet="fleet")
        assert isinstance(came, Rejected)
        assert reason in came.reason


@given(st.text(max_size=40) | st.sampled_from([ADDRESS.topic(channel) for channel in Channel]), st.binary(max_size=200))
def test_no_message_ever_raises(topic: str, payload: bytes) -> None:
    assert isinstance(arrival(topic, payload, 0.0, fleet="fleet"), Delivery | Announcement | Rejected)


@given(st.lists(st.tuples(st.integers(1, 3), st.sets(st.integers(0, 60), min_size=1)), min_size=1, max_size=6))
def test_acks_name_exactly_what_the_batches_held(groups: list[tuple[int, set[int]]]) -> None:
    event = EventRecord(t_ms=1, event=Event.START)
    batches = [Batch(boot, "0a0b0c0d", tuple(Numbered(seq, event) for seq in sorted(seqs))) for boot, seqs in groups]
    said = acks([skimmed(batch) for batch in batches])
    named = {(ack.boot, seq) for ack in said for first, last in ack.ranges for seq in range(first, last + 1)}
    assert named == {(boot, seq) for boot, seqs in groups for seq in seqs}
    assert all(wire.decode_ack(wire.encode_ack(ack)) == ack for ack in said)


def test_an_ack_too_long_for_one_message_becomes_several() -> None:
    event = EventRecord(t_ms=1, event=Event.START)
    odd = [tuple(Numbered(2 * n + start, event) for n in range(wire.MAX_RECORDS)) for start in (0, 1 << 20)]
    said = acks([skimmed(Batch(1, "0a0b0c0d", records)) for records in odd])
    assert [len(ack.ranges) for ack in said] == [wire.MAX_ACK_RANGES, 2 * wire.MAX_RECORDS - wire.MAX_ACK_RANGES]
    assert all(isinstance(ack, Ack) for ack in said)
