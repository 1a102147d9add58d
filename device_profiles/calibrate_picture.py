"""Predicted against measured, as an SVG: one point a graph, the interval as a band, both axes logarithmic."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from device_profiles.calibrate import Calibration, Prediction
from tamiyo_runtime.contracts.plan import Precision

_SIDE, _MARGIN = 520, 60
_COLOURS = {Precision.INT8: "#0b6e99", Precision.FLOAT32: "#b4540a"}


def picture(calibration: Calibration, *, title: str) -> str:
    """The picture as SVG. Full points were kept out of the fit, empty ones were fitted."""
    ends = [us for item in calibration.predictions for us in (item.measured_us, item.predicted_us)]
    low, high = math.floor(math.log10(min(ends)) * 4) / 4, math.ceil(math.log10(max(ends)) * 4) / 4

    def across(us: float) -> float:
        return _MARGIN + (math.log10(us) - low) / (high - low) * _SIDE

    def down(us: float) -> float:
        return _MARGIN + _SIDE - (math.log10(us) - low) / (high - low) * _SIDE

    def point(item: Prediction) -> str:
        colour = _COLOURS[item.precision]
        fill = colour if item.held_out else "none"
        label = f"{item.id}: measured {item.measured_us:.3g} us, predicted {item.predicted_us:.3g} us"
        return (
            f'<circle cx="{across(item.measured_us):.1f}" cy="{down(item.predicted_us):.1f}" r="3" fill="{fill}" '
            f'stroke="{colour}" stroke-width="1"><title>{escape(label)}</title></circle>'
        )

    spread = 1 + calibration.relative_error
    first, last = 10**low, 10**high
    corners = [(first, first * spread), (last, last * spread), (last, last / spread), (first, first / spread)]
    band = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in corners)
    ticks = [m * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
    lines = []
    for us in (tick for tick in ticks if first <= tick <= last):
        x, y, bottom, right = across(us), down(us), _MARGIN + _SIDE, _MARGIN + _SIDE
        lines.append(f'<path d="M{x:.1f} {_MARGIN}V{bottom}M{_MARGIN} {y:.1f}H{right}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{us:g}</text>')
        lines.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{us:g}</text>')
    size, middle = _SIDE + 2 * _MARGIN, _MARGIN + _SIDE / 2
    shown = (
        f"{calibration.coverage:.0%} of {len(calibration.held_out)} graphs kept out lie in the band, x / {spread:.3g}"
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size} {size}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{size}" height="{size}" fill="#fff"/>',
            f'<clipPath id="frame"><rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}"/></clipPath>',
            *lines,
            f'<g clip-path="url(#frame)"><polygon points="{band}" fill="#0b6e99" opacity="0.12"/></g>',
            f'<path d="M{across(first):.1f} {down(first):.1f}L{across(last):.1f} {down(last):.1f}" stroke="#888"/>',
            *map(point, sorted(calibration.predictions, key=lambda item: item.held_out)),
            f'<text x="{_MARGIN}" y="24" font-size="15">{escape(title)}</text>',
            f'<text x="{_MARGIN}" y="44">{escape(shown)} (full; empty: fitted; blue int8, brown float32)</text>',
            f'<text x="{middle}" y="{size - 16}" text-anchor="middle">measured p50, us</text>',
            f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">predicted, us</text>',
            "</svg>",
            "",
        ]
    )
