"""The supervisor: starts again what crashes, waits longer each time, gives up in the end; passes on what it must."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.audit import AuditLog, read_log
from tamiyo_runtime.cli import supervise
from tamiyo_runtime.supervisor import Crash, Rules, Supervisor, after, how_it_ended

QUICK = Rules(first_wait_s=0.01, most_wait_s=0.04, healthy_s=60.0, give_up=5)


@given(st.lists(st.tuples(st.integers(-64, 255), st.floats(0, 1e6))))
def test_waits_grow_to_a_bound_and_crashes_in_a_row_end(ends: list[tuple[int, float]]) -> None:
    rules, crashes, last_s = Rules(), 0, 0.0
    for code, ran_s in ends:
        follows = after(code, ran_s, crashes, rules)
        if code in {0, 2, 3, 4, 5, 6, 130}:
            assert (follows.crashes, follows.wait_s) == (0, None)
            return
        assert follows.crashes == (1 if ran_s >= rules.healthy_s else crashes + 1)
        assert (follows.wait_s is None) == (follows.crashes >= rules.give_up)
        if follows.wait_s is None:
            return
        assert rules.first_wait_s <= follows.wait_s <= rules.most_wait_s
        assert follows.crashes == 1 or follows.wait_s >= last_s
        crashes, last_s = follows.crashes, follows.wait_s


def test_a_crash_loop_ends_and_takes_minutes_to() -> None:
    crashes, waited_s = 0, 0.0
    while (follows := after(-11, 0.1, crashes, Rules())).wait_s is not None:
        crashes, waited_s = follows.crashes, waited_s + follows.wait_s
    assert follows.crashes == 10
    assert waited_s == 1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60


def supervisor(code: str, crashes: list[Crash], rules: Rules = QUICK, **environment: str) -> Supervisor:
    clean = {name: value for name, value in os.environ.items() if name not in {"NOTIFY_SOCKET", "WATCHDOG_USEC"}}
    return Supervisor(
        [sys.executable, "-c", code],
        on_crash=crashes.append,
        rules=rules,
        environment={**clean, **environment},
    )


def test_a_child_that_segfaults_is_started_again_until_it_is_given_up() -> None:
    crashes: list[Crash] = []
    assert supervisor("import os; os.kill(os.getpid(), 11)", crashes).run() == 1
    assert [crash.how for crash in crashes] == ["signal SIGSEGV"] * 5
    assert [crash.wait_s for crash in crashes] == [0.01, 0.02, 0.04, 0.04, None]


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 6])
def test_what_trying_again_does_not_mend_is_final(code: int) -> None:
    crashes: list[Crash] = []
    assert supervisor(f"raise SystemExit({code})", crashes).run() == code
    assert crashes == []


def test_a_child_that_mends_itself_ends_as_it_should(tmp_path: Path) -> None:
    crashes: list[Crash] = []
    code = f"p = __import__('pathlib').Path({str(tmp_path / 'n')!r}); n = p.exists(); p.touch(); n or 1 / 0"
    assert supervisor(code, crashes).run() == 0
    assert [crash.how for crash in crashes] == ["exit code 1"]


def test_a_signal_to_stop_that_came_before_there_was_a_child_is_handed_on_to_it() -> None:
    early = supervisor("import time; time.sleep(1000)", [])
    early._stop_s = started_s = time.monotonic()
    assert early.run() == 0
    assert time.monotonic() - started_s < 40  # and not killed for not stopping


FEEDS = """
import os, socket, time, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(*lines): s.sendto("\\n".join(lines).encode(), os.environ["NOTIFY_SOCKET"])
say("READY=1", "WATCHDOG=1", "STATUS=fine " + os.environ["WATCHDOG_USEC"])
"""


def test_a_child_that_stops_feeding_the_watchdog_is_killed_and_started_again() -> None:
    crashes: list[Crash] = []
    rules = Rules(first_wait_s=0.01, give_up=2, watchdog_s=0.5)
    assert supervisor(FEEDS + "time.sleep(1000)", crashes, rules).run() == 1
    assert [crash.how for crash in crashes] == ["signal SIGKILL, after it hung"] * 2


def test_the_manager_hears_ready_once_and_signs_of_life_while_it_waits(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        crashes: list[Crash] = []
        rules = Rules(first_wait_s=0.3, most_wait_s=0.3, give_up=3)
        given = {"NOTIFY_SOCKET": str(tmp_path / "manager"), "WATCHDOG_USEC": "20000000"}
        # A moment for the supervisor to hear it before it dies.
        assert supervisor(FEEDS + "time.sleep(0.6); os.abort()", crashes, rules, **given).run() == 1
        manager.setblocking(False)
        said: list[str] = []
        try:
            while True:
                said += manager.recv(4096).decode().splitlines()
        except BlockingIOError:
            pass
    assert said.count("READY=1") == 1
    assert said.count("STATUS=fine 20000000") == 3
    assert any("signal SIGABRT; starts again in 0.3 s" in line for line in said)
    between = said[said.index("STATUS=signal SIGABRT; starts again in 0.3 s") :]
    assert "WATCHDOG=1" in between


SUPERVISES = """
import sys
from tamiyo_runtime.supervisor import Rules, Supervisor
child = '''
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print('told', flush=True) or exit(0))
signal.signal(signal.SIGUSR1, lambda *_: print('woken', flush=True))
print('up', flush=True)
while True: time.sleep(.05)
'''
sys.exit(Supervisor([sys.executable, "-c", child], on_crash=print, rules=Rules(first_wait_s=.01)).run())
"""


def test_signals_reach_the_child_and_a_stop_ends_both() -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGUSR1)
        assert process.stdout.readline() == "woken\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "told\n"
        assert process.wait(timeout=30) == 0


def test_a_child_does_not_outlive_a_supervisor_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SUPERVISES], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        assert process.stdout.readline() == "told\n"  # its parent's death is a SIGTERM to it


def test_a_stop_while_it_waits_to_start_again_is_a_stop() -> None:
    code = (
        "import sys; from tamiyo_runtime.supervisor import Rules, Supervisor\n"
        "tell = lambda crash: print('crashed', flush=True)\n"
        "child = [sys.executable, '-c', 'import os; os.abort()']\n"
        "sys.exit(Supervisor(child, on_crash=tell, rules=Rules(first_wait_s=600., most_wait_s=600.)).run())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "crashed\n"
        time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_ends_have_names() -> None:
    assert [how_it_ended(code) for code in (1, -11, -63)] == ["exit code 1", "signal SIGSEGV", "signal 63"]


def test_crashes_and_giving_up_are_audited_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = AuditLog(tmp_path)
    supervise._told(log, Crash(how="signal SIGSEGV", ran_s=2.0, crashes=1, wait_s=1.0))
    supervise._told(log, Crash(how="exit code 1", ran_s=0.5, crashes=10, wait_s=None))
    assert [(record.kind, dict(record.data)) for record in read_log(tmp_path)] == [
        ("crash", {"how": "signal SIGSEGV", "ran_s": 2.0, "in_a_row": 1}),
        ("given_up", {"how": "exit code 1", "ran_s": 0.5, "in_a_row": 10}),
    ]
    err = capsys.readouterr().err
    assert "crashed by signal SIGSEGV after 2.0 s; starts again in 1 s" in err
    assert "given up: 10 crashes in a row, the last by exit code 1" in err


def test_the_supervisor_imports_neither_numpy_nor_an_engine_nor_cryptography() -> None:
    code = (
        "import sys; import tamiyo_runtime.cli.main, tamiyo_runtime.cli.supervise, tamiyo_runtime.cli.update_cmd,"
        " tamiyo_runtime.update.store, tamiyo_runtime.update.disk\n"
        "heavy = {'numpy', 'ai_edge_litert', 'onnxruntime', 'cryptography', 'paho', 'tamiyo_runtime.bundle'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
