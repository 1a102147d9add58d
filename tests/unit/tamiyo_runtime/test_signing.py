"""Signatures: three ways to be wrong, each told apart; keys as files that only their owner reads."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import InputError, MissingExtraError, SignatureError
from tamiyo_runtime.signing import PublicKey, SigningKey, Trust, home, pre_authentication_encoding


def test_the_encoding_is_that_of_the_dsse_specification() -> None:
    """The example in protocol.md of secure-systems-lab/dsse."""
    encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


@given(st.binary(max_size=200))
def test_what_was_signed_comes_back_with_its_signer(payload: bytes) -> None:
    key = SigningKey.generate()
    assert Trust.of(SigningKey.generate().public, key.public).verify(key.sign(payload)) == (payload, key.public)


def test_an_unknown_signer_a_changed_payload_and_no_signature_are_told_apart() -> None:
    key, stranger = SigningKey.generate(), SigningKey.generate()
    envelope = key.sign(b"payload")
    with pytest.raises(SignatureError, match="which is not trusted") as unknown:
        Trust.of(stranger.public).verify(envelope)
    assert key.public.short_id in unknown.value.message
    assert "tamiyo key trust" in str(unknown.value.hint)
    document = json.loads(envelope)
    changed = json.dumps({**document, "payload": "b3RoZXI="}).encode()
    with pytest.raises(SignatureError, match="does not match"):
        Trust.of(key.public).verify(changed)
    with pytest.raises(SignatureError, match="not signed"):
        Trust.of(key.public).verify(json.dumps({**document, "signatures": []}).encode())


def test_a_signature_of_another_kind_of_document_does_not_count() -> None:
    key = SigningKey.generate()
    with pytest.raises(SignatureError, match="is for 'text/plain'"):
        Trust.of(key.public).verify(key.sign(b"payload", payload_type="text/plain"))


def test_a_key_id_cannot_borrow_anothers_trust() -> None:
    key, stranger = SigningKey.generate(), SigningKey.generate()
    forged = json.loads(stranger.sign(b"payload"))
    forged["signatures"][0]["keyid"] = key.public.id
    with pytest.raises(SignatureError, match="does not match"):
        Trust.of(key.public).verify(json.dumps(forged).encode())


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_rubbish_is_no_signature(raw: bytes) -> None:
    with pytest.raises(SignatureError):
        Trust({}).verify(raw)


def test_a_key_file_is_private_and_openssl_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "factory.key"
    key = SigningKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path) == key
    assert PublicKey.load(tmp_path / "factory.pub") == key.public
    assert str(key.raw) not in repr(key)
    done = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], capture_output=True, check=True)
    assert done.stdout == (tmp_path / "factory.pub").read_bytes()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.key"
    SigningKey.create(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="others may read") as caught:
        SigningKey.load(path)
    assert caught.value.hint == f"type: chmod 600 {path}"


def test_an_existing_key_is_never_replaced_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    key = SigningKey.create(path)
    with pytest.raises(InputError, match="exists already"):
        SigningKey.create(path)
    assert SigningKey.load(path) == key
    assert SigningKey.create(path, overwrite=True) != key


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\x00" * 50]
)
def test_what_is_no_key_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError):
        SigningKey.load(path)
    with pytest.raises(InputError):
        PublicKey.load(path)


def test_the_development_key_is_made_once_and_trusted_here_only() -> None:
    assert Trust.default().keys == {}
    key = SigningKey.default()
    assert SigningKey.default() == key
    assert Trust.default().keys == {key.public: "dev"}
    assert (home() / "keys" / "dev.key").exists()


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(MissingExtraError, match="cryptography") as caught:
        SigningKey.generate()
    assert "tamiyo-edge[sign]" in str(caught.value.hint)


def test_a_public_key_in_another_form_of_pem_is_read_too(tmp_path: Path) -> None:
    key = SigningKey.create(tmp_path / "a.key").public
    other = tmp_path / "other.pub"
    other.write_bytes(b"the factory's key:\n" + key.to_pem().replace(b"\n", b"\r\n"))
    assert PublicKey.load(other) == key


def test_a_public_key_of_another_kind_is_no_key_for_bundles(tmp_path: Path) -> None:
    path = tmp_path / "x25519.pub"
    SigningKey.create(tmp_path / "a.key")
    path.write_bytes((tmp_path / "a.pub").read_bytes().replace(b"MCowBQYDK2Vw", b"MCowBQYDK2Vu"))
    with pytest.raises(InputError, match="not an Ed25519 key"):
        PublicKey.load(path)
