"""Ranges of int8 tensors: shared where raw values pass from one to the other, and never narrower than kernels can take.

A layer that is silent on all calibration samples, such as a dead ReLU, has the range [0, 0]. Quantised as it stands,
its scale is 4e-12, the factor from accumulator to output exceeds what XNNPACK allows (256), and LiteRT 2.3 does not
report that: it dies of a double free while it loads the graph. The lower bounds below cost no accuracy: an output
step finer than a fraction of the accumulator's step holds no information.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from exporters.backends.flatbuffer import Model, Operator, Tensor

Ranges = dict[str, tuple[float, float]]
End = tuple[str, str]
"""A graph and one of its tensors."""

# Operators whose int8 output has the quantisation of their input, by the format or by the quantiser's rules.
SAME_SCALE = frozenset(
    {
        *("RESHAPE", "TRANSPOSE", "SQUEEZE", "EXPAND_DIMS", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PADV2", "SLICE"),
        *("STRIDED_SLICE", "SPLIT", "CONCATENATION", "PACK", "UNPACK", "GATHER", "BROADCAST_TO", "SPACE_TO_DEPTH"),
        *("DEPTH_TO_SPACE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "MAXIMUM", "MINIMUM", "SELECT_V2"),
    }
)
_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
_SUMS = frozenset({"ADD", "SUB"})
_LEAST_SHARE = 2.0**-12  # of the widest range in the graph
_FINEST_STEP = 64  # output steps in one accumulator step; XNNPACK refuses 256
_SUM_RATIOS = (2.0**-9, 2.0**7)  # input over output step of a sum; XNNPACK wants [2^-10, 2^8)
_PRODUCT_RATIOS = (2.0**-15, 2.0**7)  # product of the input steps over the output's; XNNPACK wants [2^-16, 2^8)
_ROUNDS = 20


def settle(
    models: Mapping[str, Model], ranges: Mapping[str, Ranges], seams: Iterable[Sequence[End]]
) -> dict[str, Ranges]:
    """``ranges`` by graph, widened until every seam and every same-scale operator has one range on all sides, and no
    range is too narrow for the operators around it. A seam lists tensors of several graphs.
    """
    groups = _groups(models, seams)
    settled = {graph: dict(found) for graph, found in ranges.items()}
    for _ in range(_ROUNDS):
        before = {graph: dict(found) for graph, found in settled.items()}
        for graph, model in models.items():
            _widen(model, settled[graph])
        for nodes in groups:
            known = [settled[graph][tensor] for graph, tensor in nodes if tensor in settled[graph]]
            if known:
                union = (min(low for low, _ in known), max(high for _, high in known))
                for graph, tensor in nodes:
                    settled[graph][tensor] = union
        if settled == before:
            break
    return settled


def _groups(models: Mapping[str, Model], seams: Iterable[Sequence[End]]) -> list[list[End]]:
    sets = _Sets()
    for seam in seams:
        for node in seam:
            sets.join(seam[0], node)
    for graph, model in models.items():
        for operator in model.operators:
            if operator.code in SAME_SCALE:
                moving = [t for t in (*operator.inputs, *operator.outputs) if not t.constant and t.dtype == "float32"]
                for tensor in moving:
                    sets.join((graph, moving[0].name), (graph, tensor.name))
    return sets.members()


@dataclass(slots=True)
class _Sets:
    """Disjoint sets by relabelling; the graphs are small."""

    label: dict[End, int] = field(default_factory=dict)

    def join(self, first: End, second: End) -> None:
        a = self.label.setdefault(first, len(self.label))
        b = self.label.setdefault(second, len(self.label))
        if a != b:
            self.label = {node: a if group == b else group for node, group in self.label.items()}

    def members(self) -> list[list[End]]:
        found: dict[int, list[End]] = {}
        for node, group in self.label.items():
            found.setdefault(group, []).append(node)
        return list(found.values())


def _widen(model: Model, ranges: Ranges) -> None:
    """Widen the ranges of one graph in place."""
    widest = max((_span(value) for value in ranges.values()), default=0.0)
    for name in list(ranges):
        _at_least(ranges, name, widest * _LEAST_SHARE)
    for operator in model.operators:
        if operator.outputs[0].name in ranges:
            _widen_for(operator, ranges)


def _widen_for(operator: Operator, ranges: Ranges) -> None:
    out = operator.outputs[0].name

    def span(tensor: Tensor) -> float:
        return tensor.peak if tensor.constant else _span(ranges[tensor.name]) if tensor.name in ranges else 0.0

    if operator.code in _WEIGHTED:
        _at_least(ranges, out, span(operator.inputs[0]) * operator.inputs[1].peak / (127 * _FINEST_STEP))
    elif operator.code in _SUMS:
        _at_least(ranges, out, max(map(span, operator.inputs)) / _SUM_RATIOS[1])
        for tensor in operator.inputs:
            _at_least(ranges, tensor.name, _span(ranges[out]) * _SUM_RATIOS[0])
    elif operator.code == "MUL":
        first, second = operator.inputs
        _at_least(ranges, out, span(first) * span(second) / (255 * _PRODUCT_RATIOS[1]))
        for tensor, other in ((first, second), (second, first)):
            if span(other) > 0:
                _at_least(ranges, tensor.name, 255 * _PRODUCT_RATIOS[0] * _span(ranges[out]) / span(other))


def _span(value: tuple[float, float]) -> float:
    """Width of a range with zero in it, as the quantiser takes it."""
    return max(value[1], 0.0) - min(value[0], 0.0)


def _at_least(ranges: Ranges, name: str, span: float) -> None:
    if name in ranges and _span(ranges[name]) < span:
        low = min(ranges[name][0], 0.0)
        ranges[name] = (low, low + span)
