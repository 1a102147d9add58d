"""What waits for a device in memory is bounded, whatever is sent to it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.transport import Address, Channel
from tamiyo_runtime.transport.inbox import LARGEST_PACKET_BYTES, ROOM, Inboxes
from tamiyo_runtime.transport.memory import Bus, MemoryTransport

sent = st.lists(st.tuples(st.sampled_from(Channel), st.integers(0, 3), st.booleans()), max_size=400)


@given(sent)
def test_messages_are_kept_or_counted_and_the_newest_are_kept(messages: Sequence[tuple[Channel, int, bool]]) -> None:
    boxes = Inboxes(tuple(ROOM))
    fitting: dict[Channel, list[bytes]] = {channel: [] for channel in Channel}
    for number, (channel, size, too_large) in enumerate(messages):
        padding = ROOM[channel].message_bytes if too_large and channel in ROOM else size
        payload = number.to_bytes(4, "big") + bytes(padding)
        boxes.put(channel, payload)
        if channel in ROOM and not too_large:
            fitting[channel].append(payload)
    for channel in Channel:
        kept = boxes.take(channel)
        assert len(kept) <= (ROOM[channel].messages if channel in ROOM else 0)
        assert kept == fitting[channel][len(fitting[channel]) - len(kept) :]
        assert boxes.displaced[channel] == len(fitting[channel]) - len(kept)
        assert not boxes.holds(channel)
    assert sum(boxes.refused.values()) == len(messages) - sum(map(len, fitting.values()))


def test_no_message_that_fits_is_larger_than_what_the_broker_may_send() -> None:
    assert all(room.message_bytes <= LARGEST_PACKET_BYTES for room in ROOM.values())


def test_an_order_that_was_sent_before_the_device_came_is_heard_and_a_chunk_is_not() -> None:
    address = Address("fleet", "late")
    bus = Bus.named("inbox-late")
    bus.send(address.topic(Channel.ORDER), b"first")
    bus.send(address.topic(Channel.ORDER), b"last")
    bus.send(address.topic(Channel.CHUNK), b"gone")
    transport = MemoryTransport("memory://inbox-late", address, {}, hears=(Channel.ACK, Channel.ORDER, Channel.CHUNK))
    transport.start()
    assert transport.receive(Channel.ORDER) == [b"last"]
    assert transport.receive(Channel.CHUNK) == []
    bus.send(address.topic(Channel.CHUNK), b"here")
    assert transport.receive(Channel.CHUNK) == [b"here"]
    assert transport.receive() == []


def test_a_channel_that_nobody_asked_for_is_not_kept() -> None:
    address = Address("fleet", "deaf")
    transport = MemoryTransport("memory://inbox-deaf", address, {})
    transport.start()
    transport.bus.send(address.topic(Channel.ORDER), b"an order")
    assert transport.receive(Channel.ORDER) == []
    assert transport.inboxes.refused[Channel.ORDER] == 1
