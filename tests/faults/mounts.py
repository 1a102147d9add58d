"""File systems of our own: small ones that fill up, and one whose power can be cut. Both need root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def mounted(folder: Path, *arguments: object) -> Iterator[Path]:
    """``mount ARGUMENTS FOLDER``; skips the test, saying why, where that is not allowed."""
    folder.mkdir(exist_ok=True)
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    try:
        _run("mount", *arguments, folder)
    except subprocess.CalledProcessError as exc:
        pytest.skip(f"mounting is not possible here: {exc.stderr.strip()}")
    try:
        yield folder
    finally:
        _run("umount", folder)  # not lazily: its last writes must not hit a file that is another's by then


@contextlib.contextmanager
def small_disk(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A file system in memory of that size."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs"):
        yield folder


def make_image(path: Path, size_mib: int) -> None:
    """An empty ext4 in a file."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed; type: sudo apt-get install e2fsprogs")
    with path.open("wb") as file:
        file.truncate(size_mib << 20)
    _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", path)


@contextlib.contextmanager
def image(path: Path, folder: Path) -> Iterator[Path]:
    """Mounted so that the journal is written for a sync and for nothing else (``commit=300``)."""
    with mounted(folder, "-o", "loop,commit=300", path):
        yield folder


def copy_as_cut(path: Path, copy: Path) -> None:
    """The image as it would be found after a power cut at this moment: what was not synced is not in it."""
    _run("cp", "--sparse=always", path, copy)
