"""Chunks arrive in any order, twice, damaged, over restarts: what comes out is the file or nothing."""

from __future__ import annotations

import hashlib
import random
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.update.chunks import (
    LORA_PAYLOAD_BYTES,
    MAX_BYTES,
    Chunks,
    cut,
    from_frame,
    list_frame,
    to_frame,
    traffic,
)
from tamiyo_runtime.update.disk import LocalDisk
from tamiyo_runtime.update.states import SlotState
from tamiyo_runtime.update.store import Store
from tamiyo_runtime.update.transfer import Arrival, Receiver, hash_file
from tests.power import CuttingDisk, Fate, PowerCut
from tests.updates import fresh

FILE = random.Random(1).randbytes(5_000)
files = st.integers(1, 3_000).map(lambda size: random.Random(size).randbytes(size))


class Narrow(Ethernet):
    """A link that carries 200 bytes a frame, and six of them a second for ever."""

    def max_payload_bytes(self) -> int:
        return 200

    def sustainable_bytes_per_s(self) -> float:
        return 6.0


@settings(max_examples=40)
@given(files, st.integers(24, 400), st.randoms(use_true_random=False))
def test_frames_in_any_order_twice_and_damaged_make_the_file_over_restarts_and_power_cuts(
    data: bytes, payload: int, draw: random.Random
) -> None:
    chunks = Chunks.for_payload(data, payload)
    frames = [to_frame(chunks, index, piece) for index, piece in enumerate(cut(data, chunks.chunk_bytes))]
    assert max(map(len, frames)) <= payload
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    receiver = store.begin(chunks)
    while not receiver.complete:
        frame = bytearray(draw.choice(frames))
        damaged = draw.random() < 0.2
        if damaged:
            frame[draw.randrange(8, len(frame))] ^= 1 << draw.randrange(8)
        index, piece = from_frame(chunks, bytes(frame)) or pytest.fail("no frame")
        before = receiver.received
        arrival = receiver.take(index, piece)
        assert (arrival is Arrival.CORRUPT) == damaged
        assert receiver.received == before + (arrival is Arrival.STORED)
        if draw.random() < 0.1:
            if draw.random() < 0.3:
                receiver.sync()
            disk = disk.after_cut(draw.choice(list(Fate)), draw)
            store = Store.open(disk)
            receiver = store.resume() or store.begin(chunks)
        if draw.random() < 0.5:  # what is asked for is what is missing
            for missing in receiver.missing():
                receiver.take(missing, data[missing * chunks.chunk_bytes :][: chunks.chunk_bytes])
                break
    store.finish(receiver)
    assert disk.read("a/bundle.tamiyo", 0, len(data) + 1) == data
    assert store.record.slots["a"].state is SlotState.STAGED


def test_what_was_synced_need_not_be_sent_again() -> None:
    disk = CuttingDisk()
    chunks = Chunks.for_payload(FILE)
    receiver = Store.create(disk, fresh()).begin(chunks)
    for index in range(10):
        receiver.take(index, FILE[index * 192 : (index + 1) * 192])
    receiver.sync()
    receiver.take(10, FILE[1920:2112])
    resumed = Store.open(disk.after_cut(Fate.LOST, random.Random(0))).resume()
    assert resumed is not None
    assert next(resumed.missing()) == resumed.received == 10


def test_chunks_that_the_slot_held_before_in_the_same_place_need_not_be_sent() -> None:
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    receiver = store.begin(Chunks.for_payload(FILE))
    for index, piece in enumerate(cut(FILE, 192)):
        receiver.take(index, piece)
    changed = FILE[:1000] + b"another" + FILE[1007:]
    assert list(store.begin(Chunks.for_payload(changed)).missing()) == [5]


def test_a_list_that_contradicts_itself_ends_in_nothing() -> None:
    disk = CuttingDisk()
    store = Store.create(disk, fresh())
    chunks = replace(Chunks.for_payload(FILE), sha256=hashlib.sha256(b"another").digest())
    receiver = store.begin(chunks)
    with pytest.raises(InputError, match="27 of 27 chunks are missing"):
        store.finish(receiver)
    for index, piece in enumerate(cut(FILE, 192)):
        receiver.take(index, piece)
    with pytest.raises(IntegrityError, match="do not add up"):
        store.finish(receiver)
    assert store.record.slots["a"].state is SlotState.RECEIVING
    assert store.begin(Chunks.for_payload(FILE)).complete


