"""Where every number of a stacked network lies: two blocks, hosts (N, P) and seeds (N, S, Q), and views into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_train.hosts import Host
from tamiyo_train.hosts.mlp import Head, Hidden
from tamiyo_train.population.families import Family, Maps

Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Shapes that all lanes share.

    ``trunk``: (out, in) of the host's linear maps, the head last. ``carried``: features of the input that every slot
    sees behind the hidden ones. ``inner``: K_max, to which the inner units of every seed are padded.
    """

    trunk: Shapes
    carried: int
    inner: int
    families: tuple[Family, ...]

    @staticmethod
    def of(host: Host, *, families: Sequence[Family], inner: int) -> Layout:
        """The layout of a host and its padded slots; raises IncompatibleError for a host that is no perceptron."""
        pieces = list(host.trunk)
        shapes: list[tuple[int, int]] = []
        for piece in pieces:
            if not isinstance(piece, Hidden | Head):
                raise IncompatibleError(
                    f"host '{host.name}' cannot be trained in a population: it has a {type(piece).__name__}",
                    hint="populations train the hosts mlp and mlp-skip; others go through Trainer",
                )
            shapes.append((piece.linear.out_features, piece.linear.in_features))
            if isinstance(piece, Hidden) and piece.act is None:
                raise IncompatibleError(
                    f"host '{host.name}' cannot be trained in a population: it has a layer without ReLU",
                    hint="populations train the hosts mlp and mlp-skip; others go through Trainer",
                )
        first = pieces[0]
        carried = first.carried if isinstance(first, Hidden) else 0
        return Layout(trunk=tuple(shapes), carried=carried, inner=inner, families=tuple(families))

    @property
    def slots(self) -> int:
        """Slots of a host: one behind each hidden layer."""
        return len(self.trunk) - 1

    @property
    def width(self) -> int:
        """Features a seed may change."""
        return self.trunk[0][0]

    def seed_shapes(self, family: Family) -> Shapes:
        """(out, in) of the padded maps of a family."""
        return family.shapes(self.width + self.carried, self.width, self.inner)

    @property
    def host_size(self) -> int:
        """Numbers of one host, P."""
        return _size(self.trunk)

    @property
    def seed_size(self) -> int:
        """Numbers of one slot, Q: those of every family one after the other."""
        return sum(_size(self.seed_shapes(family)) for family in self.families)

    def host_maps(self, block: torch.Tensor) -> Maps:
        """Views of a block (N, P) as the host's linear maps."""
        return _views(block, self.trunk, 0)

    def seed_maps(self, block: torch.Tensor, slot: int) -> list[Maps]:
        """Views of a block (N, S, Q) as the linear maps of a slot, family by family."""
        starts = accumulate((_size(self.seed_shapes(family)) for family in self.families), initial=0)
        return [
            _views(block[:, slot], self.seed_shapes(family), start)
            for family, start in zip(self.families, starts, strict=False)
        ]


def _size(shapes: Shapes) -> int:
    return sum(out * fan_in + out for out, fan_in in shapes)


def _views(block: torch.Tensor, shapes: Shapes, start: int) -> Maps:
    lanes = len(block)
    sizes = [size for out, fan_in in shapes for size in (out * fan_in, out)]
    parts = [block[:, low:high] for low, high in pairwise(accumulate(sizes, initial=start))]
    return [
        (parts[2 * index].view(lanes, *shape), parts[2 * index + 1].view(lanes, shape[0], 1))
        for index, shape in enumerate(shapes)
    ]
