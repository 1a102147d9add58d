"""The same request and key give the same bundle, page included, to the last byte: in any folder, process and place."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from exporters.html.bundle_page import render
from exporters.pipeline import export
from exporters.request import ExportRequest
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.signing import Trust
from tests.unit.exporters.conftest import KEY
from tests.unit.exporters.tiny import tiny_request

ROOT = Path(__file__).parents[3]
TARGET = "raspberry-pi-4"
SCRIPT = """
from pathlib import Path
from tests.unit.exporters.test_reproducible import write
from tests.unit.exporters.tiny import tiny_request
write(tiny_request(), Path())
"""
ELSEWHERE = {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nonexistent", "USER": "someone"}


def write(request: ExportRequest, folder: Path) -> None:
    """A bundle and its page."""
    bundle = folder / "net.tamiyo"
    export(request, TARGET, bundle, key=KEY)
    page = render(Bundle.open(bundle, trusted=Trust.of(KEY.public)))
    bundle.with_suffix(".html").write_text(page, encoding="utf-8")


@pytest.mark.toolchain
@pytest.mark.slow
def test_a_process_elsewhere_writes_the_same_bytes_as_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "over" / "there"
    for folder in (here, there):
        folder.mkdir(parents=True)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        cwd=there,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **ELSEWHERE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    monkeypatch.chdir(here)
    write(tiny_request(), Path())
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert (out, err) == ("", ""), "a library does not print"
    for file in ("net.tamiyo", "net.html"):
        ours, theirs = (hashlib.sha256((folder / file).read_bytes()).digest() for folder in (here, there))
        assert ours == theirs, file
    _check_tells_nothing_of_where(here)


def _check_tells_nothing_of_where(folder: Path) -> None:
    """No file of the bundle, nor the page, names a folder, a user or a source line of the machine that made it."""
    contents = {"net.html": (folder / "net.html").read_bytes()}
    with zipfile.ZipFile(folder / "net.tamiyo") as archive:
        contents |= {name: archive.read(name) for name in archive.namelist()}
    assert {"sbom.cdx.json", "MODEL_CARD.md", "report.json", "manifest.json"} <= contents.keys()
    telling = (str(ROOT), str(folder), str(Path.home()), sys.prefix, "/site-packages/", "/tmp/", "/home/")
    for name, data in contents.items():
        for text in telling:
            assert text.encode() not in data, f"{name} holds {text}"
        assert not re.search(rb"\.py[\"':]? ?,? ?line \d|\.py:\d", data), f"{name} names a source line"
