"""A schedule of decisions, written by hand in TOML, checked against the network it is for before anything is trained.

    [[decision]]
    window = 1                  # or step = 28: before which decision window, or not before which training step
    operation = "germinate"     # germinate, advance, prune, fossilise
    slot = 3
    blueprint = "wide-conv"     # germinate only
    intensity = 1.0             # germinate only; multiplier of the learning rate

Slots inside seeds are numbered behind those of the host, in the order they open.

The gates still hold: a decision that is due but not allowed yet waits, and is tried again before each later window.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamiyo_runtime.contracts.document import load, require
from tamiyo_runtime.contracts.errors import InputError, SchemaError, UnknownNameError
from tamiyo_runtime.contracts.observation import INTENSITIES, Operation
from tamiyo_runtime.files import read_bytes

OPERATIONS = tuple(operation.name.lower() for operation in Operation if operation is not Operation.WAIT)
_LIMIT_BYTES = 1 << 20
_ONLY = "a schedule is a list of [[decision]] tables"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledDecision:
    """One decision: due before decision window ``window`` (0 the first), or before the first at or after ``step``."""

    operation: str
    slot: int
    window: int | None = None
    step: int | None = None
    blueprint: str | None = None
    intensity: float | None = None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise UnknownNameError("operation", self.operation, OPERATIONS)
        require((self.window is None) != (self.step is None), "window", "give either a window or a step")
        for name in ("slot", "window", "step"):
            value = getattr(self, name)
            require(value is None or value >= 0, name, f"must not be negative, got {value}")
        germinates = self.operation == "germinate"
        for name in ("blueprint", "intensity"):
            given = getattr(self, name) is not None
            require(given == germinates, name, "is needed to germinate" if germinates else "is for germinate only")
        require(
            self.intensity is None or self.intensity in INTENSITIES,
            "intensity",
            f"must be one of {', '.join(map(str, INTENSITIES))}, got {self.intensity}",
        )

    def due(self, window_steps: int) -> int:
        """The decision window it is due before; ``window_steps``: training steps a window."""
        return self.window if self.step is None else -(-self.step // window_steps)  # type: ignore[return-value]


Schedule = tuple[ScheduledDecision, ...]


def read_schedule(path: Path) -> Schedule:
    """Read a schedule; raises InputError, SchemaError or UnknownNameError naming the decision that is wrong."""
    raw = read_bytes(path, limit_bytes=_LIMIT_BYTES, what="schedule")
    try:
        document = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InputError(f"{path} is not TOML: {exc}", hint=_ONLY) from exc
    unknown = sorted(document.keys() - {"decision"})
    if unknown:
        raise UnknownNameError("table", unknown[0], ["decision"])
    decisions = document.get("decision")
    if not isinstance(decisions, list) or not decisions:
        raise InputError(f"{path} holds no decision", hint=_ONLY)
    return tuple(_decision(item, f"decision[{index}]") for index, item in enumerate(decisions))


def check_schedule(
    schedule: Sequence[ScheduledDecision],
    *,
    windows: int,
    window_steps: int,
    places: int,
    nested: int = 0,
    offered: Sequence[str],
    obstacles: Mapping[tuple[int, str], str],
) -> None:
    """Check a schedule against an episode: its windows, the host's slots and the order of a seed's life.

    ``places``: slots of the host; ``nested``: numbers behind them that slots inside seeds are given as they open.
    ``offered``: blueprints that may be chosen. ``obstacles``: why a blueprint cannot live in a slot. Raises SchemaError
    or UnknownNameError.
    """
    before = 0
    living: dict[int, str] = {}
    for index, decision in enumerate(schedule):
        path = f"decision[{index}]"
        due = decision.due(window_steps)
        require(due < windows, path, f"is due before window {due}; the episode has windows 0 to {windows - 1}")
        require(due >= before, path, f"is due before window {due}, the one above before window {before}")
        most = f"the host has 0 to {places - 1}" + (f", inside seeds there are up to {nested}" if nested else "")
        require(decision.slot < places + nested, path, f"there is no slot {decision.slot}; {most}")
        if decision.blueprint is not None:
            if decision.blueprint not in offered:
                raise UnknownNameError(f"blueprint in {path}", decision.blueprint, offered)
            problem = obstacles.get((decision.slot, decision.blueprint))
            require(problem is None, path, f"{decision.blueprint} cannot live in slot {decision.slot}: {problem}")
        _live(living, decision, path)
        before = due


def _live(living: dict[int, str], decision: ScheduledDecision, path: str) -> None:
    """Follow the life of a slot through the schedule: nothing, germinate, advance, fossilise; prune while it lives."""
    last = living.get(decision.slot, "prune")
    follows = {"germinate": {"prune"}, "advance": {"germinate"}, "fossilise": {"advance"}}
    legal = follows.get(decision.operation, {"germinate", "advance"})
    told = {"prune": "is empty", "germinate": "holds a young seed", "advance": "holds a blended seed"}
    state = told.get(last, "holds a fossilised seed")
    require(last in legal, path, f"cannot {decision.operation} in slot {decision.slot}: by then it {state}")
    living[decision.slot] = decision.operation


def _decision(item: Any, path: str) -> ScheduledDecision:
    if isinstance(item, Mapping):
        known = ScheduledDecision.__dataclass_fields__
        unknown = sorted(item.keys() - known.keys())
        if unknown:
            raise UnknownNameError(f"setting in {path}", unknown[0], known)
    try:
        return load(ScheduledDecision, item, path=path)
    except UnknownNameError as exc:
        raise UnknownNameError(f"operation in {path}", item["operation"], OPERATIONS) from exc
    except SchemaError as exc:
        raise SchemaError(exc.path, exc.message.removeprefix(f"{exc.path}: "), hint=exc.hint or _ONLY) from exc
