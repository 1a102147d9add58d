"""The export toolchain, imported late and kept quiet.

The converters write progress and warnings to both standard streams, some of it from C++; a library that never prints
has to catch that at the level of file descriptors as well. A tool that fails says why in its exception.
"""

from __future__ import annotations

import functools
import gc
import importlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from tamiyo_runtime.contracts.errors import IncompatibleError, MissingExtraError

EXTRA = "export"
_TAIL = 200


def tool(module: str) -> Any:
    """Import a module of the toolchain; raises MissingExtraError naming the extra. Any: these ship no types."""
    os.environ.setdefault("LITERT_TORCH_SHOW_PROGRESS", "n")
    try:
        with quiet():
            return importlib.import_module(module)
    except ImportError as exc:
        raise MissingExtraError(module.partition(".")[0], EXTRA) from exc


@contextmanager
def quiet() -> Iterator[None]:
    """Divert both standard streams of the process, Python's and C++'s, while a tool runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with tempfile.TemporaryFile() as sink, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                yield
        finally:
            for number, handle in enumerate(kept, start=1):
                os.dup2(handle, number)
                os.close(handle)


@contextmanager
def converting(what: str, tool_name: str) -> Iterator[None]:
    """Run a converter quietly; whatever it raises becomes an IncompatibleError that names ``what`` was converted."""
    try:
        with quiet(), _quick():
            yield
    except MissingExtraError:
        raise
    except Exception as exc:  # converters raise anything from RuntimeError to bare Exception
        first = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise IncompatibleError(
            f"{what}: {tool_name} does not take it: {first[:_TAIL]}",
            hint="write the part with convolutions, linear layers, element-wise operators, means and reshapes",
        ) from exc


@contextmanager
def _quick() -> Iterator[None]:
    """Two thirds of the time of converting a small part is torch listing its own operators and the garbage collector.

    torch.export lists the composite operators of every namespace five times a conversion; the list cannot change on the
    way, so it is made once. That function is private to torch: where it is gone, the conversion is slower, not wrong.
    """
    from torch._export import utils

    name = "_collect_all_valid_cia_ops_for_namespace"
    listing = getattr(utils, name, None)
    collecting = gc.isenabled()
    gc.disable()
    if listing is not None:
        setattr(utils, name, functools.cache(listing))
    try:
        yield
    finally:
        if listing is not None:
            setattr(utils, name, listing)
        if collecting:
            gc.enable()
