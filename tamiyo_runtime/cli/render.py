"""What the commands print: text and tables on stdout, progress and errors on stderr, JSON when asked for.

Plain text, no colours: the output reads the same in a terminal, a log and a pull request. Only the command line
prints; the library hands it data.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.contracts.units import duration
from tamiyo_runtime.files import folder_in_memory

_REDRAW_S = 0.1
WIDTH = 100  # columns that text is wrapped to; commands to copy are not wrapped


def say(text: str = "") -> None:
    """One line, or several, on stdout."""
    print(text, flush=True)


def labelled(label: str, text: str) -> str:
    """``text`` behind its label, wrapped, with the label's width kept free below it."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_on_hyphens=False,
        break_long_words=False,  # a path stays whole
    )


def note(text: str) -> None:
    """One line on stderr: what a reader of piped output must not get."""
    print(text, file=sys.stderr, flush=True)


def emit_json(obj: Any) -> None:
    """A result for programs, on stdout."""
    print(json.dumps(obj, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False), flush=True)


def show_error(error: TamiyoError) -> None:
    """``error: message`` and, below it, ``hint: what to do``."""
    note(f"error: {error.message}")
    if error.hint:
        note(f"hint: {error.hint}")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """An aligned table on stdout; columns that hold only figures are aligned to the right. None prints as ``-``."""
    say(format_table(headers, rows))


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """``table`` as text."""
    cells = [["-" if value is None else str(value) for value in row] for row in rows]
    columns = list(zip(headers, *cells, strict=True))
    widths = [max(len(cell) for cell in column) for column in columns]
    right = [all(_figure(cell) for cell in column[1:]) and len(column) > 1 for column in columns]

    def line(row: Sequence[str]) -> str:
        aligned = (
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        return "  ".join(aligned).rstrip()

    return "\n".join([line(headers), line(["-" * width for width in widths]), *map(line, cells)])


def _figure(cell: str) -> bool:
    return cell == "-" or cell[:1].isdigit() or (cell[:1] in "+-<>~." and cell[1:2].isdigit())


class Progress:
    """A count on its way to ``total``; get one from ``progress``. ``done`` before it began does not count as speed."""

    def __init__(self, label: str, total: int | None, stream: TextIO, *, done: int = 0) -> None:
        self.label = label
        self.total = total
        self.done = done
        self._before = done
        self.remark = ""
        self._stream = stream
        self._live = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._started_s = time.monotonic()
        self._drawn_s = 0.0

    def advance(self, count: int = 1, remark: str | None = None) -> None:
        """``count`` more are done; ``remark`` is shown behind the figures."""
        self.done += count
        self.show(remark)

    def show(self, remark: str | None = None, *, done: int | None = None) -> None:
        """Redraw, at most ten times a second, and on terminals only; ``done``: so many are done by now."""
        if done is not None:
            self.done = done
        if remark is not None:
            self.remark = remark
        now_s = time.monotonic()
        if self._live and now_s - self._drawn_s >= _REDRAW_S:
            self._drawn_s = now_s
            self._stream.write(f"\r\x1b[2K{self._line(now_s)}"[: _width() + 5])
            self._stream.flush()

    def tell(self, text: str) -> None:
        """A line that stays, above the live one."""
        self._stream.write(("\r\x1b[2K" if self._live else "") + f"{text}\n")
        self._stream.flush()
        self._drawn_s = 0.0

    def finish(self, outcome: str) -> None:
        """The one line that stays."""
        elapsed_s = time.monotonic() - self._started_s
        count = f"  {self.done}" + (f"/{self.total}" if self.total is not None else "") if self.done else ""
        remark = f"  {self.remark}" if self.remark else ""
        self._stream.write(("\r\x1b[2K" if self._live else "") + f"{self.label}{count}{remark}  {outcome}")
        self._stream.write(f"  {elapsed_s:.1f} s\n")
        self._stream.flush()

    def _line(self, now_s: float) -> str:
        elapsed_s = max(now_s - self._started_s, 1e-9)
        rate = (self.done - self._before) / elapsed_s
        text = f"{self.label}  {self.done}"
        if self.total:
            text += f"/{self.total} ({100 * self.done // self.total} %)"
        text += f"  {rate:.3g}/s"
        if self.total and rate:
            text += f"  {duration(round(max(self.total - self.done, 0) / rate))} left"
        return text + (f"  {self.remark}" if self.remark else "")


@contextmanager
def progress(label: str, total: int | None = None, *, done: int = 0) -> Iterator[Progress]:
    """Show progress on stderr: a live line with rate and time left on a terminal, else one line a phase."""
    bar = Progress(label, total, sys.stderr, done=done)
    outcome = "failed"
    try:
        yield bar
        outcome = "ok"
    except KeyboardInterrupt:
        outcome = "stopped"
        raise
    finally:
        bar.finish(outcome)


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what native libraries write to stderr on loading from the screen, unless loading fails.

    LiteRT announces its delegate on file descriptor 2, where no Python setting reaches.
    """
    try:
        real = os.dup(2)
    except OSError:  # closed: there is nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile(dir=folder_in_memory()) as aside:
        sys.stderr.flush()
        os.dup2(aside.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(real, 2)
            aside.seek(0)
            os.write(2, aside.read())
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 100
