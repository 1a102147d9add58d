"""Stage 5: the squares of a checkerboard in the plane, black against white.

Points keep ``margin`` of a square's half side away from its border, so the best rule is always right: the limit is
100 %. What makes it hard is the number of squares, each of which holds few samples.
"""

from __future__ import annotations

import numpy as np

from tamiyo_train.tasks.base import Split, Task, stages
from tamiyo_train.tasks.generated import generated, labels, plane, within

SQUARES = 4
MARGIN = 0.2
SPEC = plane(1.0)
SEED = 25
BAYES = 1.0
"""Nothing overlaps."""


def draw(samples: int, *, rng: np.random.Generator, squares: int = SQUARES, margin: float = MARGIN) -> Split:
    """``samples`` points of [-1, 1]^2 on ``squares`` by ``squares`` fields, half a colour. Raises SchemaError."""
    within("squares", squares, 2, 10)
    within("margin", margin, 0, 0.9)
    y = labels(samples, 2)
    field = np.indices((squares, squares)).reshape(2, -1).T
    black = field.sum(axis=1) % 2 == 0
    chosen = np.where(y[:, None] == 0, rng.choice(field[black], samples), rng.choice(field[~black], samples))
    inside = rng.uniform(-1 + margin, 1 - margin, (samples, 2))
    points = (2 * chosen + 1 + inside) / squares - 1
    return Split(x=points.astype(np.float32), y=y)


@stages.register("checkerboard")
def checkerboard() -> Task:
    """The task on four by four squares."""
    return generated("checkerboard", draw, classes=("black", "white"), spec=SPEC, seed=SEED)
