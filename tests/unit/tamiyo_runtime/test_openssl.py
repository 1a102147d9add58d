"""Python's own OpenSSL comes to the verdicts of ``cryptography``, which a device then need not load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime import openssl
from tamiyo_runtime.signing import PublicKey, SigningKey
from tests.pki import Authority

ORDER = 2**252 + 27742317777372353535851937790883648493
KEYS = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module", autouse=True)
def reachable() -> None:
    if openssl.ed25519_verifies(bytes(32), bytes(64), b"") is None:
        pytest.skip("this Python has its OpenSSL linked into the interpreter")


def theirs(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def test_the_second_vector_of_rfc_8032_verifies() -> None:
    key = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert openssl.ed25519_verifies(key, signature, b"\x72") is True
    assert openssl.ed25519_verifies(key, signature, b"\x73") is False


@given(seed=KEYS, message=st.binary(max_size=200), flip=st.integers(0, 511))
def test_a_signature_verifies_until_a_bit_of_it_is_flipped(seed: bytes, message: bytes, flip: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert openssl.ed25519_verifies(key, signature, message) is True
    assert openssl.ed25519_verifies(key, signature, message + b"\0") is False
    broken = bytearray(signature)
    broken[flip // 8] ^= 1 << flip % 8
    assert openssl.ed25519_verifies(key, bytes(broken), message) is False


@given(key=KEYS, signature=st.binary(max_size=80), message=st.binary(max_size=50))
def test_both_say_the_same_of_any_bytes(key: bytes, signature: bytes, message: bytes) -> None:
    assert openssl.ed25519_verifies(key, signature, message) is theirs(key, signature, message)


@given(seed=KEYS)
def test_a_signature_has_one_form_only(seed: bytes) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    signature = private.sign(b"m")
    other = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    assert openssl.ed25519_verifies(private.public_key().public_bytes_raw(), other, b"m") is False


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_a_wrong_length_is_left_to_the_other(length: int) -> None:
    assert openssl.ed25519_verifies(bytes(length), bytes(64), b"") is None


def test_the_end_of_a_certificate_is_what_the_other_says(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "test")
    authority.issue("device")
    for name in ("ca.pem", "device.pem"):
        pem = (tmp_path / name).read_bytes()
        assert openssl.valid_until(pem) == x509.load_pem_x509_certificate(pem).not_valid_after_utc
    assert openssl.valid_until(b"no certificate") is None
    assert openssl.valid_until(b"") is None


def test_nobody_is_asked_for_the_password_of_a_certificate() -> None:
    pem = (
        "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
        f"DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\n{'A' * 64}\n-----END CERTIFICATE-----\n"
    )
    code = f"from tamiyo_runtime.openssl import valid_until; print(valid_until({pem.encode()!r}))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, input="", start_new_session=True
    )
    assert (told.stdout, told.stderr) == ("None\n", "")


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An OpenSSL that is linked into the interpreter: the module's file shows none of it."""
    libc = openssl.ctypes.CDLL
    monkeypatch.setattr(openssl.ctypes, "CDLL", lambda _path: libc(None, handle=0))
    openssl._library.cache_clear()
    yield
    openssl._library.cache_clear()


@pytest.mark.usefixtures("hidden")
def test_where_it_does_not_show_itself_cryptography_is_asked() -> None:
    assert openssl.ed25519_verifies(bytes(32), bytes(64), b"") is None
    assert openssl.valid_until(b"") is None
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    key, signature = PublicKey(private.public_key().public_bytes_raw()), private.sign(b"m")
    assert key.verifies(signature, b"m")
    assert not key.verifies(signature, b"n")


def test_a_run_on_a_device_loads_neither_cryptography_nor_simulators(
    tiny_path: Path, key: SigningKey, tmp_path: Path
) -> None:
    (tmp_path / "signer.pub").write_bytes(key.public.to_pem())
    words = ["run", tiny_path, "--key", tmp_path / "signer.pub", "--samples", 3, "--period-ms", 0, "--latency-ms", 0]
    code = (
        "import sys; from tamiyo_runtime.cli.main import main;"
        f"code = main({[*map(str, words)]!r}); assert code == 0, code;"
        "print({name.partition('.')[0] for name in sys.modules} & {'cryptography', 'simulators'})"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "set()", told.stdout


def test_a_date_is_in_universal_time(tmp_path: Path) -> None:
    Authority(tmp_path, "test")
    until: Any = openssl.valid_until((tmp_path / "ca.pem").read_bytes())
    assert until.tzinfo is UTC
    assert until > datetime.now(UTC)
