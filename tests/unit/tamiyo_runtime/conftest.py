"""Fixtures of the runtime's tests: a tiny bundle, signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.signing import SigningKey, Trust
from tests import tiny


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """A signing key."""
    return SigningKey.generate()


@pytest.fixture(scope="session")
def tiny_path(tmp_path_factory: pytest.TempPathFactory, key: SigningKey) -> Path:
    """A signed tiny bundle on disk. Do not change it."""
    made = tiny.make()
    path = tmp_path_factory.mktemp("bundle") / "tiny.tamiyo"
    write_bundle(path, made.manifest, made.files, key, overwrite=False)
    return path


@pytest.fixture(scope="session")
def tiny_bundle(tiny_path: Path, key: SigningKey) -> Bundle:
    """The tiny bundle, opened."""
    return Bundle.open(tiny_path, trusted=Trust.of(key.public))
