"""What is written behind ``--source``: KIND, KIND:REST, KIND://REST or a path, each with ``?OPTION=VALUE&...``."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from tamiyo_runtime.contracts.errors import InputError, UnknownNameError

_KIND = re.compile(r"([A-Za-z][A-Za-z0-9_+-]*)(://|:|\?|$)")
_ALIASES = {"-": "stdin"}
_BY_SUFFIX = {".csv": "csv"}
_ANY_PATH = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A source's name, taken apart. ``body`` is what comes between the kind and the options."""

    text: str
    kind: str
    body: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, kinds: Iterable[str]) -> Address:
        """Take apart; raises UnknownNameError with near names for a kind that is none, InputError for bad options."""
        known = sorted(kinds)
        text = _ALIASES.get(text, text)
        match = _KIND.match(text)
        named = match is not None and match[1] in known and match[1] != _ANY_PATH
        if match is not None and (named or match[2] == "://"):
            if not named:
                raise UnknownNameError("source", match[1], [name for name in known if name != _ANY_PATH])
            rest = text[match.end(1) :].removeprefix(":").removeprefix("//")
            body, _, query = rest.partition("?")
            return cls(text=text, kind=match[1], body=body, options=_options(query, text))
        body, _, query = (text, "", "") if Path(text).exists() else text.partition("?")
        path = Path(body)
        if match is not None and not path.exists() and difflib.get_close_matches(match[1], known, n=1, cutoff=0.7):
            raise UnknownNameError("source", match[1], known)
        kind = _BY_SUFFIX.get(path.suffix, _ANY_PATH)
        if kind == _ANY_PATH:
            return cls(text=text, kind=kind, body=text)
        return cls(text=text, kind=kind, body=body, options=_options(query, text))

    def only(self, *names: str) -> None:
        """Raise UnknownNameError for an option that is none of these."""
        for name in self.options:
            if name not in names:
                raise UnknownNameError(f"option of {self.kind}", name, names)

    def number(self, name: str, default: float, *, low: float, high: float) -> float:
        """A number within bounds; raises InputError."""
        text = self.options.get(name)
        if text is None:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise InputError(
                f"{self.text}: {name}={text} is no number from {low:g} to {high:g}",
                hint=f"as in {name}={default:g}; leave it out for {default:g}",
            )
        return value

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number within bounds; raises InputError."""
        value = self.number(name, default, low=low, high=high)
        if value != int(value):
            raise InputError(f"{self.text}: {name}={value:g} is no whole number", hint=f"as in {name}={default}")
        return int(value)

    def choice(self, name: str, default: str, allowed: Sequence[str]) -> str:
        """One of some words; raises UnknownNameError with near ones."""
        value = self.options.get(name, default)
        if value not in allowed:
            raise UnknownNameError(name, value, allowed)
        return value


def _options(query: str, text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        name, equals, value = part.partition("=")
        if not name or not equals or name in found:
            raise InputError(f"{text}: '{part}' is no option, or is given twice", hint="write ?NAME=VALUE&NAME=VALUE")
        found[name] = unquote(value)
    return found
