"""Units: names say them, this module turns them into text people read.

Durations are ``_s``, ``_ms`` or ``_us``; energies ``_j``, ``_mj`` or ``_uj``; powers ``_mw``; sizes ``_bytes`` or
``_kib``; shares are fractions in [0, 1] unless the name says ``_percent``.
"""

from __future__ import annotations

import math

_SI = ((1e-9, "n"), (1e-6, "u"), (1e-3, "m"), (1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"))


def si(value: float, unit: str, *, digits: int = 3) -> str:
    """``value`` in base units with an SI prefix: ``si(0.00182, "s") == "1.82 ms"``."""
    if not math.isfinite(value):
        return f"{value} {unit}"
    if value == 0:
        return f"0 {unit}"
    magnitude = abs(value)
    scale, prefix = _SI[0]
    for factor, name in _SI:
        if magnitude >= factor * (1 - 0.5 * 10**-digits):
            scale, prefix = factor, name
    return f"{value / scale:.{digits}g} {prefix}{unit}"


def milliseconds(value_ms: float) -> str:
    """A duration given in milliseconds, as text."""
    return si(value_ms * 1e-3, "s")


def duration(seconds: float) -> str:
    """A time in the unit that suits it: ``duration(5400) == "1.5 h"``."""
    if seconds < 1:
        return si(seconds, "s")
    for length, unit in ((86_400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def microjoules(value_uj: float) -> str:
    """An energy given in microjoules, as text."""
    return si(value_uj * 1e-6, "J")


def size(value_bytes: float) -> str:
    """A size as text, in binary units: ``size(2048) == "2 KiB"``."""
    amount, unit = float(value_bytes), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if abs(amount) < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.0f} B" if unit == "B" else f"{amount:.3g} {unit}" if amount < 1000 else f"{amount:.0f} {unit}"


def percent(share: float, *, digits: int = 1) -> str:
    """A fraction as text: ``percent(0.962) == "96.2 %"``."""
    return f"{100 * share:.{digits}f} %"


def factor(relative_error: float) -> str:
    """An interval that is a factor, as shares: ``factor(0.25) == "-20 % to +25 %"``."""
    return f"-{percent(1 - 1 / (1 + relative_error), digits=0)} to +{percent(relative_error, digits=0)}"


def plural(count: int, noun: str) -> str:
    """A number of things in words: ``1 graph``, ``2 graphs``."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
