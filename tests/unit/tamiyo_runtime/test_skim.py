"""Skimming a frame says what decoding it says, and refuses what decoding refuses."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tamiyo_runtime.contracts import wire
from tamiyo_runtime.contracts.errors import SchemaError
from tamiyo_runtime.contracts.records import Batch, Decision, Mode, Numbered, Reason, Record, Sample
from tamiyo_runtime.contracts.skim import Skim, skim, skimmed
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality
from tests import strategies

STAMPS = st.none() | st.builds(
    Stamp,
    sent_ms=st.none() | st.integers(0, 2**41),
    offset_ms=st.none() | st.integers(-(2**41), 2**41),
    quality=st.sampled_from([TimeQuality.RTC, TimeQuality.NTP]),
)


def sample(number: int) -> Sample:
    return Sample(t_ms=number, configuration="c0", answer=1, confidence_permille=2, latency_us=number * 70, energy_uj=3)


def decision(number: int) -> Decision:
    return Decision(
        t_ms=number,
        proposed="",
        granted="c0",
        reason=Reason.ENERGY,
        mode=Mode.NORMAL,
        latency_left_permille=0,
        bucket_permille=0,
    )


def batch(records: dict[int, Record], *, created: int = 0, stamp: Stamp | None = None) -> Batch:
    return Batch(5, "0a0b0c0d", tuple(Numbered(seq, record) for seq, record in sorted(records.items())), created, stamp)


@st.composite
def batches(draw: st.DrawFn) -> Batch:
    numbers = draw(st.lists(st.integers(0, 30) | st.integers(0, 2**50), min_size=1, max_size=12, unique=True))
    some = strategies.records | st.builds(sample, st.integers(0, 2**40))
    records = {seq: draw(some) for seq in numbers}
    created = draw(st.just(0) | st.integers(max(numbers) + 1, 2**51))
    return batch(records, created=created, stamp=draw(STAMPS))


def said(found: Skim, device: str) -> tuple[object, ...]:
    """Everything a skim says, decoding its samples."""
    samples: Iterable[Numbered] = wire.decode(found.samples, device=device).records if found.samples else ()
    samples = tuple(samples)
    assert found.sample_count == len(samples)
    assert found.sample_spans == wire.spans(numbered.seq for numbered in samples)
    if samples:
        times = [numbered.record.t_ms for numbered in samples]
        assert found.sample_ms == (min(times), max(times))
    assert all(isinstance(numbered.record, Sample) for numbered in samples)
    assert not any(isinstance(numbered.record, Sample) for numbered in found.records)
    every = sorted([*samples, *found.records], key=lambda numbered: numbered.seq)
    return found.boot, found.bundle, found.created, found.stamp, found.size, found.spans, tuple(every)


def expected(whole: Batch) -> tuple[object, ...]:
    spans = wire.spans(numbered.seq for numbered in whole.records)
    return whole.boot, whole.bundle, whole.created, whole.stamp, len(whole.records), spans, whole.records


@given(batches())
def test_a_skim_says_what_the_batch_says(whole: Batch) -> None:
    frame = wire.encode(whole, device="d")
    assert said(skim(frame, device="d"), "d") == expected(wire.decode(frame, device="d"))


def test_samples_alone_stay_the_frame_they_came_in() -> None:
    frame = wire.encode(batch({seq: sample(seq) for seq in range(60)}), device="d")
    assert skim(frame, device="d").samples is frame


@given(batches(), st.data())
def test_forged_frames_are_refused_by_both_or_by_none(whole: Batch, data: st.DataObject) -> None:
    frame = bytearray(wire.encode(whole)[: -wire.CHECK_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    check(wire.sealed(bytes(frame[: data.draw(st.integers(0, len(frame)))]), ""))


@given(st.binary(max_size=200))
@example(b"\x01" + b"\x00" * 8 + b"\x01\x04\x02\x00\x01\x00\x01")
def test_arbitrary_bytes_are_refused_by_both_or_by_none(raw: bytes) -> None:
    for version in (b"\x01", b"\x02"):
        check(wire.sealed(version + raw, ""))


def check(frame: bytes) -> None:
    try:
        decoded = wire.decode(frame)
    except SchemaError:
        with pytest.raises(SchemaError):
            skim(frame)
        return
    assert said(skim(frame), "") == expected(decoded)


def test_a_number_given_to_a_sample_and_to_a_decision_is_refused() -> None:
    frame = wire.encode(batch({1: sample(1), 2: decision(2)}))
    opened = wire.opened(frame, "", "frame")
    body = bytearray(wire.body_of(opened))
    place = body.index(b"\x04\x01\x00\x01")  # section of samples: one row, gap 0, length 1
    body[place + 2] = 1  # a gap of 1: number 2
    with pytest.raises(SchemaError, match="given twice"):
        skim(wire.sealed(bytes([wire.VERSION]) + body, ""))


def test_a_batch_is_skimmed_as_its_frame_is() -> None:
    whole = batch({0: sample(0), 1: decision(1), 2: sample(2)}, created=9)
    found = skimmed(whole, device="d")
    assert (found.size, found.created, found.spans, found.sample_spans) == (3, 9, ((0, 2),), ((0, 0), (2, 2)))
