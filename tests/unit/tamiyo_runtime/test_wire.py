"""The compact codec: nothing is lost on the way, nothing hostile gets through, and it is small."""

from __future__ import annotations

import contextlib
import random
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tamiyo_runtime.contracts import rows, wire
from tamiyo_runtime.contracts.columns import LIMIT, Reader, put_columns, unzigzag, zigzag
from tamiyo_runtime.contracts.errors import SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.records import (
    KINDS,
    Ack,
    Batch,
    Decision,
    Event,
    EventRecord,
    LossReason,
    Mode,
    Numbered,
    Reason,
    Sample,
    Tombstone,
    Window,
)
from tamiyo_runtime.contracts.sketch import sketch_of
from tamiyo_runtime.contracts.stamp import QUALITIES, Stamp, TimeQuality
from tests import strategies

seqs = st.integers(0, 2**50)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    numbers = draw(st.lists(seqs | st.integers(0, 40), min_size=1, max_size=12, unique=True))
    records = tuple(Numbered(seq, draw(strategies.records)) for seq in numbers)
    created = draw(st.just(0) | st.integers(max(numbers) + 1, 2**51))
    bundle, stamp = draw(st.just(b"") | st.binary(min_size=4, max_size=4)).hex(), draw(st.none() | strategies.stamps())
    return Batch(draw(st.integers(0, 2**63 - 1)), bundle, records, created, stamp)


def in_order(batch: Batch) -> Batch:
    ordered = tuple(sorted(batch.records, key=lambda numbered: numbered.seq))
    return Batch(batch.boot, batch.bundle, ordered, batch.created, batch.stamp)


@given(batches())
def test_a_batch_comes_back_in_order_of_its_numbers(batch: Batch) -> None:
    assert wire.decode(wire.encode(batch)) == in_order(batch)


FIRST_FRAME = (
    "c16b6d0002052e6e1e5e2e3666d66403430343200904cc19f925ac8c8c0c8c2fd827f831315ee03f22bc47eec207632eae09cc2fd899181818a7"
    "311a31303132326ee0646064626015626066047299778833313270572be52496a416295919d6b2303233b23330b7b06f115820cfc0cac8c2c8d9"
    "0ab4748202332b030300463298b6"
)
FIRST_RECORDS = (
    "010102056330313031056330303030e807904e0201d00fc413bc1ed0f0330a0a9003e80702000001960132",
    "010202056330313031056330303030b009000102000512",
    "41030103686f740103b817000b7b226c61746572223a317d",
    "0104010563303130310700038407b410a01f",
    "01050009858080809020030500",
)


def test_what_version_1_wrote_is_read_for_ever() -> None:
    """Written by version 1: a frame of one record of each kind, and those records as a spool kept them."""
    batch = wire.decode(bytes.fromhex(FIRST_FRAME), device="board-1")
    boot = 1 << 40 | 5
    assert (batch.boot, batch.bundle, batch.created, batch.stamp) == (boot, "0a0b0c0d", 20, None)
    assert [numbered.seq for numbered in batch.records] == [10, 11, 12, 13, 14]
    kept = [wire.decode_record(bytes.fromhex(record), boot) for record in FIRST_RECORDS]
    assert [numbered.record for numbered in batch.records] == kept
    window, _, event, sample, stone = kept
    assert isinstance(window, Window)
    assert (window.counts, window.latency_sketch) == ({"c0101": 150, "c0000": 50}, None)
    assert event == EventRecord(t_ms=1, event=Event.THROTTLE, value=1500, detail="hot", extra={"later": 1})
    assert isinstance(sample, Sample) and sample.configuration == "c0101"
    assert stone == Tombstone(t_ms=9, boot=1 << 32, first_seq=3, last_seq=8, reason=LossReason.SPOOL_FULL)


@given(batches())
def test_the_json_twin_says_the_same(batch: Batch) -> None:
    assert wire.batch_from_json(wire.batch_to_json(batch)) == batch


