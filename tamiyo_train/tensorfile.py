"""Tensors and a JSON document in one safetensors file that knows its own hash: whole, or refused. Never a pickle.

The document and the hash of everything are strings in safetensors' own metadata, so any reader of that format can open
the file. The hash is over content, not layout: names, types, shapes, bytes and the document.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.contracts.document import canonical_json, parse_json
from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError, SchemaError
from tamiyo_runtime.files import write_atomic

if TYPE_CHECKING:
    import torch

_DOCUMENT, _SHA256 = "document", "sha256"
_LIMIT_BYTES = 256 << 20
_HEADER = struct.Struct("<Q")


def pack(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Tensors as the bytes of a safetensors file."""
    try:
        from safetensors.torch import save
    except ImportError as exc:
        raise MissingExtraError("safetensors", "train") from exc
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    blob: bytes = save(contiguous, metadata=None if metadata is None else dict(metadata))
    return blob


def unpack(blob: bytes) -> dict[str, torch.Tensor]:
    """The tensors of such bytes; raises ValueError when they are no such file."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load
    except ImportError as exc:
        raise MissingExtraError("safetensors", "train") from exc
    try:
        tensors: dict[str, torch.Tensor] = load(blob)
    except (SafetensorError, KeyError) as exc:
        raise ValueError(str(exc)) from exc
    return tensors


def write(path: Path, document: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Put the file in place, replacing what is there, in one step."""
    text = canonical_json(document).decode()
    blob = pack(tensors, {_DOCUMENT: text, _SHA256: _digest(text, tensors)})
    write_atomic(path, blob, overwrite=True)


def read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Document and tensors of a file; raises IntegrityError naming the file when a bit of it is not as written."""
    try:
        blob = path.read_bytes()
        (length,) = _HEADER.unpack_from(blob)
        metadata = json.loads(blob[_HEADER.size : _HEADER.size + length])["__metadata__"]
        tensors = unpack(blob)
        if metadata[_SHA256] != _digest(metadata[_DOCUMENT], tensors):
            raise ValueError("its contents do not match its hash")  # noqa: TRY301  (told with the other ways)
        document = parse_json(metadata[_DOCUMENT].encode(), limit_bytes=_LIMIT_BYTES)
    except OSError as exc:
        raise IntegrityError(f"cannot read {path}: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError, struct.error, SchemaError) as exc:
        raise IntegrityError(f"{path} is damaged: {exc}") from exc
    return document, tensors


def _digest(text: str, tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
