"""Who made a bundle: Ed25519 signatures in DSSE envelopes, keys as files, trust as a folder of public keys.

The signature covers the pre-authentication encoding of the payload (https://github.com/secure-systems-lab/dsse,
protocol.md), so that bytes signed as one type cannot be passed off as another. Keys are PEM files that openssl reads
as well. ``cryptography`` is imported on first use; verifying needs the extra ``sign``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.document import load, parse_json
from tamiyo_runtime.contracts.errors import InputError, MissingExtraError, SchemaError, SignatureError
from tamiyo_runtime.files import private_folder, read_bytes, write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST_TYPE = "application/vnd.tamiyo.manifest+json"
# As `tamiyo key` and openssl write one: 12 bytes that say Ed25519 (RFC 8410), then the key's 32. Other forms are left
# to the parser of ``cryptography``, which takes 1.5 MiB of memory for good.
_ED25519_PEM = re.compile(
    rb"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA([A-Za-z0-9+/]{43}=)\n-----END PUBLIC KEY-----\n?"
)
_KEY_FILE_LIMIT = 16 << 10
_ENVELOPE_LIMIT = 8 << 20


def home() -> Path:
    """Where keys live: ``$TAMIYO_HOME``, or ``~/.config/tamiyo``."""
    configured = os.environ.get("TAMIYO_HOME")
    return Path(configured) if configured else Path.home() / ".config" / "tamiyo"


def _make_private(folder: Path) -> None:
    """Make a folder of `home`, which nobody else may look into or add to."""
    try:
        private_folder(folder)
    except OSError as exc:
        raise InputError(f"cannot make {folder}: {exc.strerror}", hint="set TAMIYO_HOME to a folder of yours") from exc


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: ``DSSEv1 LEN(type) type LEN(payload) payload``, lengths in decimal."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An Ed25519 public key, 32 bytes."""

    raw: bytes

    @property
    def id(self) -> str:
        """The key's fingerprint: SHA-256 of its bytes, in hexadecimal."""
        return hashlib.sha256(self.raw).hexdigest()

    @property
    def short_id(self) -> str:
        """The first 16 digits of the fingerprint: what people compare."""
        return self.id[:16]

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key made that signature."""
        from cryptography.exceptions import InvalidSignature

        try:
            _ed25519().Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def to_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM."""
        from cryptography.hazmat.primitives import serialization

        key: Ed25519PublicKey = _ed25519().Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    @classmethod
    def load(cls, path: Path) -> PublicKey:
        """Read a public key file; raises InputError when it is missing or no Ed25519 public key."""
        pem = read_bytes(path, limit_bytes=_KEY_FILE_LIMIT, what="public key")
        if (plain := _ED25519_PEM.fullmatch(pem)) is not None:
            return cls(base64.b64decode(plain[1]))
        ed25519 = _ed25519()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        hint = "a public key is the .pub file that `tamiyo key new` writes beside the private one"
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise InputError(f"{path} is not a public key in PEM", hint=hint) from exc
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise InputError(f"{path} is not an Ed25519 key", hint=hint)
        return cls(key.public_bytes_raw())


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 private key. ``repr`` never shows it."""

    raw: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> SigningKey:
        """A new key, in memory only."""
        return cls(_ed25519().Ed25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def create(cls, path: Path, *, overwrite: bool = False) -> SigningKey:
        """A new key in ``path`` (mode 0600), its public half beside it as ``.pub``; raises InputError if one exists."""
        from cryptography.hazmat.primitives import serialization

        key = cls.generate()
        pem = key._private().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_atomic(path, pem, overwrite=overwrite, mode=0o600)
        write_atomic(path.with_suffix(".pub"), key.public.to_pem(), overwrite=True)
        return key

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a private key file; raises InputError when it is missing, others may read it, or it is no such key."""
        ed25519 = _ed25519()
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization

        pem = read_bytes(path, limit_bytes=_KEY_FILE_LIMIT, what="signing key")
        if path.stat().st_mode & 0o077:
            raise InputError(f"others may read the signing key {path}", hint=f"type: chmod 600 {path}")
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
            raise InputError(f"{path} is not a private key in PEM", hint="make one: tamiyo key new PATH") from exc
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise InputError(f"{path} is not an Ed25519 key", hint="make one: tamiyo key new PATH")
        return cls(key.private_bytes_raw())

    @classmethod
    def default(cls) -> SigningKey:
        """This user's development key, made and trusted on first use: ``keys/dev.key`` under ``home()``."""
        path = home() / "keys" / "dev.key"
        if path.exists():
            return cls.load(path)
        key = cls.create(path)
        Trust.add(key.public, "dev")
        return key

    @property
    def public(self) -> PublicKey:
        """The public half."""
        return PublicKey(self._private().public_key().public_bytes_raw())

    def sign(self, payload: bytes, *, payload_type: str = MANIFEST_TYPE) -> bytes:
        """A DSSE envelope, as JSON, that holds the payload and its signature."""
        signature = self._private().sign(pre_authentication_encoding(payload_type, payload))
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": self.public.id, "sig": base64.b64encode(signature).decode()}],
        }
        return json.dumps(envelope, sort_keys=True, indent=1).encode()

    def _private(self) -> Ed25519PrivateKey:
        key: Ed25519PrivateKey = _ed25519().Ed25519PrivateKey.from_private_bytes(self.raw)
        return key


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys whose signatures count, by fingerprint; values are the names they were filed under."""

    keys: Mapping[PublicKey, str]

    @classmethod
    def of(cls, *keys: PublicKey) -> Trust:
        """Trust in exactly these keys."""
        return cls({key: key.short_id for key in keys})

    @classmethod
    def folder(cls, folder: Path) -> Trust:
        """Trust in every ``*.pub`` of a folder; an absent folder trusts nobody."""
        return cls({PublicKey.load(path): path.stem for path in sorted(folder.glob("*.pub"))})

    @classmethod
    def default(cls) -> Trust:
        """Trust in the keys of ``trusted/`` under ``home()``."""
        return cls.folder(home() / "trusted")

    @staticmethod
    def add(key: PublicKey, name: str, *, overwrite: bool = False) -> Path:
        """File a key under ``trusted/`` as ``name``; returns its path. Raises InputError when the name is taken."""
        path = home() / "trusted" / f"{name}.pub"
        _make_private(path.parent)
        write_atomic(path, key.to_pem(), overwrite=overwrite)
        return path

    def verify(self, envelope: bytes, *, payload_type: str = MANIFEST_TYPE) -> tuple[bytes, PublicKey]:
        """The payload of a DSSE envelope and the trusted key that signed it.

        Nothing of the payload is interpreted. Raises SignatureError when there is no signature, none by a key that is
        trusted, or one that does not match.
        """
        opened = _Envelope.parse(envelope)
        if opened.payload_type != payload_type:
            raise SignatureError(f"the signature is for {opened.payload_type!r}, not for {payload_type!r}")
        known = {key.id: key for key in self.keys}
        message = pre_authentication_encoding(payload_type, opened.payload)
        for key_id, signature in opened.signatures:
            key = known.get(key_id)
            if key is None:
                continue
            if not key.verifies(signature, message):
                raise SignatureError(
                    f"the signature by '{self.keys[key]}' ({key.short_id}) does not match",
                    hint="the contents were changed after they were signed; fetch or export the bundle again",
                )
            return opened.payload, key
        raise self._unknown_signer([key_id for key_id, _ in opened.signatures])

    def _unknown_signer(self, key_ids: list[str]) -> SignatureError:
        trusted = ", ".join(f"'{name}' ({key.short_id})" for key, name in self.keys.items()) or "no key at all"
        return SignatureError(
            f"signed by {' and '.join(key_id[:16] for key_id in key_ids)}, which is not trusted; trusted: {trusted}",
            hint="if you know the signer, type: tamiyo key trust SIGNER.pub, or pass --key SIGNER.pub",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    keyid: str
    sig: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _EnvelopeDocument:
    """Names as in the DSSE envelope format."""

    payload: str
    payloadType: str  # noqa: N815  the name DSSE gives it
    signatures: tuple[_Signature, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Envelope:
    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]

    @classmethod
    def parse(cls, raw: bytes) -> _Envelope:
        try:
            document = load(
                _EnvelopeDocument, parse_json(raw, path="envelope", limit_bytes=_ENVELOPE_LIMIT), path="envelope"
            )
            payload = base64.b64decode(document.payload, validate=True)
            signatures = tuple((s.keyid, base64.b64decode(s.sig, validate=True)) for s in document.signatures)
        except (SchemaError, binascii.Error, ValueError) as exc:
            raise SignatureError(f"the signature cannot be read: {exc}", hint="export the bundle again") from exc
        if not signatures:
            raise SignatureError("not signed", hint="export the bundle again with a key")
        return cls(payload, document.payloadType, signatures)


def look_into(envelope: bytes) -> tuple[bytes, tuple[str, ...]]:
    """What an envelope holds and the fingerprints it names, unverified: to describe it, never to act on it.

    Raises SignatureError for what is no envelope.
    """
    opened = _Envelope.parse(envelope)
    return opened.payload, tuple(key_id for key_id, _ in opened.signatures)


def _ed25519() -> Any:
    """The module of ``cryptography``; Any, because it is imported late."""
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as exc:
        raise MissingExtraError("cryptography", "sign") from exc
    return ed25519
