"""A spool whose pages are lost while a device runs: the run ends with a clear error, and the next one works."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tamiyo_runtime.cli import delivering
from tamiyo_runtime.session import Session


def test_a_spool_that_fails_in_the_run_makes_way_for_a_new_one(
    tamiyo: Any, own_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "FLUSH_S", 0.1)  # nobody collects here: what is not delivered by then will not be
    command = ("run", own_bundle, "--broker", "memory://damaged", "--state-dir", tmp_path / "state", "--samples", 5)

    def fails(_: Session) -> NoReturn:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with monkeypatch.context() as broken:
        broken.setattr(Session, "run", fails)
        outcome = tamiyo(*command)
    assert outcome.code == 1
    assert "the spool was damaged (database disk image is malformed)" in outcome.err
    assert "internal error" not in outcome.err
    assert (tmp_path / "state" / "device-1.spool.damaged").is_file()
    assert tamiyo(*command).code == 0
