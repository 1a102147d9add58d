"""`tamiyo collect export` and `report`: what they write and show of a store, and what they say to a mistake."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path

import pytest

from collector.arrivals import Announcement, Delivery
from collector.store import Store
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.records import (
    Batch,
    Decision,
    Event,
    EventRecord,
    LossReason,
    Mode,
    Numbered,
    Reason,
    Record,
    Sample,
    Tombstone,
    Window,
)
from tamiyo_runtime.contracts.sketch import sketch_of
from tamiyo_runtime.contracts.skim import skimmed
from tamiyo_runtime.contracts.stamp import Stamp, TimeQuality

BOOT = 7 << 32 | 1
ZERO_MS = 1_777_593_600_000  # 2026-05-01, midnight UTC


def window(t_ms: int, latencies: list[int], *, sketched: bool = True) -> Window:
    return Window(
        t_ms=t_ms,
        duration_ms=1000,
        inferences=len(latencies),
        skipped=1,
        deadline_misses=2,
        latency_p50_us=0,
        latency_p95_us=0,
        latency_max_us=max(latencies),
        energy_uj=10,
        labelled=0,
        correct=0,
        bucket_permille=1000,
        throttle_permille=1000,
        counts={"c01": len(latencies)},
        latency_sketch=sketch_of(latencies) if sketched else None,
    )


def decision(t_ms: int, mode: Mode) -> Decision:
    return Decision(
        t_ms=t_ms,
        proposed="c11",
        granted="c01",
        reason=Reason.ENERGY,
        mode=mode,
        latency_left_permille=-5,
        bucket_permille=7,
    )


def sample(t_ms: int) -> Sample:
    return Sample(t_ms=t_ms, configuration="c01", answer=3, confidence_permille=900, latency_us=850, energy_uj=2)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One device whose clock is known and which lost records; another of which next to nothing is known."""
    records: list[Record] = [
        Tombstone(t_ms=0, boot=BOOT, first_seq=100, last_seq=102, reason=LossReason.EXPIRED),
        window(1000, [1000] * 98 + [5000] * 2),
        window(2000, [1000] * 100),
        window(3000, [7] * 5, sketched=False),
        decision(1500, Mode.DEGRADED),
        decision(2500, Mode.NORMAL),
        EventRecord(t_ms=2600, event=Event.MODE, detail="safe the policy crashed"),
        *(sample(1000 * second) for second in range(60)),
    ]
    stamp = Stamp(sent_ms=60_000, offset_ms=ZERO_MS, quality=TimeQuality.NTP)
    batch = Batch(BOOT, "0a0b0c0d", tuple(map(Numbered, range(len(records)), records)), 104, stamp)
    bare = Batch(BOOT, "", (Numbered(0, EventRecord(t_ms=0, event=Event.START)),))
    with Store(tmp_path / "c.db") as opened:
        received_s = (ZERO_MS + 60_500) / 1000
        opened.commit([Delivery("barn-1", skimmed(batch, device="barn-1"), received_s)])
        opened.commit([Announcement("barn-1", None, {"state": "online"}, received_s)])
        opened.commit([Delivery("barn-2", skimmed(bare, device="barn-2"), received_s)])
    return tmp_path / "c.db"


def exported(store: Path, name: str, *options: str) -> Path:
    out = store.with_name(name)
    assert main(["collect", "export", str(store), "--out", str(out), *options]) == 0
    return out


def test_samples_are_exported_with_the_time_they_were_made(store: Path) -> None:
    with exported(store, "s.csv", "--kind", "samples").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60
    assert rows[1] == {
        "device": "barn-1",
        "boot": "7.00000001",
        "seq": "8",
        "t_ms": "1000",
        "unix_ms": str(ZERO_MS + 1000),
        "time": "2026-05-01T00:00:01.000+00:00",
        "time_source": "ntp",
        "time_error_ms": "100",
        "received_ms": str(ZERO_MS + 60_500),
        "configuration": "c01",
        "answer": "3",
        "confidence_permille": "900",
        "latency_us": "850",
        "energy_uj": "2",
        "extra": "",
    }


def test_what_has_no_column_of_its_own_is_json_in_one(store: Path) -> None:
    with exported(store, "w.csv", "--kind", "windows").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["counts"]) for row in rows] == [{"c01": 100}, {"c01": 100}, {"c01": 5}]
    assert sum(count for _, count in json.loads(rows[0]["latency_sketch"])["buckets"]) == 100
    assert rows[2]["latency_sketch"] == ""


def test_json_lines_leave_out_what_is_not_known(store: Path) -> None:
    lines = exported(store, "e.jsonl", "--kind", "events", "--device", "barn-2").read_text().splitlines()
    (event,) = map(json.loads, lines)
    assert (event["device"], event["event"], event["time_source"]) == ("barn-2", "start", "arrival")
    assert event["unix_ms"] == event["received_ms"]
    assert "time_error_ms" not in event


