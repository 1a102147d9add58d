"""Seeds that switch together: the pieces between the first and the last of them joined into one, with and without them.

A group's two alternatives read and answer the same tensors, so a chain runs one or the other and nothing inside the
group is a boundary. Its trunk is in both, which is what a group costs: those weights twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from exporters.network import Network, Piece
from tamiyo_runtime.contracts.document import require
from tamiyo_runtime.contracts.plan import SegmentKind

if TYPE_CHECKING:
    import torch

Groups = tuple[tuple[int, ...], ...]


def grouped(network: Network, groups: Groups) -> Network:
    """The network with the seeds of each group in one piece; ``groups`` hold its seeded slots, each once, in order.

    Raises SchemaError when they do not.
    """
    flat = [slot for group in groups for slot in group]
    require(flat == list(network.seeded), "groups", f"hold slots {flat}, the network has seeds in {network.seeded}")
    pieces = list(network.parts)
    for group in groups:
        if len(group) > 1:
            pieces = _joined(pieces, group)
    return replace(network, pieces=tuple(pieces))


def _joined(pieces: list[Piece], group: tuple[int, ...]) -> list[Piece]:
    first, last = (next(i for i, piece in enumerate(pieces) if piece.slot == slot) for slot in (group[0], group[-1]))
    span = pieces[first : last + 1]
    name = f"group{group[0]}-{group[-1]}"
    on = _one(span, name, group, when=True)
    off = _one([piece for piece in span if piece.slot is None], f"{name}-off", group, when=False)
    return [*pieces[:first], on, off, *pieces[last + 1 :]]


def _one(parts: Sequence[Piece], name: str, group: tuple[int, ...], *, when: bool) -> Piece:
    return Piece(
        name=name,
        kind=SegmentKind.SEED if when else SegmentKind.TRUNK,
        module=_sequence(parts),
        example=parts[0].example,
        shape=parts[-1].shape,
        params=sum(part.params for part in parts),
        slots=group,
        when=when,
        made_of=tuple(part.name for part in parts),
    )


def _sequence(parts: Sequence[Piece]) -> torch.nn.Module:
    import torch

    return torch.nn.Sequential(*(part.module for part in parts)).eval()
