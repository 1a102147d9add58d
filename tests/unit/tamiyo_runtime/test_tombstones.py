"""Merged tombstones name exactly what the tombstones named and bore, in ranges that cannot be joined further."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.records import LossReason, Priority, Tombstone
from tamiyo_runtime.spooled import Key
from tamiyo_runtime.tombstones import merged

classes = st.sampled_from([Priority.ALARM, Priority.RAW])
places = st.tuples(st.integers(1, 2), st.integers(0, 30))
stones = st.builds(
    lambda boot, first, length, reason: Tombstone(
        t_ms=0, boot=boot, first_seq=first, last_seq=first + length, reason=reason
    ),
    st.integers(1, 2),
    st.integers(0, 30),
    st.integers(0, 5),
    st.sampled_from([LossReason.SPOOL_FULL, LossReason.TOO_LARGE]),
)


@given(st.dictionaries(places, st.tuples(classes, stones), max_size=12))
def test_every_number_is_in_one_range_and_ranges_are_as_long_as_can_be(
    found: dict[tuple[int, int], tuple[Priority, Tombstone]],
) -> None:
    expected = {(boot, LossReason.SPOOL_FULL, seq) for boot, seq in found}
    for _, stone in found.values():
        expected |= {(stone.boot, stone.reason, seq) for seq in range(stone.first_seq, stone.last_seq + 1)}
    losses = merged([(Key(priority, boot, seq), stone) for (boot, seq), (priority, stone) in found.items()])
    numbers = [(loss.boot, loss.reason, seq) for loss in losses for seq in range(loss.first_seq, loss.last_seq + 1)]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == expected
    for before, after in pairwise(sorted(losses, key=lambda loss: (loss.boot, loss.reason, loss.first_seq))):
        if (before.boot, before.reason) == (after.boot, after.reason):
            assert after.first_seq > before.last_seq + 1


def test_a_range_is_as_urgent_as_the_most_urgent_part_of_it() -> None:
    def stone(first: int, last: int) -> Tombstone:
        return Tombstone(t_ms=0, boot=1, first_seq=first, last_seq=last, reason=LossReason.SPOOL_FULL)

    raw, alarm = Priority.RAW, Priority.ALARM
    alone = merged([(Key(raw, 2, 50), stone(0, 3)), (Key(raw, 2, 51), stone(4, 9))])
    assert {(loss.first_seq, loss.last_seq): loss.priority for loss in alone} == {(0, 9): raw, (50, 51): raw}
    mixed = merged([(Key(raw, 2, 50), stone(0, 3)), (Key(alarm, 2, 60), stone(4, 9))])
    assert {loss.first_seq: loss.priority for loss in mixed} == {0: alarm, 50: raw, 60: alarm}