@given(strategies.records, st.integers(0, 2**63 - 1))
def test_a_single_record_comes_back(record: object, boot: int) -> None:
    assert wire.decode_record(wire.encode_record(record, boot), boot) == record


@given(st.binary(max_size=300))
@example(b"\x01" + b"\xff" * 9)
@example(b"\xc1" + zlib.compress(bytes(8 << 20), wbits=-15))
def test_arbitrary_bytes_are_a_batch_or_a_schema_error(raw: bytes) -> None:
    compressed = zlib.compress(raw, wbits=-15)
    for data in (raw, b"\x01" + raw, b"\x02" + raw, b"\x42" + raw, b"\x81" + compressed, b"\x82" + compressed):
        for decode in (wire.decode, wire.decode_ack, wire.decode_record, wire.batch_from_json):
            with contextlib.suppress(SchemaError):
                decode(data)
        for decode_sealed in (wire.decode, wire.decode_ack):  # past the check sum, as an attacker would
            with contextlib.suppress(SchemaError):
                decode_sealed(wire.sealed(data, ""))


@given(batches(), st.data())
def test_a_forged_frame_is_a_batch_or_a_schema_error(batch: Batch, data: st.DataObject) -> None:
    frame = bytearray(wire.encode(batch)[: -wire.CHECK_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = wire.decode(wire.sealed(bytes(frame[: data.draw(st.integers(0, len(frame)))]), ""))
    except SchemaError:
        return
    assert wire.decode(wire.encode(decoded)) == decoded


@given(batches(), st.data())
def test_a_damaged_frame_or_ack_is_refused(batch: Batch, data: st.DataObject) -> None:
    ack = Ack(batch.boot, wire.spans(numbered.seq for numbered in batch.records))
    for message, decode in (
        (wire.encode(batch, device="d"), wire.decode),
        (wire.encode_ack(ack, device="d"), wire.decode_ack),
    ):
        damaged = bytearray(message)
        start = data.draw(st.integers(0, len(message) - 1))
        burst = data.draw(st.binary(min_size=1, max_size=4))  # a CRC finds every burst of up to its own length
        damaged[start : start + len(burst)] = burst[: len(message) - start]
        if damaged != message:
            with pytest.raises(SchemaError):
                decode(bytes(damaged), device="d")  # type: ignore[operator]  # one of two functions


def test_a_frame_that_came_out_under_another_name_is_refused() -> None:
    frame = wire.encode(Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),)), device="barn-1")
    assert wire.decode(frame, device="barn-1").boot == 0
    with pytest.raises(SchemaError, match="another device"):
        wire.decode(frame, device="barn-2")
    with pytest.raises(SchemaError, match="another device"):
        wire.decode_ack(wire.encode_ack(Ack(0, ((0, 0),)), device="barn-1"), device="barn-2")


@given(batches())
def test_every_truncation_is_refused(batch: Batch) -> None:
    frame = wire.encode(batch)
    for size in range(len(frame)):
        with pytest.raises(SchemaError):
            wire.decode(frame[:size])


def test_a_few_bytes_cannot_ask_for_much_memory() -> None:
    constant = wire.sealed(bytes.fromhex("01 00 00000000 00 00 00 04 ff1f 00 ff1f aa0a 000000000000"), "")
    bomb = wire.sealed(b"\x81" + zlib.compress(bytes(64 << 20), 9, -15), "")
    assert len(bomb) < wire.MAX_FRAME_BYTES
    for frame in (bomb, bytes(wire.MAX_FRAME_BYTES + 1), constant):
        with pytest.raises(SchemaError):
            wire.decode(frame)


@pytest.mark.parametrize("decode", [wire.decode, wire.decode_ack, wire.decode_record])
def test_a_later_version_is_named_as_such(decode: object) -> None:
    with pytest.raises(SchemaVersionError, match="version 3"):
        decode(b"\x03\x01\x00\x00")  # type: ignore[operator]  # parametrised over three functions


