"""The links there are, as data and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def catalogue() -> list[dict[str, Any]]:
    """Every link with its default options; what a link does not say is None."""
    from simulators.links import known_links

    entries = []
    for name, kind in known_links():
        link = kind()
        rate = link.sustainable_bytes_per_s()
        entries.append(
            {
                "link": name,
                "label": link.label,
                "options": list(getattr(kind, "options", ())),
                "example": getattr(kind, "example", None),
                "payload_bytes": link.max_payload_bytes(),
                "sustainable_bytes_per_s": rate if math.isfinite(rate) else None,
                "carries_single_samples": link.way(0.0).carries_raw or math.isfinite(link.changes_at_s(0.0)),
                "sources": dict(getattr(link, "sources", {})),
            }
        )
    return entries


def show_catalogue(entries: Sequence[dict[str, Any]]) -> None:
    """A table, and each set of sources once, with the links it belongs to."""
    from tamiyo_runtime.cli.render import labelled, say, table

    rows = []
    for entry in entries:
        rate = entry["sustainable_bytes_per_s"]
        rows.append(
            [
                entry["link"],
                entry["payload_bytes"],
                "no limit" if rate is None else f"{rate:.3g}" if rate < 1000 else f"{rate:.0f}",
                "yes" if entry["carries_single_samples"] else "no",
                ", ".join(entry["options"]) or None,
            ]
        )
    table(["link", "payload, bytes", "for ever, bytes/s", "single samples", "options"], rows)
    say("all but ethernet are simulated; rates are for full payloads, one after another, with the default options")
    names: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for entry in entries:
        names.setdefault(tuple(sorted(entry["sources"].items())), []).append(entry["link"])
    for sources, of in names.items():
        if sources:
            say()
            say(labelled("", f"Sources of {', '.join(of)}:"))
            for part, text in sources:
                say(labelled(f"  {part}: ", text))
    say()
    say("Next:  tamiyo link trace 'lte?seed=1' | tamiyo link relay --to 127.0.0.1:1883 --link lte")
