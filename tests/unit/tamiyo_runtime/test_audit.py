"""The audit log of a device: a chain that any change, gap or missing record breaks, and that no kill does."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime import audit
from tamiyo_runtime.audit import AuditLog, Auditor, Happened, check_checkpoint, read_log
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import InputError, IntegrityError

ENDLESS = """
import sys
from pathlib import Path
from tamiyo_runtime.audit import AuditLog, Happened
log = AuditLog(Path(sys.argv[1]))
for turn in range(10**6):
    log.append(Happened.MODE, mode="safe", turn=turn)
    if turn == 20:
        print("far enough", flush=True)
"""


def log_of(folder: Path) -> AuditLog:
    return AuditLog(folder, now_ms=lambda: 1_700_000_000_000)


def told(folder: Path, count: int) -> AuditLog:
    log = log_of(folder)
    for turn in range(count):
        log.append(Happened.ORDER, counter=turn)
    return log


def only_file(folder: Path) -> Path:
    (path,) = (folder / "audit").glob("*.jsonl")
    return path


def test_records_come_back_in_order_with_private_files(tmp_path: Path) -> None:
    os.umask(before := os.umask(0))
    try:
        log = told(tmp_path / "state", 3)
    finally:
        os.umask(before)
    records = read_log(tmp_path / "state")
    assert [(record.index, record.kind, record.data["counter"]) for record in records] == [
        (turn, "order", turn) for turn in range(3)
    ]
    assert log.checkpoint() == records[-1].checkpoint == f"2:{records[-1].sha256[:16]}"
    assert read_log(tmp_path / "state" / "audit") == records
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
    assert modes == {"audit": 0o700, ".lock": 0o600, "000000000000.jsonl": 0o600}


def test_nothing_is_made_before_the_first_record(tmp_path: Path) -> None:
    log = log_of(tmp_path / "state")
    assert log.checkpoint() is None
    assert not (tmp_path / "state").exists()
    with pytest.raises(InputError, match="no audit log in"):
        read_log(tmp_path / "state")


@given(st.data())
def test_any_changed_byte_is_found_and_the_first_bad_record_is_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    told(folder, 5)
    path = only_file(folder)
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 2))  # the last line end may be missing: that is a torn line
    raw[place] = (raw[place] + data.draw(st.integers(1, 255))) % 256
    path.write_bytes(raw)
    record = bytes(raw[:place]).count(b"\n")
    with pytest.raises(IntegrityError, match=rf"audit log: record ({record}|{record + 1}) ") as caught:
        read_log(folder)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("gone", [0, 2])
def test_a_record_that_is_taken_out_is_missed(tmp_path: Path, gone: int) -> None:
    told(tmp_path, 5)
    path = only_file(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    with pytest.raises(IntegrityError, match=f"record {gone} does not follow"):
        read_log(tmp_path)


def test_records_cut_off_at_the_end_show_to_whoever_kept_a_checkpoint(tmp_path: Path) -> None:
    kept = told(tmp_path, 5).checkpoint()
    assert kept is not None
    check_checkpoint(read_log(tmp_path), kept)
    log_of(tmp_path).append(Happened.STOP)
    check_checkpoint(read_log(tmp_path), kept)  # what came later does not matter
    path = only_file(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(IntegrityError, match="it ends with record 2, and once had record 4"):
        check_checkpoint(read_log(tmp_path), kept)
    for _ in range(3):
        log_of(tmp_path).append(Happened.ORDER, counter=99)
    with pytest.raises(IntegrityError, match="record 4 is not the one that was reported"):
        check_checkpoint(read_log(tmp_path), kept)
    with pytest.raises(InputError, match="is no checkpoint"):
        check_checkpoint(read_log(tmp_path), "4")


def test_a_line_that_was_not_finished_is_cut_off_and_told(tmp_path: Path) -> None:
    log = told(tmp_path, 3)
    path = only_file(tmp_path)
    with path.open("ab") as stream:
        stream.write(b'{"index": 3, "ti')
    assert len(read_log(tmp_path)) == 3
    log.append(Happened.STOP)
    assert [(r.kind, dict(r.data)) for r in read_log(tmp_path)[3:]] == [("cut", {"bytes": 16}), ("stop", {})]


def test_what_a_killed_process_wrote_is_whole_and_gone_on_with(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    count = len(read_log(tmp_path))
    assert count > 20
    log_of(tmp_path).append(Happened.START)
    assert read_log(tmp_path)[-1].kind == "start"


def test_the_log_keeps_its_bounds_and_its_chain_when_it_rotates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "FILE_BYTES", 1000)
    log = log_of(tmp_path)
    for turn in range(60):
        log.append(Happened.ORDER, counter=turn)
        records = read_log(tmp_path)
        assert records[-1].index == turn
        assert [r.index for r in records] == list(range(records[0].index, turn + 1))
    files = sorted((tmp_path / "audit").glob("*.jsonl"))
    assert len(files) == audit.KEPT_FILES
    assert all(path.stat().st_size <= 1000 for path in files)
    assert records[0].index > 0
    files[1].unlink()
    with pytest.raises(IntegrityError, match=r"is missing|does not follow"):
        read_log(tmp_path)
    files[0].unlink()
    with pytest.raises(IntegrityError, match="is missing, and the rotation does not take it away so soon"):
        read_log(tmp_path)


def test_a_file_that_was_made_and_not_begun_does_not_matter(tmp_path: Path) -> None:
    told(tmp_path, 3)
    (tmp_path / "audit" / f"{3:012}.jsonl").write_bytes(b'{"half')
    assert len(read_log(tmp_path)) == 3
    log_of(tmp_path).append(Happened.STOP)
    assert [record.index for record in read_log(tmp_path)] == [0, 1, 2, 3]


def _append(folder: Path, count: int) -> None:
    log = AuditLog(folder)
    for turn in range(count):
        log.append(Happened.UPDATE, turn=turn, by=os.getpid())


def test_several_processes_write_one_chain(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_append, args=(tmp_path, 20)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    records = read_log(tmp_path)
    assert len(records) == 60
    for writer in writers:
        assert [r.data["turn"] for r in records if r.data["by"] == writer.pid] == list(range(20))


def test_values_are_short_and_printable(tmp_path: Path) -> None:
    record = log_of(tmp_path).append(Happened.REFUSED, why="a\x1b[2J\nb" + "c" * 1000, by=None)
    assert record.data == {"why": ("a?[2J b" + "c" * 1000)[:200]}
    assert read_log(tmp_path) == (record,)


def test_an_auditor_never_fails_and_counts_what_it_could_not_write(tmp_path: Path) -> None:
    folder, troubles = tmp_path / "state", []
    folder.write_text("a file is in the way")
    auditor = Auditor(log_of(folder), on_trouble=troubles.append)
    auditor.tell(Happened.START)
    auditor.tell(Happened.MODE, mode="safe")
    until = time.monotonic() + 30
    while auditor._missed < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    folder.unlink()
    auditor.tell(Happened.STOP)
    auditor.close()
    auditor.tell(Happened.STOP)  # too late, and no matter
    assert [(r.kind, dict(r.data)) for r in read_log(folder)] == [("missed", {"records": 2}), ("stop", {})]
    assert len(troubles) == 1


def test_the_command_verifies_shows_and_names_the_first_bad_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = told(tmp_path, 4).checkpoint()
    assert main(["audit", "verify", str(tmp_path), "--checkpoint", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert "4 records follow one from the other (4 order)" in out
    assert "record 3 is the one that was reported" in out
    assert main(["audit", "show", str(tmp_path)]) == 0
    assert "counter 2" in capsys.readouterr().out
    assert main(["audit", "show", str(tmp_path), "--json"]) == 0
    assert [item["data"] for item in json.loads(capsys.readouterr().out)] == [{"counter": n} for n in range(4)]
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"counter":2', b'"counter":7'))
    assert main(["audit", "verify", str(tmp_path)]) == 6
    assert "record 2 does not follow from the one before" in capsys.readouterr().err