def test_every_member_of_every_enumeration_has_a_code() -> None:
    assert set(rows.REASONS.values()) == set(Reason)
    assert set(rows.MODES.values()) == set(Mode)
    assert set(rows.EVENTS.values()) == set(Event)
    assert set(rows.LOSSES.values()) == set(LossReason)
    assert {layout.kind for layout in rows.LAYOUTS.values()} == set(KINDS)
    assert set(QUALITIES.values()) == set(TimeQuality)


@pytest.mark.parametrize(
    "broken",
    [
        Batch(0, "00000000", ()),
        Batch(0, "xyz", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),)),
        Batch(0, "00000000", (Numbered(3, EventRecord(t_ms=0, event=Event.START)),), 3),
        Batch(0, "00000000", (Numbered(-1, EventRecord(t_ms=0, event=Event.START)),)),
        Batch(1 << 63, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),)),
        Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=1 << 63, event=Event.START)),)),
        Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),) * 2),
        Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START, extra={"t_ms": 1})),)),
        Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START, extra={"x": float("nan")})),)),
        Batch(0, "00000000", (Numbered(0, EventRecord(t_ms=0, event=Event.START, extra={"x": "y" * 5000})),)),
    ],
)
def test_what_cannot_be_read_back_is_never_written(broken: Batch) -> None:
    with pytest.raises(SchemaError):
        wire.encode(broken)


@given(st.lists(strategies.records, min_size=1, max_size=12), st.integers(0, 400))
def test_packing_takes_a_prefix_that_no_record_can_be_added_to(records: list[object], limit: int) -> None:
    numbered = [Numbered(seq, record) for seq, record in enumerate(records)]  # type: ignore[arg-type]  # drawn records
    frame, taken = wire.pack(7, "0a0b0c0d", numbered, limit)
    assert len(frame) <= limit
    if taken:
        assert list(wire.decode(frame).records) == numbered[:taken]
    else:
        assert frame == b""
    if taken < len(numbered):
        assert wire.encoded_size(Batch(7, "0a0b0c0d", tuple(numbered[: taken + 1]))) > limit


@given(st.integers(0, 2**40), st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**40)), max_size=20))
def test_an_ack_comes_back(boot: int, gaps: list[tuple[int, int]]) -> None:
    ranges, free = [], 0
    for gap, length in gaps:
        ranges.append((free + gap, free + gap + length))
        free += gap + length + 1
    ack = Ack(boot, tuple(ranges))
    assert wire.decode_ack(wire.encode_ack(ack)) == ack


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(st.integers(0, LIMIT - 1), min_size=n, max_size=n))))
def test_columns_come_back(columns: list[list[int]]) -> None:
    if not columns:
        return
    out = bytearray()
    put_columns(out, columns)
    reader = Reader(bytes(out))
    assert reader.columns(len(columns), len(columns[0])) == columns
    reader.done()


@given(st.integers(-(2**70), 2**70))
def test_zigzag_turns_every_integer_into_a_natural_one_and_back(value: int) -> None:
    assert zigzag(value) >= 0
    assert unzigzag(zigzag(value)) == value


def field_samples(count: int) -> list[Numbered]:
    """Samples as a board at 1 Hz makes them: jittered latency and energy, two configurations, ten classes."""
    rng = random.Random(7)
    return [
        Numbered(
            1000 + i,
            Sample(
                t_ms=100_000 + 1000 * i + rng.randint(-3, 3),
                configuration=rng.choice(("c0101", "c0000")),
                answer=rng.randint(0, 9),
                confidence_permille=rng.randint(600, 1000),
                latency_us=rng.randint(1800, 2600),
                energy_uj=rng.randint(3800, 5200),
            ),
        )
        for i in range(count)
    ]


