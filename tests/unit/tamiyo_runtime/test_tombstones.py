"""Merged tombstones name exactly what the tombstones named and bore, in ranges that cannot be joined further."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.records import LossReason, Tombstone
from tamiyo_runtime.tombstones import merged

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


@given(st.dictionaries(places, stones, max_size=12))
def test_every_number_is_in_one_range_and_ranges_are_as_long_as_can_be(found: dict[tuple[int, int], Tombstone]) -> None:
    expected = {(boot, LossReason.SPOOL_FULL, seq) for boot, seq in found}
    for stone in found.values():
        expected |= {(stone.boot, stone.reason, seq) for seq in range(stone.first_seq, stone.last_seq + 1)}
    losses = merged([(boot, seq, stone) for (boot, seq), stone in found.items()])
    numbers = [(loss.boot, loss.reason, seq) for loss in losses for seq in range(loss.first_seq, loss.last_seq + 1)]
    assert len(numbers) == len(set(numbers))
    assert set(numbers) == expected
    for before, after in pairwise(sorted(losses, key=lambda loss: (loss.boot, loss.reason, loss.first_seq))):
        if (before.boot, before.reason) == (after.boot, after.reason):
            assert after.first_seq > before.last_seq + 1
