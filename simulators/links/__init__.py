"""Simulated links, registered by name with the runtime's link registry."""

from __future__ import annotations

from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError
from tamiyo_runtime.link import Link, links

_CONTACT_OPTIONS = ("period_s", "length_s")


def open_link(text: str) -> Link:
    """The link that NAME or NAME+contact?period_s=S&length_s=S names.

    Raises UnknownNameError for a name or an option that is none, UsageError for a value.
    """
    import simulators.links.contact
    import simulators.links.lora  # noqa: F401  both file themselves in the registry

    name, _, query = text.partition("?")
    kind = links.get(name)
    options = dict(part.partition("=")[::2] for part in query.split("&") if part)
    if options and not name.endswith("+contact"):
        raise UsageError(f"{name} has no options", hint=f"leave out ?{query}")
    for option in options:
        if option not in _CONTACT_OPTIONS:
            raise UnknownNameError(f"option of {name}", option, _CONTACT_OPTIONS)
    try:
        return kind(**{option: float(value) for option, value in options.items()})
    except ValueError as exc:
        raise UsageError(
            f"--link {text}: {exc}", hint=f"as in {name}?period_s=3600&length_s=60, the length shorter than the period"
        ) from exc
