"""The bundle's own vectors, replayed by the runtime without torch; only a bundle that passes is put in place."""

from __future__ import annotations

import tempfile
from pathlib import Path

from exporters.selftest import run_isolated
from exporters.steps.outcome import Outcome, ok
from tamiyo_runtime.contracts.units import plural
from tamiyo_runtime.files import write_atomic
from tamiyo_runtime.signing import SigningKey


def run(data: bytes, out: Path, *, key: SigningKey, overwrite: bool) -> tuple[int, Outcome]:
    """Test the bundle and write it to ``out``; returns its size in bytes.

    Raises IntegrityError when the self-test fails: ``out`` is then as it was.
    """
    with tempfile.TemporaryDirectory(prefix="tamiyo-export-") as folder:
        trial = Path(folder) / out.name
        trial.write_bytes(data)
        checks = run_isolated(trial, key.public)
    write_atomic(out, data, overwrite=overwrite)
    return len(data), ok(
        f"{plural(sum(check.vectors for check in checks), 'vector')} replayed without torch",
        *(f"{check.name}: {plural(check.vectors, 'vector')}, max|d| {check.worst:.1e}" for check in checks),
    )
