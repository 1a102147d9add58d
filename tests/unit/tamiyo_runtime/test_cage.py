"""The cage: a process of its own that may die in every way there is, and is given little."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tamiyo_runtime import cage
from tamiyo_runtime.cage import End, Limits

SHORT = Limits(cpu_s=1, wall_s=20.0)
CONFINED = (
    "from tamiyo_runtime.cage import *; import sys, json; r = json.load(sys.stdin)\n"
    "left = confine(Limits(**r['limits']))\n"
)
Caged = Callable[..., End]


@pytest.fixture
def caged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caged:
    """Runs a few lines of Python in a cage."""
    ours = cage._environment()
    monkeypatch.setattr(cage, "_environment", lambda: {**ours, "PYTHONPATH": f"{tmp_path}:{ours['PYTHONPATH']}"})

    def run(code: str, limits: Limits = SHORT, **request: object) -> End:
        (tmp_path / "prisoner.py").write_text(CONFINED + code)
        return cage.run("prisoner", request, limits)

    return run


@pytest.mark.parametrize(
    ("code", "death"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended with signal SIGSEGV"),
        ("import os; os.abort()", "ended with signal SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "was killed (SIGKILL)"),
        ("while True: pass", "used more than 1 s of processor time"),
        ("sys.exit(3)", "ended with exit code 3"),
        ("bytearray(1 << 30)", "ended with exit code 1"),
        ("while True: print('x' * 100000)", "wrote more than 1048576 bytes"),
        ("print('fine')", None),
    ],
)
def test_every_way_to_die_has_its_words(caged: Caged, code: str, death: str | None) -> None:
    end = caged(code)
    said = end.death(SHORT)
    assert (said is None) if death is None else (said is not None and said.startswith(death))
    assert len(end.lines) <= 20


def test_what_sleeps_for_ever_is_killed_with_everything_it_started(caged: Caged) -> None:
    limits = Limits(wall_s=1.5)
    end = caged(
        "import os, time\n"
        "try: pid = os.fork()\n"  # a root may
        "except OSError: pid = os.getpid()\n"
        "print(pid, flush=True) if pid else None\n"
        "time.sleep(1000)",
        limits,
    )
    assert end.death(limits) == "did not end within 1.5 s"
    (child,) = end.lines
    until = time.monotonic() + 20
    while not _gone(child):
        assert time.monotonic() < until, f"process {child} goes on"
        time.sleep(0.01)


def _gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_what_closes_its_output_and_goes_on_is_killed_too(caged: Caged) -> None:
    limits = Limits(wall_s=1.5)
    end = caged("import os, time; os.close(1); os.close(2); time.sleep(1000)", limits)
    assert end.timed_out


def test_memory_files_and_descriptors_are_limited_and_no_secret_is_in_the_environment(
    caged: Caged,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAMIYO_PASSWORD", "hunter2")
    end = caged(
        "import os\nfound = {'left': left, 'secret': 'TAMIYO_PASSWORD' in os.environ, 'asked': r['asked']}\n"
        "try: bytearray(200 << 20)\nexcept MemoryError: found['memory'] = 'refused'\n"
        f"try:\n  with open('{tmp_path}/out', 'wb', buffering=0) as f: f.write(b'x')\n"
        "except OSError as e: found['file'] = e.errno\n"
        "try: [os.dup(2) for _ in range(100)]\nexcept OSError as e: found['files'] = e.errno\n"
        "os.close(2); sys.stdout.write(json.dumps(found))",
        Limits(memory_bytes=100 << 20),
        asked="yes",
    )
    found = json.loads(end.lines[-1])
    assert found["memory"] == "refused"
    assert (found["file"], found["files"]) == (27, 24)  # EFBIG, EMFILE
    assert (found["secret"], found["asked"]) == (False, "yes")
    assert set(found["left"]) <= {"network"}  # the rest can be given up everywhere


def test_where_the_kernel_lets_it_go_the_network_is_gone(caged: Caged) -> None:
    end = caged(
        "import socket\nnames = [name for _, name in socket.if_nameindex()]\nprint(json.dumps([left, names]))",
    )
    left, names = json.loads(end.lines[-1])
    assert "network" in left or names == ["lo"]


def test_a_line_for_people_holds_nothing_that_a_terminal_obeys() -> None:
    assert cage.printable("a\x1b[2Jb\n\u202ec" + "d" * 500) == ("a?[2Jb ?c" + "d" * 500)[:300]
