"""A grown network as the exporters see it: pieces in running order and the configurations they make up.

Slots without a seed leave no seam: the trunk pieces on both sides are one piece, since every boundary costs a graph
invocation on the device. A *stage* is a trunk piece or a switch: a seed that may be left out, or the seeds of a group
with the trunk between them, which run either as one piece with the seeds or as one without.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends.flatbuffer import INPUT, OUTPUT
from exporters.ops.traced import trace
from exporters.request import ExportRequest, SeedModule
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.plan import Configuration, Precision, SegmentKind

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray
    from torch import nn

Gates = tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One part: a trunk piece, a seed or the head. ``example`` is an input, batch 1; ``shape`` that of the output.

    ``params`` counts them as deployed, batch norms folded. ``slots`` are those that switch it, none for a piece that
    always runs; it runs when their seeds are ``when``.
    ``made_of`` names the captured parts that a piece of a group was joined from.
    """

    name: str
    kind: SegmentKind
    module: nn.Module
    example: torch.Tensor
    shape: tuple[int, ...]
    params: int
    slot: int | None = None
    blueprint: str | None = None
    slots: tuple[int, ...] = ()
    when: bool = True
    made_of: tuple[str, ...] = ()

    def runs(self, gates: Gates) -> bool:
        """Whether a configuration runs the piece."""
        return not self.slots or gates[self.slots[0]] is self.when


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A step of every configuration: ``on``, or where ``slots`` are switched off ``off``; None passes the tensor on."""

    on: Piece
    off: Piece | None = None

    @property
    def slots(self) -> tuple[int, ...]:
        """The slots that switch it; none for trunk."""
        return self.on.slots


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Where graphs meet at ``slot``: every tensor in ``ends``, (piece, input or output), carries the same values."""

    slot: int
    shape: tuple[int, ...]
    ends: tuple[tuple[str, str], ...]

    @property
    def readers(self) -> tuple[str, ...]:
        """The pieces that take it as their input."""
        return tuple(name for name, end in self.ends if end == INPUT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Pieces in running order, as they are compiled; ``slots`` counts slots, filled or not.

    ``parts`` are the trunk pieces and seeds as captured. ``pieces`` are the same, unless seeds are grouped.
    """

    pieces: tuple[Piece, ...]
    slots: int
    parts: tuple[Piece, ...]

    @property
    def seeded(self) -> tuple[int, ...]:
        """Slots that hold a seed, in order."""
        return tuple(part.slot for part in self.parts if part.slot is not None)

    @property
    def seeds(self) -> tuple[Piece, ...]:
        """The pieces that hold the seeds, in order."""
        return tuple(piece for piece in self.pieces if piece.slots and piece.when)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The slots that are switched together, in order; of one slot each where seeds are not grouped."""
        return tuple(piece.slots for piece in self.seeds)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What a configuration passes through, in order."""
        without = {piece.slots: piece for piece in self.pieces if not piece.when}
        return tuple(Stage(on=piece, off=without.get(piece.slots)) for piece in self.pieces if piece.when)

    @property
    def joints(self) -> tuple[Joint, ...]:
        """Where graphs meet that may be switched: the ends of each group, in order."""
        found: list[Joint] = []
        ends: list[tuple[str, str]] = []
        before: tuple[int, ...] = ()
        for stage in self.stages:
            pieces = [stage.on, *([stage.off] if stage.off else [])]
            ends += [(piece.name, INPUT) for piece in pieces]
            if stage.slots and stage.off is None:  # without the seed, what enters is what leaves
                ends.append((stage.on.name, OUTPUT))
                before = stage.slots
                continue
            if before or stage.slots:
                slot = before[-1] if before else stage.slots[0]
                found.append(Joint(slot=slot, shape=tuple(stage.on.example.shape), ends=tuple(ends)))
            ends = [(piece.name, OUTPUT) for piece in pieces]
            before = stage.slots
        return tuple(found)

    @property
    def configurations(self) -> tuple[Configuration, ...]:
        """Every subset of the groups, the bare host first and the full network last."""
        found = []
        for pattern in itertools.product((False, True), repeat=len(self.groups)):
            switched = {slot: on for group, on in zip(self.groups, pattern, strict=True) for slot in group}
            gates = tuple(switched.get(slot, False) for slot in range(self.slots))
            found.append(Configuration(id=Configuration.name_of(gates), gates=gates))
        return tuple(sorted(found, key=lambda item: (sum(item.gates), item.gates[::-1])))

    @property
    def host(self) -> Configuration:
        """The configuration without any seed."""
        return self.configurations[0]

    @property
    def full(self) -> Configuration:
        """The configuration with every seed."""
        return self.configurations[-1]

    def chain(self, gates: Gates) -> tuple[Piece, ...]:
        """The pieces that a configuration runs, in order."""
        return tuple(piece for piece in self.pieces if piece.runs(gates))

    def whole(self, gates: Gates) -> nn.Module:
        """A configuration as one module."""
        import torch

        return torch.nn.Sequential(*(piece.module for piece in self.chain(gates))).eval()

    def logits(self, real: NDArray[np.float32], gates: Gates) -> NDArray[np.float32]:
        """torch's answer for scaled samples, (N, classes)."""
        import torch

        with torch.no_grad():
            value = torch.from_numpy(np.ascontiguousarray(real))
            for piece in self.chain(gates):
                value = piece.module(value)
        answer: NDArray[np.float32] = value.numpy()
        return answer

    def traffic(self, real: NDArray[np.float32], *, seed: int) -> dict[str, NDArray[np.float32]]:
        """What enters each piece when every sample switches each group on or off at random: (N, ...) by piece name.

        This is what int8 ranges are measured on: a seam then sees values from both sides of every seed before it.
        """
        import torch

        rng = np.random.default_rng(seed)
        entering: dict[str, NDArray[np.float32]] = {}
        with torch.no_grad():
            value = torch.from_numpy(np.ascontiguousarray(real))
            for stage in self.stages:
                entering[stage.on.name] = value.numpy()
                answer = stage.on.module(value)
                if stage.slots:
                    if stage.off is not None:
                        entering[stage.off.name] = value.numpy()
                        value = stage.off.module(value)
                    on = torch.from_numpy(rng.random(len(real)) < 0.5)
                    answer = torch.where(on.reshape(-1, *[1] * (value.dim() - 1)), answer, value)
                value = answer
        return entering


def scaled(request: ExportRequest, raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Raw samples as the network takes them: (raw - offset) * scale, float32."""
    spec = request.input
    return ((raw.astype(np.float64) - spec.offset) * spec.scale).astype(np.float32)


def capture(request: ExportRequest) -> Network:
    """Cut the request's network into pieces and run one sample through all of them.

    Raises IncompatibleError when a seed changes the shape at its slot, the head does not answer one logit a class,
    or an answer is not finite.
    """
    import torch

    seeds = {seed.slot: seed for seed in request.seeds}
    value = torch.from_numpy(scaled(request, request.test_inputs[:1]))
    pieces: list[Piece] = []
    start = 0
    for slot in range(len(request.trunk)):
        last = slot == len(request.trunk) - 1
        if not last and slot not in seeds:
            continue
        kind = SegmentKind.HEAD if last else SegmentKind.TRUNK
        name = "head" if last else f"trunk{start}"
        module = _joined(request.trunk[start : slot + 1])
        piece, value = _piece(name, kind, module, value)
        pieces.append(piece)
        start = slot + 1
        if slot in seeds:
            seed = seeds[slot]
            shape = tuple(value.shape)
            piece, value = _piece(f"seed{slot}", SegmentKind.SEED, seed.module, value, seed=seed)
            pieces.append(piece)
            if piece.shape != shape:
                raise IncompatibleError(
                    f"seed '{seed.blueprint}' in slot {slot} turns {list(shape)} into {list(piece.shape)}",
                    hint="a seed keeps the shape at its slot, so that it can be switched off",
                )
    if tuple(value.shape) != (1, len(request.classes)):
        raise IncompatibleError(
            f"the head answers {list(value.shape)} for one sample and {len(request.classes)} classes",
            hint="the last trunk piece gives one logit a class, (batch, classes)",
        )
    return Network(pieces=tuple(pieces), slots=request.slots, parts=tuple(pieces))


def _joined(modules: Sequence[nn.Module]) -> nn.Module:
    import torch

    return modules[0].eval() if len(modules) == 1 else torch.nn.Sequential(*modules).eval()


def _piece(
    name: str, kind: SegmentKind, module: nn.Module, value: torch.Tensor, *, seed: SeedModule | None = None
) -> tuple[Piece, torch.Tensor]:
    import torch

    with torch.no_grad():
        try:
            answer = module.eval()(value)
        except (RuntimeError, ValueError, TypeError) as exc:
            raise IncompatibleError(
                f"part '{name}' fails on an input of shape {list(value.shape)}: {str(exc).splitlines()[0]}",
                hint="each piece takes what the one before it gives",
            ) from exc
    if not isinstance(answer, torch.Tensor) or not torch.isfinite(answer).all():
        raise IncompatibleError(f"part '{name}' does not answer one finite tensor", hint="check its weights for NaN")
    piece = Piece(
        name=name,
        kind=kind,
        module=module,
        example=value,
        shape=tuple(answer.shape),
        params=sum(op.params or 0 for op in trace(module, value, precision=Precision.FLOAT32)),
        slot=None if seed is None else seed.slot,
        blueprint=None if seed is None else seed.blueprint,
        slots=() if seed is None else (seed.slot,),
    )
    return piece, answer
