"""The file of ``tamiyo run --trace``: one row a sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamiyo_runtime.summary import Trace


def check_trace(path: Path | None, *, overwrite: bool) -> None:
    """Refuse a trace file that could not be written at the end; raises UsageError or InputError."""
    from tamiyo_runtime.contracts.errors import InputError, UsageError

    if path is None:
        return
    if path.suffix not in {".csv", ".npz"}:
        raise UsageError(f"a trace is a .csv or a .npz file, not {path.name}", hint="as in --trace run.csv")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already", hint="pass --overwrite to replace it")


def write_trace(trace: Trace, path: Path, *, overwrite: bool) -> None:
    """One row a sample: a CSV with a header, or an archive of arrays."""
    import io

    import numpy as np

    from tamiyo_runtime.files import write_atomic

    names = ("t_s", "latency_ms", "energy_uj", "option", "deadline_ms", "bucket", "slowdown", "correct")
    columns = {name: getattr(trace, name) for name in names}
    stream = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(stream, configurations=np.array(trace.configurations), **columns)
    else:
        ids = [trace.configurations[option] if option >= 0 else "skipped" for option in trace.option]
        rows = zip(*({**columns, "option": ids}).values(), strict=True)
        lines = [",".join(names), *(",".join(f"{v:.9g}" if not isinstance(v, str) else v for v in row) for row in rows)]
        stream.write(("\n".join(lines) + "\n").encode())
    write_atomic(path, stream.getvalue(), overwrite=overwrite)