def field_windows(count: int, *, sketched: bool = True) -> list[Numbered]:
    """Windows of about 10 s at 20 inferences a second: two configurations, latencies of each within a tenth."""
    rng = random.Random(7)
    windows = []
    for i in range(count):
        latencies = [round(rng.choice((1950, 2450)) * rng.lognormvariate(0.0, 0.03)) for _ in range(199)]
        full = rng.randint(20, 180)
        windows.append(
            Window(
                t_ms=10_000 * i,
                duration_ms=10_000,
                inferences=200,
                skipped=rng.randint(0, 3),
                deadline_misses=0,
                latency_p50_us=rng.randint(1900, 2100),
                latency_p95_us=rng.randint(2400, 2600),
                latency_max_us=rng.randint(2800, 3900),
                energy_uj=rng.randint(800_000, 900_000),
                labelled=200,
                correct=rng.randint(185, 198),
                bucket_permille=rng.randint(300, 900),
                throttle_permille=1000,
                counts={"c0101": full, "c0000": 200 - full},
                latency_sketch=sketch_of([*latencies, rng.randint(2800, 3900)]) if sketched else None,
            )
        )
    return [Numbered(seq, window) for seq, window in enumerate(windows)]


def field_decisions(count: int) -> list[Numbered]:
    rng = random.Random(7)
    return [
        Numbered(
            seq,
            Decision(
                t_ms=4000 * seq + rng.randint(0, 900),
                proposed="c0101",
                granted=rng.choice(("c0101", "c0001", "c0000")),
                reason=rng.choice((Reason.POLICY, Reason.ENERGY, Reason.LATENCY)),
                mode=Mode.NORMAL,
                latency_left_permille=rng.randint(100, 700),
                bucket_permille=rng.randint(0, 1000),
            ),
        )
        for seq in range(count)
    ]


@pytest.mark.parametrize(
    ("records", "most_bytes_each"),
    [
        (field_samples(60), 9.0),
        (field_samples(600), 7.0),
        (field_windows(5), 42.0),
        (field_windows(1), 76.0),
        (field_windows(5, sketched=False), 26.0),
        (field_decisions(20), 11.0),
    ],
)
def test_typical_batches_are_small(records: list[Numbered], most_bytes_each: float) -> None:
    sent = Stamp(sent_ms=records[-1].record.t_ms + 30_000)
    frame = wire.encode(Batch(1 << 40, "0a0b0c0d", tuple(records), records[-1].seq + 1, sent))
    assert len(frame) / len(records) <= most_bytes_each


def test_a_window_of_two_configurations_fits_the_smallest_frame_of_lora() -> None:
    """51 bytes at SF10 to SF12, without a sketch, a bundle and a stamp."""
    (window,) = field_windows(1, sketched=False)
    assert wire.encoded_size(Batch(1 << 40, "", (window,), 1)) <= 51


def test_records_that_name_too_much_for_one_frame_are_packed_into_several() -> None:
    """A backlog of windows over many configurations must not stop the uplink for good."""
    window = Window(
        t_ms=0,
        duration_ms=1,
        inferences=40,
        skipped=0,
        deadline_misses=0,
        latency_p50_us=1,
        latency_p95_us=1,
        latency_max_us=1,
        energy_uj=1,
        labelled=0,
        correct=0,
        bucket_permille=0,
        throttle_permille=0,
        counts={f"c{place}": 1 for place in range(40)},
    )
    numbered = [Numbered(seq, window) for seq in range(512)]
    frame, taken = wire.pack(1, "0a0b0c0d", numbered, 16 << 10)
    assert taken == rows.MAX_COUNTS // 40
    assert len(wire.decode(frame).records) == taken
    events = [Numbered(seq, EventRecord(t_ms=0, event=Event.BUDGET, detail=f"{seq}")) for seq in range(2000)]
    assert wire.pack(1, "0a0b0c0d", events, 16 << 10)[1] == rows.MAX_STRINGS
