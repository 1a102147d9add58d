"""A bundle for devices that are run in detail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.signing import SigningKey
from tests import tiny


@pytest.fixture
def bundle(tmp_path: Path, tamiyo_home: Path) -> Path:
    """The bundle of three matrices."""
    made, path = tiny.make(), tmp_path / "tiny.tamiyo"
    write_bundle(path, made.manifest, made.files, SigningKey.default(), overwrite=False)
    return path
