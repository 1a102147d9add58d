"""SVG written by hand, as little of it as the reports need. Colours are classes of the page, so that dark mode works.

Coordinates are rounded to a tenth, so that the same data give the same bytes on every machine; all text is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

WIDTH = 760.0


class Drawing:
    """An SVG under construction: shapes are added in the order they are painted. ``title`` is for screen readers."""

    def __init__(self, height: float, *, title: str, width: float = WIDTH) -> None:
        self._head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_n(width)} {_n(height)}" role="img" class="own" '
            f'aria-label="{html.escape(title)}">'
        )
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str, *, dashed: bool = False) -> None:
        """A line; ``style`` names classes of the page."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._parts.append(f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{style}"{dash}/>')

    def box(self, x: float, y: float, width: float, height: float, style: str, *, tip: str = "") -> None:
        """A rectangle with round corners; ``tip`` is shown when it is pointed at."""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.5))}" height="{_n(height)}" rx="3" '
            f'class="{style}">{_tip(tip)}</rect>'
        )

    def dot(self, x: float, y: float, style: str, *, radius: float = 4.5, tip: str = "") -> None:
        """A circle."""
        where = f'cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"'
        self._parts.append(f'<circle {where} stroke-width="1.6" class="{style}">{_tip(tip)}</circle>')

    def path(
        self,
        points: Sequence[tuple[float, float]],
        style: str,
        *,
        dashed: bool = False,
        closed: bool = False,
        tip: str = "",
    ) -> None:
        """A line through points, or the area within."""
        shape, dash = "polygon" if closed else "polyline", ' stroke-dasharray="6 4"' if dashed else ""
        where = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
        self._parts.append(f'<{shape} points="{where}" class="{style}"{dash}>{_tip(tip)}</{shape}>')

    def text(self, x: float, y: float, text: str, style: str = "") -> None:
        """Text from ``x`` on; the classes ``mid`` and ``end`` centre it or set it flush right."""
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}" class="{style}">{html.escape(text)}</text>')

    def render(self) -> str:
        """The document, without XML declaration, to be set into a page."""
        return self._head + "".join(self._parts) + "</svg>"


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers from ``low`` to ``high``, at most ``most`` of them, in steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    rough = span / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def shortened(text: str, most: int) -> str:
    """Text of at most ``most`` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def bounds(values: Sequence[float], *, margin: float = 0.06) -> tuple[float, float]:
    """A range that holds all values with some air; never empty."""
    low, high = min(values), max(values)
    air = margin * (high - low) or 0.5 * abs(high) or 1.0
    return low - air, high + air


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _tip(text: str) -> str:
    return f"<title>{html.escape(text)}</title>" if text else ""
