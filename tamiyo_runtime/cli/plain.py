"""Reads a command line of the plain kind from a command's signature, without Typer's machinery.

Typer turns words into values with pydantic, which costs every start 70 ms and every running process 9 MiB, and a board
pays that for as long as it runs. The signature says all that is needed for a command line without a mistake. Whatever
is not plain, be it help, a mistake or a form that this does not know, is left to Typer, which reads it from the start
and says what is wrong: this never judges, and a test holds both to the same values.
"""

from __future__ import annotations

import inspect
import os
import re
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from typer.models import ArgumentInfo, ParameterInfo

_INT = re.compile(r"0|-?[1-9][0-9]{0,17}")
_FLOAT = re.compile(r"-?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})(e[+-]?[0-9]{1,2})?")
_KINDS = (str, int, float, bool, Path)


class _NotPlainError(Exception):
    """Typer has to read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameter:
    """One parameter of a command: the type of a value, whether it takes several, and what was declared of it."""

    name: str
    kind: type
    many: bool
    required: bool
    info: ParameterInfo


def read(function: Callable[..., Any], arguments: Sequence[str]) -> dict[str, Any] | None:
    """Keyword arguments for a command's function, what is not given left out; None where Typer must read them."""
    try:
        return _read(list(_parameters(function)), arguments)
    except _NotPlainError:
        return None


def _read(parameters: Sequence[_Parameter], arguments: Sequence[str]) -> dict[str, Any]:
    places = [item for item in parameters if isinstance(item.info, ArgumentInfo)]
    options = {word: (item, on) for item in parameters if item not in places for word, on in _words(item)}
    values: dict[str, Any] = {}
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            if not places:
                raise _NotPlainError
            parameter = places.pop(0)
            value = _value(parameter, word)
        else:
            name, equals, text = word.partition("=")
            if name not in options:
                raise _NotPlainError
            parameter, on = options[name]
            if parameter.kind is bool:
                if equals:
                    raise _NotPlainError
                value = on
            else:
                value = _value(parameter, text if equals else next(words, ""))
        if parameter.many:
            values.setdefault(parameter.name, []).append(value)
        else:
            values[parameter.name] = value
    if any(item.required and item.name not in values for item in parameters):
        raise _NotPlainError
    return values


def _parameters(function: Callable[..., Any]) -> Iterator[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints.get(name)
        if get_origin(hint) is not Annotated:
            raise _NotPlainError
        declared, *extras = get_args(hint)
        if len(extras) != 1 or not isinstance(extras[0], ParameterInfo):
            raise _NotPlainError
        if get_origin(declared) in {Union, types.UnionType}:
            one = [item for item in get_args(declared) if item is not types.NoneType]
            declared = one[0] if len(one) == 1 else None
        many = get_origin(declared) is list
        kind = get_args(declared)[0] if many else declared
        if kind not in _KINDS or (many and (kind is bool or isinstance(extras[0], ArgumentInfo))):
            raise _NotPlainError
        required = parameter.default is inspect.Parameter.empty
        yield _Parameter(name=name, kind=kind, many=many, required=required, info=extras[0])


def _words(parameter: _Parameter) -> Iterator[tuple[str, bool]]:
    """The options that set a parameter, and for a flag what each sets it to."""
    info = parameter.info
    own = f"--{parameter.name.replace('_', '-')}"
    first = [info.default] if isinstance(info.default, str) else []  # where Typer puts a name given in Annotated
    given = [*first, *(info.param_decls or ())]
    for word in given or [own]:
        if not word.startswith("--") or "/" in word:
            raise _NotPlainError
        yield word, True
    if parameter.kind is bool and not given:
        yield f"--no-{own[2:]}", False


def _value(parameter: _Parameter, text: str) -> str | int | float | Path:
    """A word as a value. A word that begins with a dash may be a number, but is more often a mistake."""
    info = parameter.info
    if not text or not text.isprintable() or (text.startswith("-") and parameter.kind not in {int, float}):
        raise _NotPlainError
    if parameter.kind is Path:
        path = Path(os.path.realpath(text) if info.resolve_path else text)  # noqa: PTH - as Typer resolves it
        if info.exists or info.writable or (path.exists() and not os.access(path, os.R_OK)):
            raise _NotPlainError
        return path
    if parameter.kind is str:
        return text
    if not (_INT if parameter.kind is int else _FLOAT).fullmatch(text):
        raise _NotPlainError
    value: int | float = parameter.kind(text)
    if (info.min is not None and value < info.min) or (info.max is not None and value > info.max):
        raise _NotPlainError
    return value
