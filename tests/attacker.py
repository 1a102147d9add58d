"""An attacker as a simulator: a good bundle that any test may spoil in one line, signed again or not."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from tamiyo_runtime.archive import pack
from tamiyo_runtime.bundle import ENVELOPE, MANIFEST, Bundle, entry_of
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.signing import SigningKey, Trust
from tests import tiny

ONNX, TFLITE = "graphs/onnx/net.onnx", "graphs/float/head.tflite"
KEY = SigningKey(bytes(range(32)))
"""The key that the victim trusts."""


class Attacker:
    """Someone who holds a good bundle, and, unless ``stranger``, even the key that signs it.

    Every method changes the bundle in place; `bytes` is what the victim gets.
    """

    def __init__(self, *, stranger: bool = False) -> None:
        made = tiny.make()
        self.key = SigningKey.generate() if stranger else KEY
        self.files = dict(made.files)
        self.manifest: dict[str, Any] = json.loads(made.manifest.to_json())
        self.raw: Callable[[bytes], bytes] = lambda manifest: manifest

    def replace(self, name: str, data: bytes) -> None:
        """Another file in place of one, and the manifest to go with it."""
        self.files[name] = data
        entry = entry_of(data)
        self.manifest["files"][name] = {"sha256": entry.sha256, "size_bytes": entry.size_bytes}

    def rewrite(self, change: Callable[[bytes], bytes]) -> None:
        """Other bytes of the manifest, signed."""
        self.raw = change

    @property
    def members(self) -> dict[str, bytes]:
        raw = self.raw(json.dumps(self.manifest).encode())
        return {**self.files, MANIFEST: raw, ENVELOPE: self.key.sign(raw)}

    @property
    def bytes(self) -> bytes:
        return pack(self.members)

    def zipped(self, **options: Any) -> bytes:
        """The same with an ordinary zip tool."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", **options) as archive:
            for name, data in sorted(self.members.items()):
                archive.writestr(name, data)
        return stream.getvalue()


def refused(data: bytes, match: str) -> None:
    """The bundle is refused by one clear line."""
    with pytest.raises(IntegrityError, match=match) as caught:
        Bundle.parse(data, name="evil.tamiyo", trusted=Trust.of(KEY.public))
    assert caught.value.exit_code == 6
    assert len(caught.value.message.splitlines()) == 1
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()
