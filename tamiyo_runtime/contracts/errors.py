"""Every error a user can meet, grouped by who can fix it.

    TamiyoError                exit 1   a defect of ours, if it ever surfaces bare
     +- UsageError             exit 2   the user mends the command, the file or the configuration
     |   +- UnknownNameError            a misspelt target, link, option: near names in the hint
     |   +- InputError                  a file or sample that cannot be used: missing, wrong shape, NaN
     |   +- SchemaError                 data that breaks a contract; `path` says where
     |       +- SchemaVersionError      written by a newer tamiyo than this one
     +- BudgetError            exit 3   the budget or the accuracy floor is not met
     |   +- AccuracyFloorError
     +- IncompatibleError      exit 4   this network cannot run on that target
     +- MissingDependencyError exit 5   something must be installed first
     |   +- MissingExtraError           a Python extra; the hint is the command to type
     |   +- MissingToolError            a program that is not on PATH
     +- IntegrityError         exit 6   a file is not what it claims to be
         +- SignatureError              not signed, wrong key, or unknown signer
         +- DowngradeError              an older version than ran here before

A message says what happened, with the values; the hint says what to do about it.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit status of every command."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    BUDGET = 3
    INCOMPATIBLE = 4
    MISSING = 5
    INTEGRITY = 6


class TamiyoError(Exception):
    """Base of every error raised on purpose. ``hint`` is shown on its own line below the message."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it holds: an error of another process is made again without calling its constructor."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # not in its stub


class UsageError(TamiyoError):
    """The command, a file or the configuration needs mending."""

    exit_code = ExitCode.USAGE


class UnknownNameError(UsageError):
    """A name that nothing is registered under."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        if near:
            hint = f"did you mean {' or '.join(near)}?"
        else:
            hint = f"known: {', '.join(names)}" if names else f"no {kind} is registered"
        super().__init__(f"unknown {kind} '{name}'", hint=hint)
        self.near = tuple(near)


class InputError(UsageError):
    """A file, folder or sample that cannot be used."""


class SchemaError(UsageError):
    """Data that breaks a contract. ``path`` points into the document, as in ``plan.segments[2].name``."""

    def __init__(self, path: str, problem: str, *, hint: str | None = None) -> None:
        super().__init__(f"{path}: {problem}", hint=hint)
        self.path = path


class SchemaVersionError(SchemaError):
    """A document of a later schema version than this tamiyo reads."""


class BudgetError(TamiyoError):
    """A budget that cannot be met."""

    exit_code = ExitCode.BUDGET


class AccuracyFloorError(BudgetError):
    """The exported network is less accurate than the floor asked for."""


class IncompatibleError(TamiyoError):
    """The network cannot run on the target."""

    exit_code = ExitCode.INCOMPATIBLE


class MissingDependencyError(TamiyoError):
    """Something must be installed first."""

    exit_code = ExitCode.MISSING


class MissingExtraError(MissingDependencyError):
    """A Python package of an extra is not installed."""

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"the Python module '{module}' is not installed",
            hint=f"type: pip install 'tamiyo-edge[{extra}]'",
        )
        self.module = module
        self.extra = extra


class MissingToolError(MissingDependencyError):
    """A program is not on PATH."""


class IntegrityError(TamiyoError):
    """A file is corrupt, truncated or not what its manifest says."""

    exit_code = ExitCode.INTEGRITY


class SignatureError(IntegrityError):
    """A signature is missing, wrong, or by a key that is not trusted."""


class DowngradeError(IntegrityError):
    """A bundle of a lower version than one that ran on this device before."""
