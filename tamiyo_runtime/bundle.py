"""A bundle: one signed file that holds everything a device needs, opened as if it came from an enemy.

Order of opening, each step before anything of the next is interpreted: size limit; archive structure; the signature
over the manifest; the manifest; the SHA-256 and size of every file; what the graphs are made of. Only then can a graph
reach an interpreter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tamiyo_runtime.archive import MAX_TOTAL_BYTES, pack, unpack
from tamiyo_runtime.contracts.errors import (
    InputError,
    IntegrityError,
    SchemaError,
    SchemaVersionError,
    SignatureError,
)
from tamiyo_runtime.contracts.manifest import FileEntry, Manifest
from tamiyo_runtime.files import read_bytes, write_atomic
from tamiyo_runtime.screening import screen
from tamiyo_runtime.signing import PublicKey, SigningKey, Trust

MANIFEST = "manifest.json"
ENVELOPE = "manifest.dsse.json"
VECTORS = "vectors.npz"
SAMPLES = "samples.npz"
REPORT = "report.json"

_HINT = "fetch or export the bundle again"
_HEADERS_BYTES = 1 << 20  # room for zip headers on top of the members


class Bundle:
    """An opened, verified bundle. Get one by ``Bundle.open``."""

    def __init__(
        self, *, name: str, size_bytes: int, manifest: Manifest, digest: str, signer: PublicKey, files: dict[str, bytes]
    ) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.manifest = manifest
        self.digest = digest
        self.signer = signer
        self._files = files

    @classmethod
    def open(cls, path: Path, *, trusted: Trust | None = None) -> Bundle:
        """Read and verify a bundle; ``trusted`` None stands for this user's trusted keys.

        Raises InputError when there is no such file, SignatureError or IntegrityError when it is not what it claims to
        be or breaks the contract, SchemaVersionError when a later tamiyo wrote it.
        """
        data = read_bytes(path, limit_bytes=MAX_TOTAL_BYTES + _HEADERS_BYTES, what="bundle")
        return cls.parse(data, name=path.name, trusted=Trust.default() if trusted is None else trusted)

    @classmethod
    def parse(cls, data: bytes, *, name: str, trusted: Trust) -> Bundle:
        """``open`` for a bundle that is in memory already."""
        files = unpack(data, source=name)
        envelope = files.pop(ENVELOPE, None)
        stated = files.pop(MANIFEST, None)
        if stated is None:
            raise IntegrityError(f"{name} holds no {MANIFEST}", hint="a bundle is what `tamiyo export` writes")
        if envelope is None:
            raise SignatureError(f"{name} is not signed", hint="export it again; the signature was left out or removed")
        raw, signer = trusted.verify(envelope)
        if raw != stated:
            raise IntegrityError(f"{name}: {MANIFEST} is not the one that was signed", hint=_HINT)
        manifest = _read_manifest(raw, name)
        _check_files(name, manifest.files, files)
        screen(files, source=name)
        return cls(
            name=name,
            size_bytes=len(data),
            manifest=manifest,
            digest=hashlib.sha256(raw).hexdigest(),
            signer=signer,
            files=files,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Every file but the manifest and its signature, sorted."""
        return tuple(sorted(self._files))

    def read(self, name: str) -> bytes:
        """Contents of one file; raises InputError when the bundle does not hold it."""
        try:
            return self._files[name]
        except KeyError:
            raise InputError(
                f"{self.name} holds no '{name}'", hint=f"it holds: {', '.join(self.names) or 'nothing'}"
            ) from None


def write_bundle(
    path: Path, manifest: Manifest, files: Mapping[str, bytes], key: SigningKey, *, overwrite: bool
) -> Manifest:
    """Sign and write a bundle; returns the manifest with ``files`` filled in from the contents.

    The same manifest, files and key give the same bytes on every machine. Raises InputError when the file exists and
    ``overwrite`` is False, SchemaError on an unsafe name or a size over the limits.
    """
    complete = replace(manifest, files={name: entry_of(data) for name, data in files.items()})
    raw = complete.to_json()
    Manifest.from_json(raw)  # what would not be opened is not written
    data = pack({**files, MANIFEST: raw, ENVELOPE: key.sign(raw)})
    write_atomic(path, data, overwrite=overwrite)
    return complete


def entry_of(data: bytes) -> FileEntry:
    """The manifest's entry for a file with these contents."""
    return FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def _read_manifest(raw: bytes, bundle: str) -> Manifest:
    try:
        return Manifest.from_json(raw)
    except SchemaVersionError:
        raise
    except SchemaError as exc:
        raise IntegrityError(f"{bundle}: {exc.message}", hint=_HINT) from exc


def _check_files(bundle: str, listed: Mapping[str, FileEntry], found: Mapping[str, bytes]) -> None:
    missing, extra = sorted(listed.keys() - found.keys()), sorted(found.keys() - listed.keys())
    if missing:
        raise IntegrityError(f"{bundle}: '{missing[0]}' is listed in the manifest and missing", hint=_HINT)
    if extra:
        raise IntegrityError(f"{bundle}: '{extra[0]}' is not listed in the manifest", hint=_HINT)
    for name, data in found.items():
        if entry_of(data) != listed[name]:
            raise IntegrityError(f"{bundle}: '{name}' is not the file that was signed", hint=_HINT)
