"""Enumerations whose members say in words what they mean: one place for the code, its records and the documentation."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Explained(StrEnum):
    """A member is written ``NAME = "code", "what it means"``."""

    _value_: str
    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> Self:
        """The string ``code`` with its meaning."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member
