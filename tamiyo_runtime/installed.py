"""What ran on this device: the highest version of each bundle, and which bundles the canary has come back from.

A signature says who made a bundle, not that it is the latest: whoever can replace a file can replace it with an older,
signed one whose faults are known. ``installed.json`` under ``home()`` holds a version a name and signer, and only ever
rises. Version 1 is not written down, since nothing is below it. The canary's trial of a bundle (see
`tamiyo_runtime.canary`) holds until the bundle or an engine is another. Someone who can write ``home()`` is not
stopped: the trusted keys are there too.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.document import canonical_json, check_schema, check_tame, load, parse_json, require
from tamiyo_runtime.contracts.errors import DowngradeError, InputError, IntegrityError, SchemaError, SchemaVersionError
from tamiyo_runtime.contracts.manifest import MAX_VERSION
from tamiyo_runtime.files import private_folder, private_opener, read_bytes, write_atomic
from tamiyo_runtime.signing import home

SCHEMA = "tamiyo.installed/1"
FILE = "installed.json"
_LIMIT_BYTES = 1 << 20
_ADMITTED = 16  # bundles remembered; one that is forgotten is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A bundle that the canary came back from. ``digest``: of its manifest; ``engines``: those it was tried with."""

    digest: str
    engines: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """Highest versions by signer's fingerprint, then by the bundle's name; bundles that were tried, the latest last."""

    schema: str
    versions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    admitted: tuple[Admitted, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_schema(self.schema, SCHEMA)
        for names in self.versions.values():
            for name, version in names.items():
                require(0 < version <= MAX_VERSION, "versions", f"'{name}' is said to have version {version}")

    def highest(self, bundle: Bundle) -> int:
        """The highest version of this bundle that ran here; 1 when none is known."""
        return self.versions.get(bundle.signer.id, {}).get(bundle.manifest.name, 1)


def check_version(bundle: Bundle, *, folder: Path | None = None) -> None:
    """Raise DowngradeError when a higher version of the bundle, by the same signer, ran on this device before.

    ``folder`` None stands for ``home()``. Raises IntegrityError when what is written there cannot be read.
    """
    highest = _read(folder or home()).highest(bundle)
    if bundle.manifest.version < highest:
        raise DowngradeError(
            f"{bundle.name} is version {bundle.manifest.version} of '{bundle.manifest.name}'; "
            f"version {highest} by the same signer ran on this device before",
            hint="run the later one; if the older one is meant, pass --allow-downgrade",
        )


def record_version(bundle: Bundle, *, folder: Path | None = None) -> None:
    """Write down that this version runs here; a lower one than is known changes nothing.

    Raises InputError when the folder cannot be written, IntegrityError when what is written there cannot be read.
    """
    folder = folder or home()
    version, name, signer = bundle.manifest.version, bundle.manifest.name, bundle.signer.id
    if version <= _read(folder).highest(bundle):
        return
    with _locked(folder):
        known = _read(folder)  # again: another process may have written meanwhile
        if version > known.highest(bundle):
            of_signer = {**known.versions.get(signer, {}), name: version}
            _write(folder, replace(known, versions={**known.versions, signer: of_signer}))


def is_admitted(digest: str, engines: str, *, folder: Path | None = None) -> bool:
    """Whether the canary came back from this bundle, with these engines; raises IntegrityError as `check_version`."""
    return Admitted(digest=digest, engines=engines) in _read(folder or home()).admitted


def record_admitted(digest: str, engines: str, *, folder: Path | None = None) -> None:
    """Write down that the canary came back; raises what `record_version` raises."""
    folder, entry = folder or home(), Admitted(digest=digest, engines=engines)
    with _locked(folder):
        known = _read(folder)
        others = tuple(item for item in known.admitted if item.digest != digest)
        _write(folder, replace(known, admitted=(*others, entry)[-_ADMITTED:]))


def _write(folder: Path, installed: Installed) -> None:
    write_atomic(folder / FILE, canonical_json(installed) + b"\n", overwrite=True, mode=0o600)


def _read(folder: Path) -> Installed:
    path = folder / FILE
    if not path.exists():
        return Installed(schema=SCHEMA)
    try:
        document = parse_json(read_bytes(path, limit_bytes=_LIMIT_BYTES, what="record of versions"), path=FILE)
        check_tame(document, path=FILE)
        return load(Installed, document, path=FILE)
    except SchemaVersionError:
        raise
    except SchemaError as exc:
        raise IntegrityError(
            f"cannot tell which versions ran on this device: {path} is damaged ({exc.message})",
            hint="mend it, or delete it: the versions that ran here are then forgotten",
        ) from exc


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        private_folder(folder)
        with open(folder / f".{FILE}.lock", "w", opener=private_opener) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as exc:
        raise InputError(
            f"cannot write down the version in {folder}: {exc.strerror}",
            hint="make the folder writable, or set TAMIYO_HOME to one that is",
        ) from exc
