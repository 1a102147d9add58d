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

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from pathlib import Path
from exporters.html.bundle_page import render
from exporters.pipeline import export
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.signing import SigningKey, Trust
from tests.unit.exporters.tiny import tiny_request
key, out = SigningKey(bytes(range(32))), Path(sys.argv[2])
export(tiny_request(steps=20), sys.argv[1], out, key=key)
out.with_suffix(".html").write_text(render(Bundle.open(out, trusted=Trust.of(key.public))), encoding="utf-8")
"""
PLACES = (
    ("here", {"PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"}),
    (
        "over/there",
        {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LC_ALL": "C", "HOME": "/nonexistent", "USER": "someone"},
    ),
)


@pytest.mark.toolchain
@pytest.mark.slow
def test_two_processes_in_two_places_write_the_same_bytes(tmp_path: Path) -> None:
    processes = []
    for name, differing in PLACES:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **differing}
        command = [sys.executable, "-c", SCRIPT, "raspberry-pi-4", "net.tamiyo"]
        processes.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert (out, err) == ("", ""), "a library does not print"
    for file in ("net.tamiyo", "net.html"):
        here, there = (tmp_path / name / file for name, _ in PLACES)
        assert hashlib.sha256(here.read_bytes()).digest() == hashlib.sha256(there.read_bytes()).digest(), file
    _check_tells_nothing_of_where(tmp_path / "here")


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
