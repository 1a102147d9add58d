"""Values as a JSON-ready document and tensors beside it, and back, bit by bit; the type says what is expected.

``encode`` takes frozen dataclasses, enums, tuples, lists, mappings, scalars, tensors and numpy arrays, nested at will.
A tensor is put aside under its path and leaves that path in the document. ``decode`` builds the same value from a type
hint. Whatever neither knows raises: what cannot be kept must not be lost in silence.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from tamiyo_runtime.contracts.errors import SchemaError, TamiyoError

Tensors = dict[str, torch.Tensor]
_JSON = (bool, int, str, type(None))


def encode(value: Any, tensors: Tensors, *, path: str = "") -> Any:
    """The value as JSON-ready data; tensors are added to ``tensors``. Raises TamiyoError on what it cannot keep."""
    if isinstance(value, torch.Tensor | np.ndarray):
        kept = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        tensors[path] = kept.detach().clone().contiguous()
        return path
    if dataclasses.is_dataclass(value):
        return {f.name: encode(getattr(value, f.name), tensors, path=f"{path}/{f.name}") for f in _fields(type(value))}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item, tensors, path=f"{path}/{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, tensors, path=f"{path}/{index}") for index, item in enumerate(value)]
    if isinstance(value, float):  # numpy's scalars among them
        return float(value) if math.isfinite(value) else repr(float(value))
    if isinstance(value, _JSON):
        return value
    raise TamiyoError(f"{path}: a {type(value).__name__} cannot be kept", hint="teach tamiyo_train/codec.py about it")


def decode(hint: Any, data: Any, tensors: Mapping[str, torch.Tensor], *, path: str = "") -> Any:
    """The value that `encode` was given; raises SchemaError when the data is not of the type."""
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if hint is Any or hint is object:
        return data
    if origin in (types.UnionType, typing.Union):
        return _decode_optional(arguments, data, tensors, path)
    if not isinstance(origin, type):
        raise TamiyoError(f"{path}: {hint} cannot be kept", hint="teach tamiyo_train/codec.py about it")
    if issubclass(origin, torch.Tensor | np.ndarray):
        if data not in tensors:
            raise SchemaError(path, "its tensor is missing")
        tensor = tensors[data].clone()
        return tensor if issubclass(origin, torch.Tensor) else tensor.numpy()
    if dataclasses.is_dataclass(origin):
        return _decode_dataclass(origin, data, tensors, path)
    if issubclass(origin, enum.Enum):
        return origin(data)
    if issubclass(origin, Mapping):
        return _decode_mapping(arguments, data, tensors, path)
    if issubclass(origin, list | tuple):
        return _decode_sequence(origin, arguments, data, tensors, path)
    return _decode_scalar(origin, data, path)


def _decode_optional(arguments: Sequence[Any], data: Any, tensors: Mapping[str, torch.Tensor], path: str) -> Any:
    options = [option for option in arguments if option is not type(None)]
    if data is None and len(options) < len(arguments):
        return None
    if len(options) > 1:
        raise TamiyoError(f"{path}: a union of {options} cannot be kept", hint="give the field one type")
    return decode(options[0], data, tensors, path=path)


def _decode_dataclass(cls: type, data: Any, tensors: Mapping[str, torch.Tensor], path: str) -> Any:
    hints = _hints(cls)
    if not isinstance(data, Mapping) or data.keys() != hints.keys():
        found = sorted(data) if isinstance(data, Mapping) else type(data).__name__
        raise SchemaError(path, f"{cls.__name__} has the fields {sorted(hints)}, found {found}")
    return cls(**{name: decode(hint, data[name], tensors, path=f"{path}/{name}") for name, hint in hints.items()})


def _decode_mapping(
    arguments: Sequence[Any], data: Any, tensors: Mapping[str, torch.Tensor], path: str
) -> dict[Any, Any]:
    if not isinstance(data, Mapping):
        raise SchemaError(path, "expected an object")
    key, item = arguments
    return {key(name): decode(item, value, tensors, path=f"{path}/{name}") for name, value in data.items()}


def _decode_sequence(
    origin: type, arguments: Sequence[Any], data: Any, tensors: Mapping[str, torch.Tensor], path: str
) -> Any:
    if not isinstance(data, list):
        raise SchemaError(path, "expected a list")
    alike = len(arguments) == 1 or arguments[1:] == (Ellipsis,)
    hints = [arguments[0]] * len(data) if alike else list(arguments)
    if len(hints) != len(data):
        raise SchemaError(path, f"expected {len(hints)} items, got {len(data)}")
    pairs = enumerate(zip(hints, data, strict=True))
    return origin(decode(hint, item, tensors, path=f"{path}/{index}") for index, (hint, item) in pairs)


def _decode_scalar(cls: type, data: Any, path: str) -> Any:
    if cls is float and data in ("nan", "inf", "-inf"):
        return float(data)
    if cls is float and type(data) is int:
        return float(data)
    if type(data) is not cls:
        raise SchemaError(path, f"expected {cls.__name__}, got {data!r}")
    return data


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(cls)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in _fields(cls)}
