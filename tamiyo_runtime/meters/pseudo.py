"""Small files of a pseudo file system, read again and again.

A reader gets the folder that stands for ``/``, so that a copied or simulated tree serves as well as the machine's own.
"""

from __future__ import annotations

import os
from pathlib import Path

_LIMIT_BYTES = 4096


class PseudoFile:
    """One attribute, kept open: a read at offset 0 makes the kernel write it anew, in a few microseconds."""

    def __init__(self, path: Path) -> None:
        """Open for reading; raises OSError."""
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def text(self) -> str | None:
        """The contents without white space at the ends, or None when they cannot be read now."""
        try:
            return os.pread(self._handle, _LIMIT_BYTES, 0).decode("ascii", "replace").strip()
        except OSError:  # EIO of a sensor that did not answer, ENODEV of one that is gone
            return None

    def integer(self) -> int | None:
        """The contents as a whole number, or None."""
        return whole_number(self.text())

    def __del__(self) -> None:
        handle, self._handle = getattr(self, "_handle", -1), -1
        if handle >= 0:
            os.close(handle)


def whole_number(text: str | None) -> int | None:
    """A decimal or ``0x`` number, or None when the text is none."""
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        return None


def read_text(path: Path) -> str | None:
    """An attribute read once, or None when it is not there or not ours to read."""
    try:
        return path.read_text(encoding="ascii", errors="replace")[:_LIMIT_BYTES].strip()
    except OSError:
        return None


def read_integer(path: Path) -> int | None:
    """An attribute read once as a whole number, or None."""
    return whole_number(read_text(path))


def folders(parent: Path, pattern: str) -> list[Path]:
    """Matching folders by name, ``zone10`` after ``zone9``; none where the parent is missing."""
    try:
        found = [path for path in parent.glob(pattern) if path.is_dir()]
    except OSError:
        return []
    return sorted(found, key=lambda path: (len(path.name), path.name))
