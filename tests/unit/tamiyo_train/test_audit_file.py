"""The audit log as a file: a killed process leaves a chain that can be verified, and any change to it is named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import ExitCode, IntegrityError
from tamiyo_train.audit import verify
from tamiyo_train.audit_file import NAME, AuditFile, read_entries
from tamiyo_train.audit_store import lives, load_log
from tamiyo_train.lifecycle import Event, LifeCycle

ENDLESS = """
import sys
from pathlib import Path
from tamiyo_train.audit_file import AuditFile
log = AuditFile(Path(sys.argv[1]))
for step in range(10**6):
    log.append("decision", step=step, operation="WAIT")
    if step == 200:
        print("far enough", flush=True)
"""


def told(path: Path) -> None:
    """A short life: germinated, culled, and a rollback to before it."""
    with AuditFile(path) as log:
        life = LifeCycle(2, log.transition)
        log.append("decision", step=4, operation="GERMINATE", slot="2", blueprint="bottleneck", intensity="1.0")
        life.fire(Event.GERMINATE, step=4, reason="bottleneck")
        life.fire(Event.PROBE_PASSED, step=4, reason="sound")
        log.append("panic", step=7, panic="not_finite", what="loss nan")
        log.append("rollback", step=7, panic="not_finite", to=4, slots={"2": "dormant"})


def test_what_a_killed_process_wrote_can_be_verified_and_gone_on_with(tmp_path):
    path = tmp_path / NAME
    with subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
    entries = read_entries(path)
    assert len(entries) > 200
    verify(entries)
    with path.open("ab") as stream:
        stream.write(b'{"index": 9')  # a line that was not finished
    with AuditFile(path) as log:
        log.resume(entries)
        log.append("decision", step=1, operation="WAIT")
    verify(read_entries(path))
    assert len(read_entries(path)) == len(entries) + 1


def test_every_entry_is_in_the_file_before_append_returns(tmp_path):
    log = AuditFile(tmp_path / NAME, batch=1000)
    for step in range(3):
        log.append("decision", step=step, operation="WAIT")
        assert len(read_entries(tmp_path / NAME)) == step + 1
    log.close()


def test_a_run_that_is_repeated_must_tell_the_same_story(tmp_path):
    told(tmp_path / NAME)
    before = (tmp_path / NAME).read_bytes()
    told(tmp_path / NAME)
    assert (tmp_path / NAME).read_bytes() == before
    with AuditFile(tmp_path / NAME) as log, pytest.raises(IntegrityError, match="another run"):
        log.append("decision", step=5, operation="WAIT")


@pytest.mark.parametrize(
    ("damage", "entry"),
    [
        (lambda lines: [*lines[:1], lines[1].replace("bottleneck", "bottlenecx"), *lines[2:]], 1),
        (lambda lines: [lines[0], *lines[2:]], 1),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 1),
        (lambda lines: [*lines[:3], "{}", *lines[4:]], 3),
        (lambda lines: ["not json", *lines[1:]], 0),
    ],
)
def test_verify_names_the_first_bad_entry_and_exits_6(tmp_path, capsys, damage, entry):
    told(tmp_path / NAME)
    lines = (tmp_path / NAME).read_text().splitlines()
    (tmp_path / NAME).write_text("\n".join(damage(lines)) + "\n")
    assert main(["audit", "verify", str(tmp_path)]) == ExitCode.INTEGRITY
    assert f"entry {entry} " in capsys.readouterr().err


def test_verify_and_show_tell_of_a_run_that_did_not_finish(tmp_path, capsys):
    told(tmp_path / NAME)
    assert main(["audit", "verify", str(tmp_path), "--json"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["entries"], report["file"]) == (5, NAME)
    assert report["kinds"] == {"decision": 1, "panic": 1, "rollback": 1, "transition": 2}
    assert main(["audit", "show", str(tmp_path)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "slot 2" in out
    assert "probe_passed" in out
    assert "not_finite" in out


def test_a_rollback_ends_the_life_it_undoes(tmp_path):
    told(tmp_path / NAME)
    moments = lives(load_log(tmp_path).entries)["2"]
    assert [moment.after for moment in moments] == ["germinated", "training", "dormant"]


def test_a_folder_without_a_log_is_one_line_and_a_hint(tmp_path, capsys):
    assert main(["audit", "show", str(tmp_path)]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