def test_only_what_was_made_in_the_time_asked_for_is_exported(store: Path) -> None:
    options = ["--kind", "samples", "--since", "2026-05-01T00:00:10", "--until", str(ZERO_MS / 1000 + 20)]
    lines = exported(store, "s.jsonl", *options).read_text().splitlines()
    assert [json.loads(line)["t_ms"] for line in lines] == list(range(10_000, 20_000, 1000))
    later = exported(store, "n.jsonl", "--kind", "samples", "--since", "2026-05-02")
    assert later.read_text() == ""


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_holds_the_same_rows(store: Path) -> None:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(exported(store, "s.parquet", "--kind", "samples"))
    assert table.num_rows == 60
    assert table.column("unix_ms").to_pylist()[1] == ZERO_MS + 1000


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_its_library_names_the_extra(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "export", str(store), "--kind", "samples", "--out", str(store.with_name("s.parquet"))]) == 5
    assert "tamiyo-edge[parquet]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--kind", "sampels", "--out", "x.csv"], "did you mean samples"),
        (["--kind", "samples", "--out", "x.xls"], "names no format"),
        (["--kind", "samples", "--out", "x.csv", "--since", "yesterday"], "'yesterday' is no moment"),
        (["--kind", "samples", "--out", "x.csv", "--until", "nan"], "'nan' is no moment"),
        (["--kind", "samples", "--out", "x.csv", "--since", "2026-05-02", "--until", "2026-05-01"], "must be later"),
        (["--kind", "samples", "--out", "x.csv", "--device", "bran-1"], "did you mean barn-1"),
        (["--kind", "samples", "--out", "x.csv", "--device", "x"], "no device 'x' in"),
    ],
)
def test_mistakes_are_one_line_and_a_hint(
    store: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(store.parent)
    assert main(["collect", "export", str(store), *options]) == 2
    assert words in capsys.readouterr().err
    assert not list(store.parent.glob("x.*"))


def test_a_report_of_a_device_that_was_never_heard_of_is_a_mistake(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "report", str(store), "--device", "bran-1"]) == 2
    assert "did you mean barn-1" in capsys.readouterr().err


def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("buy milk, and other things that are no database" * 100)
    assert main(["collect", "report", str(other)]) == 6
    said = capsys.readouterr().err
    assert "no store" in said
    assert "name the file" in said
    assert other.read_text().startswith("buy milk")


def test_a_file_is_replaced_only_when_told_to(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = exported(store, "e.csv", "--kind", "events")
    assert main(["collect", "export", str(store), "--kind", "events", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    exported(store, "e.csv", "--kind", "events", "--overwrite")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "report", str(tmp_path / "c.db")]) == 2
    assert "there is no store" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_report_adds_up_what_each_device_did(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "report", str(store), "--json"]) == 0
    barn, other = json.loads(capsys.readouterr().out)["devices"]
    assert (barn["device"], barn["state"], barn["mode"]) == ("barn-1", "online", "safe")
    assert (barn["sent"], barn["stored"], barn["lost"], barn["missing"]) == (104, 67, {"expired": 3}, 34)
    assert (barn["windows"], barn["inferences"], barn["deadline_misses"]) == (3, 205, 6)
    assert barn["inferences_without_sketch"] == 5
    error = barn["latency_relative_error"]
    assert error <= 0.021
    assert barn["latency_us"]["p50"] == pytest.approx(1000, rel=error)
    assert barn["latency_us"]["p95"] == pytest.approx(1000, rel=error)
    assert barn["latency_us"]["p99"] == pytest.approx(1000, rel=error)  # 2 of 200 are slow: the last percent
    assert barn["clocks"] == {"7.00000001": {"source": "ntp", "offset_ms": ZERO_MS, "error_ms": 100}}
    assert (other["mode"], other["latency_us"]["p50"], other["state"]) == (None, None, None)
    assert other["clocks"] == {"7.00000001": {"source": "arrival"}}


def test_the_report_of_a_stretch_of_time_is_of_its_windows(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    until = str((ZERO_MS + 1800) / 1000)
    assert main(["collect", "report", str(store), "--device", "barn-1", "--until", until, "--json"]) == 0
    (barn,) = json.loads(capsys.readouterr().out)["devices"]
    assert (barn["windows"], barn["mode"]) == (1, "degraded")
    assert barn["latency_us"]["p99"] == pytest.approx(5000, rel=0.021)


def test_the_report_for_people_is_a_table(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "report", str(store)]) == 0
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("barn-1")).split()
    assert row[:8] == ["barn-1", "online", "safe", "104", "67", "3", "expired", "34"]
    assert row[-1] == "ntp"
    assert "5 inferences are in windows without a sketch" in out
