"""Every record is stored once, however its frames are split, repeated, reordered, and whenever the collector dies."""

from __future__ import annotations

import itertools
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.arrivals import Delivery
from collector.store import Store
from tamiyo_runtime.contracts.records import Batch, Event, EventRecord, Numbered, Record, Sample
from tamiyo_runtime.contracts.skim import skimmed

BOOT = 7 << 16 | 1
COUNT = 24


def record(seq: int) -> Record:
    """A record that shows whether it is the one that was sent under its number."""
    if seq % 5 == 3:
        return EventRecord(t_ms=seq, event=Event.BUDGET, value=seq)
    extra = {"x": seq} if seq % 7 == 0 else {}
    return Sample(
        t_ms=seq * 10,
        configuration=f"c{seq % 3}",
        answer=seq,
        confidence_permille=1,
        latency_us=2,
        energy_uj=3,
        extra=extra,
    )


def delivery(seqs: set[int], device: str = "d") -> Delivery:
    batch = Batch(BOOT, "0a0b0c0d", tuple(Numbered(seq, record(seq)) for seq in sorted(seqs)), max(COUNT, *seqs) + 1)
    return Delivery(device, skimmed(batch, device=device), 1.0)


frames = st.sets(st.integers(0, COUNT - 1), min_size=1) | st.tuples(st.integers(0, COUNT - 1), st.integers(0, 9)).map(
    lambda pair: set(range(pair[0], min(COUNT, pair[0] + pair[1] + 1)))
)
groups = st.tuples(st.lists(frames, min_size=1, max_size=4), st.booleans())


def abandon(store: Store, deliveries: list[Delivery]) -> None:
    """Write as a commit does, and be gone before it is one."""
    store._db.execute("BEGIN IMMEDIATE")
    store._deliver("d", BOOT, deliveries)
    store._db.close()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(groups, min_size=1, max_size=8))
def test_each_record_is_stored_once_and_unchanged(tmp_path: Path, work: list[tuple[list[set[int]], bool]]) -> None:
    for leftover in tmp_path.iterdir():
        leftover.unlink()
    path = tmp_path / "c.db"
    store, model, sent = Store(path), set[int](), 0
    for group, killed in work:
        deliveries = [delivery(seqs) for seqs in group]
        if killed:
            abandon(store, deliveries)
            store = Store(path)
            continue
        store.commit(deliveries)
        model |= set().union(*group)
        sent += sum(map(len, group))
    with store:
        found = [*store.samples(), *store.events()]
        assert {where.seq: one for where, one in found} == {seq: record(seq) for seq in model}
        assert len(found) == len(model)
        places = [where.seq for where, _ in store.samples()]
        assert places == sorted(places)
        kept = sum(count for (count,) in store._db.execute("SELECT count FROM samples"))
        kept += store._db.execute("SELECT COUNT(*) FROM records").fetchone()[0]
        assert kept == len(model)
        assert [entry.stored for entry in store.ledger()] == ([len(model)] if model else [])
        counters = store.counters()
        assert (counters["records"], counters["duplicates"]) == (len(model), sent - len(model))


def test_two_collectors_on_one_file_store_each_record_once(tmp_path: Path) -> None:
    with Store(tmp_path / "c.db") as one, Store(tmp_path / "c.db") as other:
        for store, start in zip(itertools.cycle((one, other)), range(0, COUNT - 6, 3), strict=False):
            store.commit([delivery(set(range(start, start + 6)))])
        assert one.counters()["records"] == len(one.samples()) + len(one.events()) == COUNT - 3


def test_samples_of_many_frames_are_read_in_order_of_their_numbers(tmp_path: Path) -> None:
    evens, odds = set(range(0, 2000, 2)), set(range(1, 2000, 2))
    with Store(tmp_path / "c.db") as store:
        for device in ("b", "a"):
            store.commit([delivery(odds, device)])
            for start in range(0, 2000, 40):
                store.commit([delivery({seq for seq in evens if start <= seq < start + 40}, device)])
        found = [(where.device, where.seq) for where, _ in store.samples()]
        assert found == [(device, seq) for device in ("a", "b") for seq in range(2000) if seq % 5 != 3]
        assert [where.seq for where, _ in store.samples(device="b")] == [seq for device, seq in found if device == "b"]
