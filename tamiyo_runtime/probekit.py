"""The file of a probe kit: graphs and their description, in the container of bundles and signed like one.

A kit is native code's input as much as a bundle is, so it is opened with the same distrust: structure, signature,
description, hashes, and only then a graph.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tamiyo_runtime.archive import MAX_TOTAL_BYTES, pack, unpack
from tamiyo_runtime.bundle import entry_of
from tamiyo_runtime.contracts.errors import IntegrityError, SignatureError
from tamiyo_runtime.contracts.runs import ProbeKit
from tamiyo_runtime.files import read_bytes, write_atomic
from tamiyo_runtime.signing import SigningKey, Trust

SUFFIX = ".tamiyo-probes"
KIT = "kit.json"
ENVELOPE = "kit.dsse.json"
TYPE = "application/vnd.tamiyo.probes+json"
_HEADERS_BYTES = 1 << 20
_PACK = ".pack"
_HINT = "fetch it again, or make it again: tamiyo profile probes"


@dataclass(frozen=True, slots=True)
class OpenKit:
    """A verified kit. ``digest`` is the SHA-256 of its signed description, ``files`` are the graphs by path."""

    kit: ProbeKit
    digest: str
    files: Mapping[str, bytes]


def write_kit(path: Path, kit: ProbeKit, files: Mapping[str, bytes], key: SigningKey, *, overwrite: bool) -> None:
    """Sign and write a kit; ``files`` are the graphs that its probes name. Raises InputError when the file exists."""
    packs = packs_of(files)
    complete = replace(kit, files={name: entry_of(data) for name, data in packs.items()})
    raw = complete.to_json()
    data = pack({**packs, KIT: raw, ENVELOPE: key.sign(raw, payload_type=TYPE)})
    write_atomic(path, data, overwrite=overwrite)


def packs_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Graphs by their folders, each folder one archive: a kit has more graphs than an archive may have members."""
    folders: dict[str, dict[str, bytes]] = {}
    for name, data in files.items():
        folders.setdefault(name.partition("/")[0], {})[name] = data
    return {f"{folder}{_PACK}": pack(members) for folder, members in folders.items()}


def is_kit(path: Path) -> bool:
    """Whether a file is meant as a probe kit: by its name, or by what its directory lists. Nothing is trusted yet."""
    if path.name.endswith(SUFFIX):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return KIT in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def open_kit(path: Path, *, trusted: Trust) -> OpenKit:
    """Read and verify a kit; raises InputError, SignatureError, IntegrityError or SchemaError."""
    name = path.name
    members = unpack(read_bytes(path, limit_bytes=MAX_TOTAL_BYTES + _HEADERS_BYTES, what="probe kit"), source=name)
    envelope, stated = members.pop(ENVELOPE, None), members.pop(KIT, None)
    if stated is None:
        raise IntegrityError(f"{name} holds no {KIT}", hint="a kit is what `tamiyo profile probes` writes")
    if envelope is None:
        raise SignatureError(f"{name} is not signed", hint=_HINT)
    raw, _ = trusted.verify(envelope, payload_type=TYPE)
    if raw != stated:
        raise IntegrityError(f"{name}: {KIT} is not the one that was signed", hint=_HINT)
    kit = ProbeKit.from_json(raw)
    if {member: entry_of(data) for member, data in members.items()} != dict(kit.files):
        raise IntegrityError(f"{name}: its graphs are not those that were signed", hint=_HINT)
    graphs = {path: graph for pack_, data in members.items() for path, graph in unpack(data, source=pack_).items()}
    for probe in kit.probes:
        if probe.graph.file not in graphs:
            raise IntegrityError(f"{name}: '{probe.graph.file}' is listed and missing", hint=_HINT)
    return OpenKit(kit=kit, digest=hashlib.sha256(raw).hexdigest(), files=graphs)