@settings(max_examples=40)
@given(files, st.integers(24, 400))
def test_a_list_survives_its_own_form(data: bytes, payload: int) -> None:
    chunks = Chunks.for_payload(data, payload)
    assert Chunks.from_bytes(chunks.to_bytes()) == chunks


@settings(max_examples=40)
@given(st.binary(max_size=120) | st.binary(max_size=120).map(lambda tail: b"TMC1" + tail))
def test_rubbish_is_no_list_and_no_frame_of_this_file(raw: bytes) -> None:
    with pytest.raises(IntegrityError):
        Chunks.from_bytes(raw)
    assert from_frame(Chunks.for_payload(FILE), raw) is None


@settings(max_examples=40)
@given(st.integers(-5, 40), st.binary(max_size=300))
def test_a_chunk_is_taken_only_where_it_belongs(index: int, data: bytes) -> None:
    chunks = Chunks.for_payload(FILE)
    assert not chunks.holds(index, data)
    right = FILE[384:576]
    assert chunks.holds(index, right) == (index == 2)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size_bytes": MAX_BYTES + 1}, "size_bytes"),
        ({"size_bytes": 0}, "size_bytes"),
        ({"chunk_bytes": 1}, "chunk_bytes"),
        ({"chunk_bytes": 1 << 30}, "chunk_bytes"),
        ({"digest_bytes": 4}, "digest_bytes"),
        ({"digests": b""}, "digests"),
    ],
)
def test_a_list_of_absurd_figures_is_refused_before_anything_is_written(change: dict[str, object], match: str) -> None:
    with pytest.raises(SchemaError, match=match):
        replace(Chunks.for_payload(FILE), **change)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Eight times the file, not even twice the memory: one bit and one digest a chunk, and one chunk at a time."""
    peaks = []
    for size in (1 << 20, 8 << 20):
        disk = LocalDisk(tmp_path)
        chunks = Chunks.of((bytes(64 << 10) for _ in range(size >> 16)), chunk_bytes=64 << 10)
        disk.resize("file", size)
        disk.write_at("file", 0, b"not zero")
        tracemalloc.start()
        receiver = Receiver(disk, "file", chunks)
        receiver.take(0, bytes(64 << 10))
        assert hash_file(disk, "file", size) == chunks.sha256.hex()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < 300_000


def test_traffic_counts_every_byte_that_the_frames_hold() -> None:
    chunks = Chunks.for_payload(FILE, LORA_PAYLOAD_BYTES)
    frames = [to_frame(chunks, index, piece) for index, piece in enumerate(cut(FILE, chunks.chunk_bytes))]
    of_list = [list_frame(chunks, index) for index in range(-(-len(chunks.to_wire()) // 192))]
    whole = traffic(chunks, Narrow())
    assert (whole.frames, whole.payload_bytes) == (len(frames + of_list), sum(map(len, frames + of_list)))
    assert whole.seconds == pytest.approx(whole.payload_bytes / 6)
    rest = traffic(chunks, Narrow(), missing=3, with_list=False)
    assert (rest.frames, rest.payload_bytes) == (3, 600)
    assert traffic(chunks, Ethernet()).seconds == 0
    with pytest.raises(SchemaError, match="carries 200 a frame"):
        traffic(Chunks.for_payload(FILE, 300), Narrow())


def test_a_cut_within_a_write_tears_a_chunk_and_it_is_asked_for_again() -> None:
    disk = CuttingDisk()
    chunks = Chunks.for_payload(FILE)
    receiver = Store.create(disk, fresh()).begin(chunks)
    disk.cut_at = disk.operations
    with pytest.raises(PowerCut):
        receiver.take(4, FILE[768:960])
    for seed in range(20):
        found = Store.open(disk.after_cut(Fate.MIXED, random.Random(seed))).resume()
        assert found is None or set(range(27)) - set(found.missing()) <= {4}
