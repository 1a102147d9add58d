"""Which keys a command trusts: those of ``--key``, else this user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.signing import PublicKey, Trust


def trust_of(keys: Sequence[Path] | None) -> Trust:
    """Trust in the public keys given, and in no others; without any, in the user's trusted folder."""
    return Trust({PublicKey.load(path): path.stem for path in keys}) if keys else Trust.default()


def open_bundle(path: Path, keys: Sequence[Path] | None) -> Bundle:
    """Open and verify a bundle for a command."""
    return Bundle.open(path, trusted=trust_of(keys))
