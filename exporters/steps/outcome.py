"""How a step ended, before the pipeline adds its number and duration."""

from __future__ import annotations

from dataclasses import dataclass

from exporters.report import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Status, one line, and further lines."""

    status: Status
    message: str
    details: tuple[str, ...] = ()


def ok(message: str, *details: str) -> Outcome:
    """A step that went as it should."""
    return Outcome(status=Status.OK, message=message, details=details)


def warn(message: str, *details: str) -> Outcome:
    """A step that went, with something the user should know."""
    return Outcome(status=Status.WARN, message=message, details=details)


def skip(message: str, *details: str) -> Outcome:
    """A step that does not apply, or could not be done here."""
    return Outcome(status=Status.SKIP, message=message, details=details)
