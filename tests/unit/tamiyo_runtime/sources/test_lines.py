"""Lines and messages as samples: total over all bytes, bounded, and precise about what is wrong."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.sources.base import Loss
from tamiyo_runtime.sources.inbox import FlawError
from tamiyo_runtime.sources.lines import LineSplitter, line_limit, parse_line
from tamiyo_runtime.sources.mqtt import RateLimit, parse_payload
from tests.tiny import INPUT

VALUES = [float(value) for value in range(16)]
PLAIN = ",".join(map(str, VALUES)).encode()
NESTED = np.reshape(VALUES, (4, 4)).tolist()


@pytest.mark.parametrize(
    "line",
    [
        PLAIN,
        PLAIN.replace(b",", b" "),
        PLAIN.replace(b",", b"; "),
        PLAIN + b",\r",
        json.dumps(VALUES).encode(),
        json.dumps(NESTED).encode(),
        json.dumps([NESTED]).encode(),
    ],
)
def test_a_line_is_its_numbers_however_they_are_separated(line: bytes) -> None:
    sample = parse_line(line, INPUT)
    assert (sample.shape, sample.dtype) == ((1, 4, 4), np.float32)
    np.testing.assert_array_equal(sample.ravel(), VALUES)


@pytest.mark.parametrize(
    ("line", "loss", "detail"),
    [
        (b"1,2,3", Loss.WRONG_COUNT, "3 numbers, the bundle takes 16"),
        (PLAIN + b",1", Loss.WRONG_COUNT, "17 numbers"),
        (b"[]", Loss.WRONG_COUNT, "0 numbers"),
        (json.dumps(np.reshape(VALUES, (2, 8)).tolist()).encode(), Loss.WRONG_COUNT, "shape [2, 8]"),
        (PLAIN.replace(b",3.0,", b",x,"), Loss.NOT_NUMBERS, "no number"),
        (PLAIN.replace(b",3.0,", b",1_0,"), Loss.NOT_NUMBERS, "no number"),
        (b"[1, [2]]", Loss.NOT_NUMBERS, "JSON"),
        (b'["1", 2]', Loss.NOT_NUMBERS, "JSON"),
        (b"[true]", Loss.NOT_NUMBERS, "JSON"),
        (b"[" * 4000, Loss.NOT_NUMBERS, "JSON"),
        (b"[" + b"9" * 400 + b"]", Loss.NOT_NUMBERS, "JSON"),
        (PLAIN.replace(b",3.0,", b",nan,"), Loss.NOT_FINITE, "NaN"),
        (PLAIN.replace(b",3.0,", b",1e300,"), Loss.NOT_FINITE, "infinity"),
        (b"[NaN" + b",1" * 15 + b"]", Loss.NOT_FINITE, "NaN"),
        (PLAIN.replace(b",3.0,", b",16.5,"), Loss.OUT_OF_RANGE, "from 0 to 16.5, the bundle takes 0 to 16"),
        (b"\xff\xfe\x00", Loss.NOT_NUMBERS, "no number"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_values(line: bytes, loss: Loss, detail: str) -> None:
    with pytest.raises(FlawError) as caught:
        parse_line(line, INPUT)
    assert caught.value.loss is loss
    assert detail in caught.value.detail


@given(st.binary(max_size=200) | st.text(alphabet="[]0123456789.,-eE naif_\t", max_size=120).map(str.encode))
def test_no_bytes_make_the_parser_fail_in_another_way(line: bytes) -> None:
    try:
        sample = parse_line(line, INPUT)
    except FlawError as flaw:
        assert flaw.detail
    else:
        assert sample.shape == INPUT.shape


@given(st.lists(st.binary(max_size=30).map(lambda b: b.replace(b"\n", b" ")), max_size=8), st.data())
def test_lines_come_out_whole_wherever_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    splitter, found = LineSplitter(10), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += splitter.feed(stream[:size])
        stream = stream[size:]
    expected = [None if len(line) > 10 else line.strip() for line in lines]
    assert found == [line for line in expected if line != b""]
    assert splitter.finish() is None


def test_a_line_without_an_end_costs_no_memory() -> None:
    splitter = LineSplitter(100)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []
        assert len(splitter._rest) <= 100
    assert list(splitter.feed(b"\n1,2\n")) == [None, b"1,2"]


def test_a_stream_that_is_joined_in_mid_line_begins_with_the_next() -> None:
    splitter = LineSplitter(100, skip_first=True)
    assert list(splitter.feed(b"4,5\n1,2\n3")) == [b"1,2"]
    assert splitter.finish() == b"3"


def test_a_message_is_json_or_the_bytes_of_float32() -> None:
    raw = struct.pack("<16f", *VALUES)
    for payload, form in (
        (raw, "auto"),
        (raw, "f32"),
        (json.dumps(VALUES).encode(), "auto"),
        (b"[0" + b",0" * 15 + b"]", "json"),
    ):
        assert parse_payload(payload, INPUT, form).shape == (1, 4, 4)
    np.testing.assert_array_equal(parse_payload(raw, INPUT, "auto").ravel(), VALUES)


@pytest.mark.parametrize(
    ("payload", "form", "loss"),
    [
        (b"", "auto", Loss.WRONG_COUNT),
        (b"\x00" * 63, "auto", Loss.WRONG_COUNT),
        (b"\x00\x00\xc0\x7f" * 16, "auto", Loss.NOT_FINITE),
        (b"1,2,3", "json", Loss.NOT_NUMBERS),
        (b"[" + b" " * line_limit(INPUT) + b"]", "auto", Loss.TOO_LONG),
        (json.dumps(VALUES).encode(), "f32", Loss.WRONG_COUNT),
    ],
)
def test_a_message_that_is_no_sample_is_refused_by_its_reason(payload: bytes, form: str, loss: Loss) -> None:
    with pytest.raises(FlawError) as caught:
        parse_payload(payload, INPUT, form)
    assert caught.value.loss is loss


def test_a_rate_limit_lets_as_many_through_as_it_says() -> None:
    limit = RateLimit(10.0)
    assert sum(limit.allows(0.001 * step) for step in range(10_000)) == pytest.approx(10 + 100, abs=1)
    assert RateLimit(0.1).allows(0.0)  # the first one always
