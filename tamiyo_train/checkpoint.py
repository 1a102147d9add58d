"""Runs on disk: tensors in safetensors, the record in ``run.json`` with the hash of everything, never a pickle.

Tensor files carry the start of their hash in their name and are written before the record, so that a run that is
overwritten stays whole until the new record is in place, and a killed process leaves the old run or the new one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import canonical_json, check_schema, dump, load, parse_json
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError
from tamiyo_runtime.files import write_atomic
from tamiyo_train.audit import Entry, verify
from tamiyo_train.run import SCHEMA, Run, RunRecord
from tamiyo_train.tensorfile import pack, unpack
from tamiyo_train.work import is_unfinished

RECORD = "run.json"
_PARTS = ("network", "policy")
_HINT = "the run folder is damaged; restore it from a copy or train again"
_OBSERVATIONS = "observations"


def save_run(folder: Path, run: Run, *, overwrite: bool) -> None:
    """Write a run; raises InputError when the folder holds one and ``overwrite`` is False."""
    check_free(folder, overwrite=overwrite)
    tensors = {
        "network": dict(run.network),
        "policy": {**{f"policy.{name}": t for name, t in run.policy.items()}, _OBSERVATIONS: run.observations},
    }
    blobs = {name: pack(tensors[name]) for name in _PARTS}
    files = {name: {"file": f"{name}-{_sha256(b)[:12]}.safetensors", "sha256": _sha256(b)} for name, b in blobs.items()}
    for name, blob in blobs.items():
        write_atomic(folder / files[name]["file"], blob, overwrite=True)  # the name is the content's
    body = {"schema": SCHEMA, "files": files, "record": dump(run.record)}
    document = {**body, "sha256": _sha256(canonical_json(body))}
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / RECORD, text.encode(), overwrite=overwrite)
    kept = {entry["file"] for entry in files.values()}
    for stale in folder.glob("*-????????????.safetensors"):
        if stale.name not in kept:
            stale.unlink(missing_ok=True)


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise InputError when the folder holds a run that must not be replaced, or is a file."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder", hint="give the folder the run shall be written to")
    if (folder / RECORD).exists() and not overwrite:
        raise InputError(f"{folder} already holds a run", hint="choose another folder or add --overwrite")
    if is_unfinished(folder) and not overwrite:
        raise InputError(
            f"{folder} holds a run that was begun and not finished",
            hint="add --resume to go on with it, or --overwrite to start anew",
        )


def load_run(folder: Path) -> Run:
    """Read and check a run.

    Raises InputError when there is none, SchemaVersionError when a later version wrote it, IntegrityError when any
    byte differs from what was written.
    """
    path = folder / RECORD
    if not path.is_file():
        unfinished = (folder / ".work").is_dir()
        hint = f"finish it: tamiyo train {folder} --resume" if unfinished else f"make one: tamiyo train {folder}"
        raise InputError(f"no run in {folder}: {RECORD} is missing", hint=hint)
    try:
        document = parse_json(path.read_bytes(), path=RECORD, limit_bytes=64 << 20)
    except SchemaError as exc:
        raise IntegrityError(f"{path} is damaged: {exc.message}", hint=_HINT) from exc
    if not isinstance(document, Mapping):
        raise IntegrityError(f"{path} is damaged: not an object", hint=_HINT)
    if isinstance(document.get("schema"), str):
        check_schema(document["schema"], SCHEMA, path=f"{RECORD}.schema")
    body = {key: value for key, value in document.items() if key != "sha256"}
    if document.get("sha256") != _sha256(canonical_json(body)):
        raise IntegrityError(f"{path} does not match its own hash", hint=_HINT)
    record = load(RunRecord, body["record"], path=f"{RECORD}.record")
    verify(load(Entry, entry, path=f"{RECORD}.audit") for entry in record.audit)
    parts = {name: _read_tensors(folder, body["files"][name]) for name in _PARTS}
    policy = {name.removeprefix("policy."): t for name, t in parts["policy"].items() if name != _OBSERVATIONS}
    return Run(record=record, network=parts["network"], policy=policy, observations=parts["policy"][_OBSERVATIONS])


def run_sha256(folder: Path) -> str:
    """The hash that identifies a checked run: that of its record, which holds those of its tensors."""
    return _sha256((folder / RECORD).read_bytes())


def _read_tensors(folder: Path, entry: Mapping[str, str]) -> dict[str, Any]:
    path = folder / Path(entry["file"]).name
    try:
        blob = path.read_bytes()
    except OSError as exc:
        raise IntegrityError(f"cannot read {path}: {exc.strerror}", hint=_HINT) from exc
    if _sha256(blob) != entry["sha256"]:
        raise IntegrityError(f"{path} does not match its hash", hint=_HINT)
    try:
        return unpack(blob)
    except ValueError as exc:
        raise IntegrityError(f"{path} is damaged: {exc}", hint=_HINT) from exc


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
