"""Simulated links, registered by name with the runtime's link registry."""

from __future__ import annotations

from simulators.options import number, parse_options
from tamiyo_runtime.contracts.errors import UnknownNameError, UsageError
from tamiyo_runtime.contracts.registry import Registry
from tamiyo_runtime.link import Link, links


def open_link(text: str) -> Link:
    """The link that NAME or NAME?OPTION=NUMBER&... names; a link class lists its options and an example of them.

    Raises UnknownNameError for a name or an option that is none, UsageError for a value.
    """
    registry = known_links()
    name, _, query = text.partition("?")
    kind = registry.get(name)
    where, example = f"--link {text}", f"{name}?{getattr(kind, 'example', '')}"
    options = parse_options(query, where=where)
    legal: tuple[str, ...] = getattr(kind, "options", ())
    if options and not legal:
        raise UsageError(f"{name} has no options", hint=f"leave out ?{query}")
    for option in options:
        if option not in legal:
            raise UnknownNameError(f"option of {name}", option, legal)
    numbers = {option: number(value, option, where=where, example=example) for option, value in options.items()}
    try:
        return kind(**numbers)
    except ValueError as exc:
        raise UsageError(f"{where}: {exc}", hint=f"as in {example}") from exc


def known_links() -> Registry[type[Link]]:
    """The registry, with the simulated links in it."""
    import simulators.links.cellular
    import simulators.links.contact
    import simulators.links.lora  # noqa: F401  all file themselves in the registry

    return links
