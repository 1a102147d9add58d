"""Networks that come with the package: weights, and a card beside them that says which they are."""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from typing import Any

from tamiyo_runtime.contracts.errors import IntegrityError

_ANEW = "install the package anew"


def card(package: str, name: str) -> dict[str, Any]:
    """The card of a network in a package. Raises IntegrityError when it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(_body(package, f"{name}.json"))
    except ValueError as exc:
        raise IntegrityError(f"the card of the shipped {name} is damaged: {exc}", hint=_ANEW) from exc
    return found


def weights(package: str, name: str) -> bytes:
    """Its weights, safetensors. Raises IntegrityError when they cannot be read or are not those of the card."""
    body = _body(package, f"{name}.safetensors")
    if hashlib.sha256(body).hexdigest() != card(package, name).get("weights_sha256"):
        raise IntegrityError(f"the weights of the shipped {name} are not those of its card", hint=_ANEW)
    return body


def _body(package: str, file: str) -> bytes:
    try:
        return (files(package) / file).read_bytes()
    except OSError as exc:
        raise IntegrityError(f"what comes with the package cannot be read: {exc}", hint=_ANEW) from exc
