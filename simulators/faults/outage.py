"""No power for a while: the board is off, forgets what is in its memory, and starts again.

`PowerLost` is no Exception: what handles failures of graphs, links or samples must not handle this one, since nothing
of a program is left that could. Who simulates the board catches it, throws the program's state away and begins again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from tamiyo_runtime.contracts.document import require, require_finite

BOOT_S = 20.0
"""From power to the first sample where nobody says otherwise: a Raspberry Pi 4 with its system on a card (estimate)."""

_LONGEST_S = 3.2e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Without power from ``at_s`` for ``for_s``; then the board takes ``boot_s`` until it works again."""

    at_s: float
    for_s: float
    boot_s: float = BOOT_S

    def __post_init__(self) -> None:
        require_finite(at_s=self.at_s, for_s=self.for_s, boot_s=self.boot_s)
        for name, value in (("at_s", self.at_s), ("for_s", self.for_s), ("boot_s", self.boot_s)):
            require(0 <= value <= _LONGEST_S, name, f"must be in [0, {_LONGEST_S:g}] s, a century, got {value:g}")

    @property
    def back_s(self) -> float:
        """When there is power again."""
        return self.at_s + self.for_s


def apart(outages: Iterable[Outage]) -> list[Outage]:
    """The outages in order of their beginnings; those that overlap or touch are one, with the boot of the last one."""
    result: list[Outage] = []
    for outage in sorted(outages, key=lambda outage: outage.at_s):
        if result and outage.at_s <= result[-1].back_s:
            first = result.pop()
            last = max(first, outage, key=lambda one: one.back_s)
            result.append(Outage(at_s=first.at_s, for_s=last.back_s - first.at_s, boot_s=last.boot_s))
        else:
            result.append(outage)
    return result


class PowerLost(BaseException):
    """The board is off since ``at_s`` until ``back_s``, infinite for ever; then it boots for ``boot_s``."""

    def __init__(self, *, at_s: float, back_s: float, boot_s: float, why: str) -> None:
        until = f"until {back_s:.1f} s" if math.isfinite(back_s) else "for good"
        super().__init__(f"{why}: without power from {at_s:.1f} s {until}")
        self.at_s, self.back_s, self.boot_s, self.why = at_s, back_s, boot_s, why

    @property
    def for_good(self) -> bool:
        """Whether there will be no power again."""
        return math.isinf(self.back_s)
