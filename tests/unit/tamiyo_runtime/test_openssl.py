"""Signatures checked by the interpreter's own OpenSSL: the answers are those of ``cryptography``, without it."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime import openssl
from tamiyo_runtime.bundle import write_bundle
from tamiyo_runtime.signing import PublicKey, SigningKey
from tests import tiny

ORDER = 2**252 + 27742317777372353535851937790883648493
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()

pytestmark = pytest.mark.skipif(openssl._checked() is None, reason="this interpreter's OpenSSL is not within reach")


def by_cryptography(public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.integers(min_value=0))
def test_it_accepts_what_was_signed_and_refuses_it_with_any_bit_changed(secret: bytes, message: bytes, at: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert openssl.verifies(public, signature, message) is True
    for part in (signature, message, public):
        if part:
            changed = bytearray(part)
            changed[at % len(part)] ^= 1 << (at % 8)
            parts = [bytes(changed) if item is part else item for item in (public, signature, message)]
            assert openssl.verifies(*parts) is by_cryptography(*parts) is False


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.binary(max_size=40))
def test_of_anything_at_all_it_thinks_as_cryptography_does(public: bytes, signature: bytes, message: bytes) -> None:
    assert openssl.verifies(public, signature, message) is by_cryptography(public, signature, message)


def test_the_same_signature_in_another_form_is_none() -> None:
    signature = KEY.sign(b"bundle")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert openssl.verifies(PUBLIC, signature[:32] + scalar.to_bytes(32, "little"), b"bundle") is False
    for cut in (b"", signature[:63], signature + b"\0"):
        assert openssl.verifies(PUBLIC, cut, b"bundle") is False


def test_a_refusal_leaves_no_error_behind_that_a_tls_connection_would_find() -> None:
    library = openssl._load()
    assert library is not None
    library.functions.ERR_peek_error.restype = ctypes.c_ulong
    for signature in (b"", bytes(64), b"\xff" * 64):
        assert openssl.verifies(PUBLIC, signature, b"x") is False
        assert library.functions.ERR_peek_error() == 0


class Broken:
    """A library that says yes, or no, to everything."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer

    def verifies(self, *_: bytes) -> bool:
        return self.answer


@pytest.mark.parametrize("found", [None, Broken(True), Broken(False)])
def test_where_it_is_not_to_be_had_or_answers_wrongly_cryptography_is_asked(
    monkeypatch: pytest.MonkeyPatch, found: object
) -> None:
    monkeypatch.setattr(openssl, "_load", lambda: found)
    openssl._checked.cache_clear()
    try:
        assert openssl.verifies(PUBLIC, KEY.sign(b"x"), b"x") is None
        assert PublicKey(PUBLIC).verifies(KEY.sign(b"x"), b"x")
        assert not PublicKey(PUBLIC).verifies(KEY.sign(b"x"), b"y")
    finally:
        openssl._checked.cache_clear()


def test_a_bundle_is_opened_without_cryptography(tmp_path: Path, tamiyo_home: Path) -> None:
    made, path = tiny.make(), tmp_path / "tiny.tamiyo"

    write_bundle(path, made.manifest, made.files, SigningKey.default(), overwrite=False)
    script = (
        "import sys\nfrom pathlib import Path\nfrom tamiyo_runtime.bundle import Bundle\n"
        "bundle = Bundle.open(Path(sys.argv[1]))\nprint(bundle.manifest.name, 'cryptography' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["tiny", "False"]
