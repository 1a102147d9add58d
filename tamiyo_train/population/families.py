"""Padded seeds: blueprints of one family as one stack of tensors, forward and backward written out.

A family is a formula delta(x) with linear maps of a common, padded shape. A seed with fewer inner units is padded with
units whose weights are zero; such units are inert: ReLU'(0) = 0 and zero outgoing weights leave their gradients exactly
zero, so that Adam never moves them and no mask has to be applied in the loop (a test holds this).

Activations are feature-major, (N, features, B), which gives the batched products their longest rows; weights are
(N, out, in) as in torch.nn.Linear, biases (N, out, 1), for N lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

Tensor = torch.Tensor
Maps = Sequence[tuple[Tensor, Tensor]]
"""Weights (N, out, in) and biases (N, out, 1) of a family's linear maps, or their gradients."""
Saved = tuple[Tensor, ...]
relu_backward: Callable[[Tensor, Tensor, int], Tensor] = torch.ops.aten.threshold_backward


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """y = x + alpha delta(x) on the first ``writable`` of ``channels`` features.

    ``shapes(channels, writable, inner)``: (out, in) of each linear map. ``forward(maps, x, writable)``: delta
    (N, writable, B) and what backward needs. ``backward(maps, saved, d_delta, d, grads)``: the gradient of the
    writable features, given that of delta and ``d``, which reaches them past the seed; fills ``grads`` unless None.
    """

    name: str
    shapes: Callable[[int, int, int], tuple[tuple[int, int], ...]]
    forward: Callable[[Maps, Tensor, int], tuple[Tensor, Saved]]
    backward: Callable[[Maps, Saved, Tensor, Tensor, Maps | None], Tensor]


def affine(map_: tuple[Tensor, Tensor], x: Tensor) -> Tensor:
    """W x + b for every lane: (N, in, B) -> (N, out, B)."""
    return torch.baddbmm(map_[1], map_[0], x)


def fill_gradients(grads: tuple[Tensor, Tensor], d: Tensor, x: Tensor) -> None:
    """Write the gradients of an affine map in place: d (N, out, B) at its output, x (N, in, B) at its input.

    Copied, since a product straight into a strided view is done lane by lane on the CPU, at twice the time.
    """
    grads[0].copy_(torch.bmm(d, x.transpose(1, 2)))
    torch.sum(d, 2, keepdim=True, out=grads[1])


def passed_back(weight: Tensor, d: Tensor, onto: Tensor) -> Tensor:
    """onto + W^T d, for the inputs that ``onto`` (N, writable, B) covers: the first ones."""
    return torch.baddbmm(onto, weight[:, :, : onto.shape[1]].transpose(1, 2), d)


def _residual_shapes(channels: int, writable: int, inner: int) -> tuple[tuple[int, int], ...]:
    return (inner, channels), (writable, inner)


def _residual_forward(maps: Maps, x: Tensor, writable: int) -> tuple[Tensor, Saved]:
    units = affine(maps[0], x).relu_()
    return affine(maps[1], units), (x, units)


def _residual_backward(maps: Maps, saved: Saved, d_delta: Tensor, d: Tensor, grads: Maps | None) -> Tensor:
    x, units = saved
    d_units = relu_backward(torch.bmm(maps[1][0].transpose(1, 2), d_delta), units, 0)
    if grads is not None:
        fill_gradients(grads[1], d_delta, units)
        fill_gradients(grads[0], d_units, x)
    return passed_back(maps[0][0], d_units, d)


RESIDUAL = Family(name="residual", shapes=_residual_shapes, forward=_residual_forward, backward=_residual_backward)
"""delta = up(relu(down(x))): bottleneck, adapter, low-rank, residual MLP and widening differ in their inner units."""


def _excite_shapes(channels: int, writable: int, inner: int) -> tuple[tuple[int, int], ...]:
    return (inner, channels), (writable, inner)


def _excite_forward(maps: Maps, x: Tensor, writable: int) -> tuple[Tensor, Saved]:
    units = affine(maps[0], x).relu_()
    scale = torch.tanh(affine(maps[1], units).mul_(0.5))  # 2 sigmoid(e) - 1 = tanh(e / 2)
    return x[:, :writable] * scale, (x, units, scale)


def _excite_backward(maps: Maps, saved: Saved, d_delta: Tensor, d: Tensor, grads: Maps | None) -> Tensor:
    x, units, scale = saved
    d_gate = d_delta * x[:, : scale.shape[1]] * (0.5 - 0.5 * scale.square())
    d_units = relu_backward(torch.bmm(maps[1][0].transpose(1, 2), d_gate), units, 0)
    if grads is not None:
        fill_gradients(grads[1], d_gate, units)
        fill_gradients(grads[0], d_units, x)
    return passed_back(maps[0][0], d_units, torch.addcmul(d, d_delta, scale))


EXCITE = Family(name="squeeze-excite", shapes=_excite_shapes, forward=_excite_forward, backward=_excite_backward)
"""delta = x (2 sigmoid(expand(relu(reduce(x)))) - 1)."""


def _glu_shapes(channels: int, writable: int, inner: int) -> tuple[tuple[int, int], ...]:
    return (writable, channels), (writable, channels)


def _glu_forward(maps: Maps, x: Tensor, writable: int) -> tuple[Tensor, Saved]:
    value, gate = affine(maps[0], x), affine(maps[1], x).sigmoid_()
    return value * gate, (x, value, gate)


def _glu_backward(maps: Maps, saved: Saved, d_delta: Tensor, d: Tensor, grads: Maps | None) -> Tensor:
    x, value, gate = saved
    d_value = d_delta * gate
    d_gate = d_value * value * (1 - gate)
    if grads is not None:
        fill_gradients(grads[0], d_value, x)
        fill_gradients(grads[1], d_gate, x)
    return passed_back(maps[1][0], d_gate, passed_back(maps[0][0], d_value, d))


GLU = Family(name="glu", shapes=_glu_shapes, forward=_glu_forward, backward=_glu_backward)
"""delta = value(x) sigmoid(gate(x)); it has no inner units."""

FAMILIES: Mapping[str, Family] = MappingProxyType({family.name: family for family in (RESIDUAL, EXCITE, GLU)})
