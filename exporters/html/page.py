"""The page every report is written on: sections of prose, tables and inline SVG, in one HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

from exporters.html.style import STYLE

_LONG = 48  # characters from which on a cell may break its line


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure. ``good`` colours it: True green, False red, None plain."""

    value: str
    label: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; a column whose cells are all figures is set flush right. ``fold``: closed below this heading."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    fold: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """An inline SVG with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Text as it is written, line by line, closed below its heading."""

    text: str
    fold: str


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page."""

    title: str
    text: str = ""
    parts: Sequence[Table | Figure | Listing] = field(default_factory=tuple)
    note: str = ""


def page(title: str, lead: str, cards: Sequence[Card], sections: Sequence[Section]) -> str:
    """The whole HTML document."""
    body = [f"<h1>{html.escape(title)}</h1>", f'<p class="lead">{html.escape(lead)}</p>']
    body.append(f'<div class="cards">{"".join(_card(card) for card in cards)}</div>')
    body += [_section(section) for section in sections]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _card(card: Card) -> str:
    tone = "" if card.good is None else " good" if card.good else " bad"
    return f'<div class="card{tone}"><b>{html.escape(card.value)}</b><span>{html.escape(card.label)}</span></div>'


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    for part in section.parts:
        parts.append(_part(part))
    if section.note:
        parts.append(f'<p class="note">{html.escape(section.note)}</p>')
    return f"<section>{''.join(parts)}</section>"


def _part(part: Table | Figure | Listing) -> str:
    if isinstance(part, Listing):
        body = f"<pre>{html.escape(part.text)}</pre>"
        return f"<details><summary>{html.escape(part.fold)}</summary>{body}</details>"
    return _table(part) if isinstance(part, Table) else _figure(part)


def _figure(figure: Figure) -> str:
    # The SVG comes from our own plots and is the one thing that is not escaped.
    return (
        f'<figure><div class="scroll">{figure.svg}</div><figcaption>{html.escape(figure.caption)}</figcaption></figure>'
    )


def _table(table: Table) -> str:
    numeric = [
        all(row[i][:1].isdigit() or row[i][:1] in "-+." for row in table.rows if row[i]) and bool(table.rows)
        for i in range(len(table.headers))
    ]
    kinds = [' class="n"' if flag else "" for flag in numeric]
    head = "".join(f"<th{kind}>{html.escape(h)}</th>" for h, kind in zip(table.headers, kinds, strict=True))
    rows = "".join(
        f"<tr>{''.join(_cell(cell, kind) for cell, kind in zip(row, kinds, strict=True))}</tr>" for row in table.rows
    )
    body = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f"<details><summary>{html.escape(table.fold)}</summary>{body}</details>" if table.fold else body


def _cell(text: str, kind: str) -> str:
    wrapped = kind or (' class="w"' if len(text) > _LONG else "")
    return f"<td{wrapped}>{html.escape(text)}</td>"
