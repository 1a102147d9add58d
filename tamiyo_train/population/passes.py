"""Forward and backward through N networks at once: what `GrownNetwork`, `cross_entropy` and `held_loss` do to one.

Written out rather than left to autograd: gradients land in one block that the optimiser reads, nothing is allocated
for views of parameters, and the held pass computes what it needs and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tamiyo_train.population.families import Maps, Saved, affine, fill_gradients, relu_backward
from tamiyo_train.population.layout import Layout

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Stacked:
    """Views into a pair of blocks: ``trunk`` maps, and for every slot the maps of every family."""

    trunk: Maps
    seeds: tuple[list[Maps], ...]

    @staticmethod
    def of(layout: Layout, hosts: Tensor, seeds: Tensor) -> Stacked:
        """Views of the blocks (N, P) and (N, S, Q), of parameters or of gradients."""
        slots = range(layout.slots)
        return Stacked(layout.host_maps(hosts), tuple(layout.seed_maps(seeds, slot) for slot in slots))


@dataclass(frozen=True, slots=True)
class Tape:
    """What backward needs of a forward pass.

    ``inputs`` of every trunk map, ``units`` behind every hidden one, ``saved``: by slot that was run, for each family.
    """

    layout: Layout
    net: Stacked
    alphas: Tensor
    inputs: list[Tensor]
    units: list[Tensor]
    saved: dict[int, list[Saved]]


def forward(layout: Layout, net: Stacked, x: Tensor, alphas: Tensor, slots: Sequence[int]) -> tuple[Tensor, Tape]:
    """Logits (N, classes, B) of inputs x (N, features, B).

    ``alphas``: (families, N, S, 1, 1) blending factors, 0 where the family is not in the slot; ``slots``: those that
    are run, ascending; the others hold no seed in any lane.
    """
    tape = Tape(layout, net, alphas, [], [], {})
    h = x
    for index, trunk in enumerate(net.trunk):
        slot = index - 1
        if slot in slots:
            seen = torch.cat([h, x[:, x.shape[1] - layout.carried :]], 1) if layout.carried else h
            tape.saved[slot] = []
            for number, family in enumerate(layout.families):
                delta, saved = family.forward(net.seeds[slot][number], seen, layout.width)
                h = torch.addcmul(h, alphas[number, :, slot], delta)
                tape.saved[slot].append(saved)
        tape.inputs.append(h)
        h = affine(trunk, h)
        if index < layout.slots:
            h = h.relu_()
            tape.units.append(h)
    return h, tape


def backward(tape: Tape, d: Tensor, *, grads: Stacked, host: bool, slots: Sequence[int]) -> None:
    """From the gradient of the logits, d (N, classes, B), to that of the parameters, written into ``grads``.

    ``host``: fill the host's gradients and go all the way; otherwise stop at the first of ``slots``, whose seeds are
    the only ones that get theirs.
    """
    trunk = tape.net.trunk
    for index in reversed(range(len(trunk))):
        if index < len(tape.units):
            d = relu_backward(d, tape.units[index], 0)
        if host:
            fill_gradients(grads.trunk[index], d, tape.inputs[index])
        if index == 0:
            return
        d = torch.bmm(trunk[index][0].transpose(1, 2), d)
        slot = index - 1
        if slot in tape.saved:
            d = _through_slot(tape, slot, d, grads.seeds[slot] if slot in slots else None)
        if not host and slot == min(slots):
            return


def _through_slot(tape: Tape, slot: int, d: Tensor, grads: list[Maps] | None) -> Tensor:
    """The gradient before a slot; every family adds its own part, which is nought where its alpha is."""
    before = d
    for number, family in enumerate(tape.layout.families):
        maps, saved = tape.net.seeds[slot][number], tape.saved[slot][number]
        d_delta = d * tape.alphas[number, :, slot]
        before = family.backward(maps, saved, d_delta, before, None if grads is None else grads[number])
    return before


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many samples of every lane are right, (N,): the label's logit is the largest; labels (N, B)."""
    return (logits.gather(1, labels[:, None])[:, 0] >= logits.amax(1)).sum(1)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss of every lane (N,), nats, and the gradient at the logits (N, classes, B); labels (N, B)."""
    logs = logits.log_softmax(1)
    at = labels[:, None]
    loss = -logs.gather(1, at).mean((1, 2))
    d = logs.exp_()
    d.scatter_add_(1, at, d.new_full((), -1.0).expand(at.shape))
    return loss, d.div_(labels.shape[1])
