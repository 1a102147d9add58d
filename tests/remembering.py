"""Converters and quantisers that answer from memory when they are asked the same again, by content, in one process.

Converting takes most of the time of an export, and these tests export the same small network for many targets. What is
remembered are answers of the real tools; all else of an export is done each time.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from exporters.backends import onnx, qdq, quantiser, tflite

CONVERTERS = ((tflite, "convert"), (onnx, "convert"), (onnx, "convert_gated"))
QUANTISERS = ((quantiser, "measure"), (quantiser, "quantise"), (quantiser, "quantise_alone"), (qdq, "quantise"))


@contextmanager
def remembering() -> Iterator[None]:
    """The tools remember as long as this lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (*CONVERTERS, *QUANTISERS):
            patch.setattr(module, name, remembered(getattr(module, name)))
        yield


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """A pure function with a memory. Of an example, which is an argument that is a tensor, its shape is what counts.

    What cannot be pickled, such as an object of a local class, is not remembered.
    """
    known: dict[bytes, Any] = {}

    def call(*arguments: Any, **rest: Any) -> Any:
        shown = [(str(v.dtype), tuple(v.shape)) if isinstance(v, torch.Tensor) else v for v in arguments]
        try:
            key = _digest((shown, sorted(rest.items())))
        except (pickle.PicklingError, AttributeError, TypeError):
            return function(*arguments, **rest)
        if key not in known:
            known[key] = pickle.dumps(function(*arguments, **rest))
        return pickle.loads(known[key])  # a copy, which callers may change

    call.__wrapped__ = function  # type: ignore[attr-defined]  # for tests in which the tool itself must be asked
    return call


class _ByContent(pickle.Pickler):
    """Tensors by their values; by themselves they would be pickled with the addresses they lie at."""

    def persistent_id(self, item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return None
        return str(item.dtype), tuple(item.shape), item.detach().numpy().tobytes()


def _digest(what: Any) -> bytes:
    buffer = io.BytesIO()
    _ByContent(buffer).dump(what)
    return hashlib.sha256(buffer.getvalue()).digest()
