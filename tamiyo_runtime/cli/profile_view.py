"""A device profile on a terminal of 100 columns, and as data for programs."""

from __future__ import annotations

import textwrap
from typing import Any

from device_profiles import errors_table
from device_profiles.figures import Basis
from device_profiles.points import POINT
from device_profiles.points import SECTION as POINTS
from device_profiles.profile import Profile
from device_profiles.sections import SECTIONS
from tamiyo_runtime.cli.render import WIDTH, format_table, labelled
from tamiyo_runtime.contracts.document import dump


def full(profile: Profile) -> str:
    """Everything that a profile says, section by section."""
    citations = list(dict.fromkeys(figure.citation for figure in profile.figures.values()))
    figures = format_table(
        ("figure", "value", "low", "high", "unit", "basis", "source"),
        [
            (
                name,
                _number(f.value),
                None if f.citation.basis is Basis.CHOICE else _number(f.low),
                None if f.citation.basis is Basis.CHOICE else _number(f.high),
                f.unit,
                f.citation.basis,
                citations.index(f.citation) + 1,
            )
            for name, f in profile.figures.items()
        ],
    )
    sources = "\n".join(labelled(f"{number:>4}  ", citation.text) for number, citation in enumerate(citations, 1))
    return "\n\n".join(
        [
            f"{_wrapped(f'{profile.id} r{profile.revision}  {profile.title}')}\nsha256 {profile.sha256}",
            _wrapped(profile.notes.strip()),
            figures,
            f"Sources:\n{sources}",
            f"How networks are compiled for it:\n{_export(profile)}",
            f"How far off its estimates were found (stated: {errors_table.interval(profile)} in nine of ten cases):\n"
            f"{_checks(profile)}",
        ]
    )


def listing(profiles: list[Profile]) -> str:
    """One line a profile: its stated interval, and the error found, of the first check of latencies."""
    return format_table(
        ("id", "rev", "interval (90 %)", "error of latency found"),
        [(p.id, p.revision, errors_table.interval(p), _first_error(p)) for p in profiles],
    )


def record(profile: Profile) -> dict[str, Any]:
    """The whole profile for programs."""
    return {
        **head(profile),
        "notes": profile.notes,
        "sha256": profile.sha256,
        "figures": {name: {**dump(figure), "meaning": _meaning(name)} for name, figure in profile.figures.items()},
        "export": dump(profile.export),
    }


def head(profile: Profile) -> dict[str, Any]:
    """What a list of profiles holds of each, for programs."""
    return {
        "id": profile.id,
        "revision": profile.revision,
        "title": profile.title,
        "relative_error": profile.value("model.relative_error"),
        "validation": [dump(block) for block in profile.validation],
    }


def _export(profile: Profile) -> str:
    hints = profile.export
    rows = {
        "variants": ", ".join(hints.variants),
        "layout": hints.layout,
        "operator table": hints.operator_table,
        "compiler": hints.compiler,
        "options": ", ".join(f"{key} = {value}" for key, value in hints.options.items()) or None,
    }
    return "\n".join(labelled(f"  {key:<15} ", value) for key, value in rows.items() if value)


def _checks(profile: Profile) -> str:
    lines = []
    for block in profile.validation:
        lines.append(labelled(f"  {block.figure:<8}", f"{errors_table.found(block)}"))
        lines.append(labelled(" " * 10, block.against + (f"; {block.note}" if block.note else "")))
    return "\n".join(lines) or f"  {errors_table.UNCHECKED}"


def _first_error(profile: Profile) -> str:
    latencies = [block for block in profile.validation if block.figure == "latency"]
    return errors_table.found(latencies[0]) if latencies else "not checked against any row of it"


def _number(value: float) -> str:
    """Whole numbers in full, since they are counts; of others what is known of them at best."""
    return f"{value:.0f}" if value == int(value) else f"{value:.5g}"


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False)


def _meaning(name: str) -> str:
    section, _, key = name.rpartition(".")
    if section.startswith(f"{POINTS}."):
        return POINT[key].meaning
    return SECTIONS[section][key].meaning
