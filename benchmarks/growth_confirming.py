"""A look at levels that nobody looked at before: is the policy still better than the tuned heuristic there?

Whoever learned is taken as it was kept; nothing is taught, chosen or changed. Levels, seeds and criteria were written
down first, in `growth_protocol.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from benchmarks.growth_judging import Court, Draw, judge
from benchmarks.growth_setting import Level, Scale, envs

LEVELS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "spirals": (1.75, 2.75, 3.5),
        "checkerboard": (10,),
        "clusters": (0.92, 0.94, 0.97),
        "spheres": (0.35, 0.45, 0.8),
        "digits": (2.5, 5, 7.5),
        "mnist1d": (16, 32, 44),
        "imu": (2, 6, 7),
    }
)
"""Neither taught nor examined before."""
DATA = 73_000
"""Seeds of the samples, plus the number of the level."""
DRAW = Draw(inits=range(50_000, 50_120), seed=29)
"""A host of its own for every episode of a level."""
METHODS = (
    "none",
    "tuned",
    "kasmina",
    "random",
    "bandit",
    *(f"{name}-{k}" for name in ("policy", "matched", "twin") for k in range(3)),
)
"""Who plays: everything that was kept and needs no search on the levels it is judged on."""


def confirm(scale: Scale, *, device: str, learned: Path, out: Path) -> None:
    """Play, and keep the plays under ``out``; those who play lie in ``learned``."""
    levels = [
        Level(family=name, number=number, value=value, judged=True, seed=DATA + number)
        for name in scale.families
        for number, value in enumerate(LEVELS[name])
    ]
    judge(Court(scale, envs(scale, device, levels), out, learned=learned, draw=DRAW), only=METHODS)
