"""What `tamiyo update push` shows: a table that is redrawn on a terminal, a line a step elsewhere, and how it ended."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from tamiyo_runtime.cli.render import format_table, note, say
from tamiyo_runtime.contracts.errors import BudgetError, IntegrityError
from tamiyo_runtime.update.rollout import ENDED, Phase, Standing

if TYPE_CHECKING:
    from tamiyo_runtime.cli.update_push import Result

_ROWS = 20
_HEADERS = ("device", "version", "", "chunks", "remark")
_UNSETTLED_FIRST = {phase: place for place, phase in enumerate(sorted(Phase, key=ENDED.__contains__))}


class View:
    """Shows standings on stderr while they change."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = 0
        self._phases: dict[str, Phase] = {}

    def __enter__(self) -> View:
        return self

    def __exit__(self, *_: object) -> None:
        self._erase()

    def show(self, rows: list[Standing]) -> None:
        """How things stand now."""
        if self._live:
            width = shutil.get_terminal_size().columns  # a line that wraps would be two to erase
            lines = [line[: width - 1] for line in format_table(_HEADERS, _cells(rows)).splitlines()]
            self._erase()
            sys.stderr.write("".join(f"{line}\n" for line in lines))
            sys.stderr.flush()
            self._drawn = len(lines)
            return
        for row in rows:
            if self._phases.get(row.device) is not row.phase:
                self._phases[row.device] = row.phase
                note(f"{row.device}: {row.phase}{f' ({row.remark})' if row.remark else ''}")

    def _erase(self) -> None:
        if self._drawn:
            sys.stderr.write(f"\x1b[{self._drawn}A\x1b[J")
            sys.stderr.flush()
            self._drawn = 0


def show(result: Result) -> None:
    """The table that stays, and what each share came to."""
    command = result.sent.command
    say(f"order            {command.orders[0]}, counter {command.counter}, for {command.device or command.fleet}")
    say(format_table(_HEADERS, _cells(result.rows)))
    for stage in result.stages:
        counts = ", ".join(f"{count} {phase}" for phase, count in sorted(stage.phases.items()))
        say(f"{stage.percent:>3} % of the fleet  {counts}")
    if result.sent_bytes:
        say(f"sent             {result.sent_bytes} bytes of the bundle and its list")
    if result.unreadable:
        say(f"unreadable       {result.unreadable} messages of devices")


def as_data(result: Result) -> dict[str, Any]:
    """The same for programs."""
    command = result.sent.command
    return {
        "order": command.orders[0],
        "counter": command.counter,
        "devices": {
            row.device: {
                "phase": row.phase.value,
                "version": row.version,
                "received": row.received,
                "chunks": row.chunks,
                "remark": row.remark,
            }
            for row in result.rows
        },
        "stages": [
            {"percent": stage.percent, "phases": {phase.value: count for phase, count in sorted(stage.phases.items())}}
            for stage in result.stages
        ],
        "stopped": result.stopped,
        "untried": result.untried,
        "sent_bytes": result.sent_bytes,
        "unreadable": result.unreadable,
    }


def judge(result: Result) -> None:
    """Raise BudgetError when a device went back or has not come to an end, or when none was there; IntegrityError when
    one refused.
    """
    counts = Counter(row.phase for row in result.rows)
    if result.stopped:
        raise BudgetError(
            f"stopped at {result.stages[-1].percent} %: {result.stages[-1].share_back:.0%} went back",
            hint="the offer was withdrawn; what was confirmed stays",
        )
    if counts[Phase.BACK]:
        raise BudgetError(
            f"{counts[Phase.BACK]} of {len(result.rows)} devices went back", hint="the remarks say what failed there"
        )
    if counts[Phase.REFUSED]:
        raise IntegrityError(
            f"{counts[Phase.REFUSED]} of {len(result.rows)} devices refused the order",
            hint="nothing was changed there; the remarks say why",
        )
    if result.rows and all(row.phase in (Phase.AWAY, Phase.DEAF) for row in result.rows):
        raise BudgetError(
            f"none of {len(result.rows)} devices was there",
            hint="the broker keeps the order for those that take orders; push a bundle again when they are back",
        )
    if result.untried:
        raise BudgetError(
            f"stopped at {result.stages[-1].percent} %: nobody tried the bundle there, so nothing is known of it",
            hint="push again when devices that can answer are there, or without --stages",
        )
    waiting = sum(count for phase, count in counts.items() if phase not in ENDED)
    if waiting:
        raise BudgetError(
            f"{waiting} of {len(result.rows)} devices have not come to an end in time",
            hint="give the same command again: they go on where they are",
        )


def _cells(rows: list[Standing]) -> list[list[object]]:
    ordered = sorted(rows, key=lambda row: (_UNSETTLED_FIRST[row.phase], row.device))
    cells: list[list[object]] = [
        [row.device, row.version, row.phase, f"{row.received}/{row.chunks}" if row.chunks else "", row.remark]
        for row in ordered[:_ROWS]
    ]
    if len(ordered) > _ROWS:
        cells.append([f"and {len(ordered) - _ROWS} more", "", "", "", ""])
    return cells
