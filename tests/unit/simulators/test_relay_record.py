"""Decisions as a file, and a file as what decides."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.links import open_link
from simulators.relay import Decision, Direction, LinkMedium, Outage
from simulators.relay.foretell import Probe, foretell
from simulators.relay.record import SCHEMA, Header, Record, Recorder, read_record, written
from simulators.relay.replay import Replay
from tamiyo_runtime.contracts.errors import InputError, SchemaError, SchemaVersionError

UP, DOWN = Direction.UP, Direction.DOWN


def record_of(link: str, folder: Path, probe: Probe) -> tuple[Path, Record]:
    medium, path = LinkMedium(open_link(link)), folder / "record.jsonl"
    recorder = Recorder(path, link=link, label=medium.label, speed=10.0, overwrite=True)
    for one in foretell(medium, probe):
        recorder.tell(one)
    recorder.close()
    return path, read_record(path)


@pytest.mark.parametrize(
    "link", ["lte?seed=3", "5g?seed=1", "nb-iot?seed=2", "lora-eu868?loss_probability=0.2&seed=1", "lora-eu868+contact"]
)
def test_a_record_comes_back_whole_and_its_link_computes_the_same_again(tmp_path: Path, link: str) -> None:
    path, record = record_of(link, tmp_path, Probe(seconds=4000.0, every_s=7.3, size_bytes=700))
    medium = LinkMedium(open_link(link))
    trace = list(foretell(medium, Probe(seconds=4000.0, every_s=7.3, size_bytes=700)))
    assert record.decisions == tuple(one for one in trace if isinstance(one, Decision))
    assert record.outages == tuple(one for one in trace if isinstance(one, Outage))
    assert record.computed_again() == record.decisions
    assert path.read_text() == written(link=link, label=medium.label, speed=10.0, entries=trace)
    assert (path.stat().st_mode & 0o777) == 0o600


@pytest.mark.parametrize("link", ["5g?seed=1", "lora-eu868?loss_probability=0.2&seed=1"])
def test_what_was_recorded_is_replayed_bit_for_bit_when_it_is_offered_again(tmp_path: Path, link: str) -> None:
    _, record = record_of(link, tmp_path, Probe(seconds=1500.0, every_s=1.7, size_bytes=700))
    replay = Replay(record)
    assert [replay.decide(one.at_s, one.direction, one.waiting_bytes) for one in record.decisions] == list(
        record.decisions
    )
    assert tuple(replay.outages(0.0, replay.length_s)) == record.outages
    assert "record of" in replay.label


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(0.01, 90.0), st.sampled_from(Direction), st.integers(1, 5000)), max_size=30))
def test_other_offers_meet_what_was_there_at_their_time_and_no_outage_is_passed(
    pauses: list[tuple[float, Direction, int]],
) -> None:
    link = "5g?seed=1"
    trace = list(foretell(LinkMedium(open_link(link)), Probe(seconds=600.0)))
    decisions = tuple(one for one in trace if isinstance(one, Decision))
    outages = tuple(one for one in trace if isinstance(one, Outage))
    assert outages
    made, now_s = [], 0.0
    header = Header(schema=SCHEMA, link=link, label="x", speed=1.0)
    replay = Replay(Record(header=header, decisions=decisions, outages=outages))
    for pause_s, direction, waiting in pauses:
        now_s += pause_s
        made.append(replay.decide(now_s, direction, waiting))
    assert all(one.size_bytes == one.waiting_bytes for one in made)
    told = list(replay.outages(0.0, now_s + 1000))
    for one in made:
        assert not any(outage.begins_s < one.start_s < outage.ends_s for outage in told)
    for before, after in pairwise(made):
        assert after.start_s >= before.free_s
    assert all(one.arrives_s - one.start_s <= replay.length_s for one in made)


def test_a_record_begins_again_after_its_end(tmp_path: Path) -> None:
    _, record = record_of("5g?seed=1", tmp_path, Probe(seconds=600.0))
    replay = Replay(record)
    later = replay.decide(replay.length_s * 3 + 50.5, DOWN, 200)
    told = next(one for one in reversed(record.decisions) if one.at_s <= 50.5)
    assert later.start_s - later.at_s == pytest.approx(0.0, abs=1e-6)
    assert later.delay_s == pytest.approx(told.arrives_s - told.start_s)
    twice = list(replay.outages(0.0, 2 * replay.length_s))
    assert len(twice) == 2 * len(record.outages) > 0


def test_a_crowd_meets_the_rate_of_the_record(tmp_path: Path) -> None:
    _, record = record_of("lora-eu868", tmp_path, Probe(seconds=3600.0, size_bytes=222))
    replay, now_s, carried = Replay(record), 0.25, 0
    while now_s < 3600:
        made = replay.decide(now_s, UP, 1 << 20)
        carried += made.size_bytes
        now_s = math.nextafter(max(made.start_s, now_s), math.inf)
    assert carried <= sum(one.size_bytes for one in record.decisions) + 222  # it begins a little later


def damage(lines: list[str], number: int, change: Callable[[str], str]) -> str:
    return "".join(change(line) if place == number else line for place, line in enumerate(lines, start=1))


def _with(**values: object) -> Callable[[str], str]:
    return lambda line: json.dumps({**json.loads(line), **values}) + "\n"


@pytest.mark.parametrize(
    ("number", "change", "words"),
    [
        (3, lambda line: line[:-20] + "\n", "line 3: not valid JSON"),
        (3, lambda line: "[]\n", "line 3: expected an object"),
        (4, _with(tries=0), r"line 4\.tries: must be 1\.\."),
        (4, _with(tries="many"), r"line 4\.tries"),
        (4, _with(direction="sideways"), r"line 4\.direction"),
        (4, _with(at_s=0.0, start_s=0.0), "line 4: it goes back in time"),
        (4, _with(surprise=1), "line 4: unknown field 'surprise'"),
        (4, lambda line: '{"begins_s": 3.0, "ends_s": 2.0}\n', r"line 4\.ends_s"),
        (
            4,
            lambda line: '{"begins_s": 3.0, "ends_s": 4.0}\n{"begins_s": 3.5, "ends_s": 5.0}\n',
            "line 5: it goes back",
        ),
        (1, lambda line: "hello\n", "line 1: not valid JSON"),
        (1, lambda line: "[]\n", "line 1: expected tamiyo.relay/1"),
        (1, _with(schema="tamiyo.manifest/1"), "line 1: expected tamiyo.relay/1"),
        (1, lambda line: '{"schema": "tamiyo.relay/1"}\n', "line 1: missing field"),
        (6, lambda line: line[:-5], "line 6: it was cut off"),
    ],
)
def test_a_damaged_file_is_refused_with_the_number_of_its_line(
    tmp_path: Path, number: int, change: Callable[[str], str], words: str
) -> None:
    path, _ = record_of("ethernet", tmp_path, Probe(seconds=5.0))
    path.write_text(damage(path.read_text().splitlines(keepends=True), number, change))
    with pytest.raises(SchemaError, match=words):
        read_record(path)


def test_files_that_are_no_record_are_refused(tmp_path: Path) -> None:
    path, _ = record_of("ethernet", tmp_path, Probe(seconds=2.0))
    newer = damage(path.read_text().splitlines(keepends=True), 1, _with(schema="tamiyo.relay/2"))
    with pytest.raises(InputError, match="not found"):
        read_record(tmp_path / "none")
    (tmp_path / "newer").write_text(newer)
    with pytest.raises(SchemaVersionError, match="newer than"):
        read_record(tmp_path / "newer")
    (tmp_path / "empty").write_text(path.read_text().splitlines(keepends=True)[0])
    with pytest.raises(InputError, match="holds no decision"):
        read_record(tmp_path / "empty")


def test_a_recorder_spares_what_is_there_and_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        Recorder(tmp_path / "there", link="lte", label="x", speed=1.0, overwrite=False)
    with pytest.raises(InputError, match="cannot write"):
        Recorder(tmp_path / "no" / "folder", link="lte", label="x", speed=1.0, overwrite=False)
    recorder = Recorder(tmp_path / "new", link="lte", label="x", speed=1.0, overwrite=False)
    recorder.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's disk without room")
def test_a_full_disk_ends_the_record_and_not_the_network() -> None:
    recorder = Recorder(Path("/dev/full"), link="lte", label="x", speed=1.0, overwrite=True)
    assert recorder.problem is not None
    assert recorder.problem.errno == errno.ENOSPC
    recorder.tell(Outage(begins_s=0.0, ends_s=1.0))
    recorder.close()
