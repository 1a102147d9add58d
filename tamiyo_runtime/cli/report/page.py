"""The page every report is written on: sections of prose, tables and inline SVG, in one HTML file."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

_STYLE = """
:root { --ink:#1c2430; --soft:#5b6675; --line:#dfe4ea; --paper:#fff; --wash:#f5f7f9; --good:#1f7a4d; --bad:#b3372f; }
* { box-sizing:border-box }
body { margin:0; background:var(--wash); color:var(--ink) }
body { font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif }
main { max-width:1020px; margin:0 auto; padding:32px 20px 64px }
h1 { font-size:28px; margin:0 0 4px; letter-spacing:-.01em } h2 { font-size:19px; margin:0 0 6px }
p { margin:6px 0 12px; max-width:76ch } .lead { color:var(--soft); margin-bottom:24px }
section { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:20px 24px; margin:18px 0 }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(165px,1fr)); gap:12px; margin:18px 0 }
.card { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:12px 16px }
.card b { display:block; font-size:22px; font-variant-numeric:tabular-nums }
.card span { color:var(--soft); font-size:13px }
.good b { color:var(--good) } .bad b { color:var(--bad) }
figure { margin:8px 0 } figure svg { width:100%; height:auto }
figcaption, .note { color:var(--soft); font-size:13px }
.scroll { overflow-x:auto }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; margin:6px 0 }
th,td { text-align:left; padding:5px 12px 5px 0; border-bottom:1px solid var(--line); white-space:nowrap }
th { color:var(--soft); font-weight:600; font-size:13px } td.n, th.n { text-align:right }
td.w { white-space:normal }
code { background:var(--wash); border:1px solid var(--line); border-radius:4px; padding:1px 5px; font-size:13px }
"""

_LONG = 48  # characters from which on a cell may break its line


@dataclass(frozen=True, slots=True)
class Card:
    """A headline figure. ``good`` colours it: True green, False red, None plain."""

    value: str
    label: str
    good: bool | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; a column whose cells are all figures is set flush right."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    """An inline SVG with its caption."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of the page."""

    title: str
    text: str = ""
    parts: Sequence[Table | Figure] = field(default_factory=tuple)
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
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
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
        parts.append(_table(part) if isinstance(part, Table) else _figure(part))
    if section.note:
        parts.append(f'<p class="note">{html.escape(section.note)}</p>')
    return f"<section>{''.join(parts)}</section>"


def _figure(figure: Figure) -> str:
    # The SVG comes from our own plots and is the one thing that is not escaped.
    return f"<figure>{figure.svg}<figcaption>{html.escape(figure.caption)}</figcaption></figure>"


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
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(text: str, kind: str) -> str:
    wrapped = kind or (' class="w"' if len(text) > _LONG else "")
    return f"<td{wrapped}>{html.escape(text)}</td>"
