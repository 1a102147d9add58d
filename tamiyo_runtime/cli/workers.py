"""``--workers`` of the commands that train: how many processes, or which cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tamiyo_train.pool import Workers

WorkersOption = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="N|ray",
        help="processes, or a Ray cluster: ray, or ray://HOST:PORT; the result is the same",
    ),
]


def workers_for(text: str, *, dry_run: bool = False) -> Workers:
    """What `text` names; unless nothing is done, what its processes are forked from begins to load torch meanwhile."""
    from tamiyo_train.pool import prepare, workers_of

    workers = workers_of(text)
    if workers != 1 and not dry_run:
        prepare()
    return workers
