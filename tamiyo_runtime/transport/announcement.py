"""What a device says of itself in JSON, birth and state, with a check sum that tells damage from meaning.

A farewell counts the records that were made, and the collector's ledger believes it: a digit that changed on the way
would be a debt for ever. ``check`` is the CRC-32, as 8 hex digits, of the device's name and of the other fields as
compact JSON with sorted keys. It guards against accidents, not against an attacker.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from tamiyo_runtime.contracts.document import check_tame, parse_json, require

CHECK = "check"
LIMIT_BYTES = 4096


def write(said: Mapping[str, Any], device: str) -> bytes:
    """The message of that device."""
    fields = dict(said)
    return json.dumps({**fields, CHECK: _check_sum(fields, device)}, separators=(",", ":")).encode()


def read(payload: bytes, device: str, *, path: str) -> dict[str, Any]:
    """What that device said; raises SchemaError for a message that is damaged, of another device, or no object."""
    said = parse_json(payload, path=path, limit_bytes=LIMIT_BYTES)
    require(isinstance(said, dict), path, "expected an object")
    check_tame(said, path=path)
    fields = {name: value for name, value in said.items() if name != CHECK}
    require(said.get(CHECK) == _check_sum(fields, device), path, "damaged, or of another device")
    return fields


def _check_sum(fields: Mapping[str, Any], device: str) -> str:
    text = json.dumps(fields, separators=(",", ":"), sort_keys=True)
    return f"{zlib.crc32(text.encode(), zlib.crc32(device.encode())):08x}"
