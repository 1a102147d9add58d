"""``tamiyo run --supervise``: the same command as a child, started again when it crashes, and every crash written down.

Nothing is imported here that a bundle or an interpreter needs: what stays resident is small. Of a state folder of
`tamiyo update`, it is the child that counts its start, before it loads anything, and that goes back after too many.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tamiyo_runtime.audit import AuditLog, Happened
from tamiyo_runtime.cli.render import note
from tamiyo_runtime.contracts.errors import InputError, UsageError
from tamiyo_runtime.files import default_state_dir
from tamiyo_runtime.supervisor import Crash, Supervisor

OPTION = "--supervise"
_MISSION = "--mission-hours"


def supervised(arguments: Sequence[str]) -> int:
    """Run ``tamiyo run`` with these arguments, the option left out, until it ends for good; returns its exit code.

    Raises UsageError for a mission, which would begin anew with every start: the child knows of none before it.
    """
    words = [word for word in arguments if word != OPTION]
    if any(word.partition("=")[0] == _MISSION for word in words):
        raise UsageError(
            f"{_MISSION} is not for a run that is started again: every start would count the hours from itself",
            hint=f"leave out {OPTION}, or give the mean power by --power-mw: `tamiyo run ... --dry-run` works it out",
        )
    log = AuditLog(_state_dir(words))
    command = [sys.executable, "-m", "tamiyo_runtime.cli.main", "run", *words]
    return Supervisor(command, on_crash=lambda crash: _told(log, crash)).run()


def _told(log: AuditLog, crash: Crash) -> None:
    kind = Happened.GIVEN_UP if crash.wait_s is None else Happened.CRASH
    _append(log, kind, how=crash.how, ran_s=round(crash.ran_s, 3), in_a_row=crash.crashes)
    if crash.wait_s is None:
        note(f"given up: {crash.crashes} crashes in a row, the last by {crash.how}")
    else:
        note(f"crashed by {crash.how} after {crash.ran_s:.1f} s; starts again in {crash.wait_s:g} s")


def _append(log: AuditLog, kind: Happened, **data: str | int | float | None) -> None:
    try:
        log.append(kind, **data)
    except InputError as exc:
        note(f"warning: {exc.message}")


def _is_update_folder(word: str) -> bool:
    return not word.startswith("-") and (Path(word) / "record").is_file()


def _state_dir(words: Sequence[str]) -> Path:
    """Where the run keeps its audit log: that of its crashes is the same."""
    for word in words:
        if _is_update_folder(word):
            return Path(word)
    for index, word in enumerate(words):
        if word == "--state-dir" and index + 1 < len(words):
            return Path(words[index + 1])
        if word.startswith("--state-dir="):
            return Path(word.partition("=")[2])
    return default_state_dir()
