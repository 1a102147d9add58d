"""A co-processor for int8 beside a host: the Edge TPU behind its bus, an Ethos-U in front of its flash.

    t = sum over graphs (t_floor + (input + output) * t_io
                         + sum over operators (t_operator + overlapped(work * t_kind, streamed weights * t_bus)))

Weights beyond the cache are streamed in at every inference, in the order in which the operators come; with a cache of
nothing that is all of them. ``overlap`` says how much of the shorter of computing and streaming hides behind the
longer: 0 one after the other, 1 side by side. MACs are counted on the array's own grid: a layer of 9 channels on an
array that takes 8 at a time is charged for 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_profiles.ops import MAC_KINDS, Op, OpKind, gemm_of

NO_GRID = (1, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """What the inner loop reads: us for each MAC by class, each element-wise byte, each byte streamed or transferred.

    ``grid``: output positions, products of a sum and output channels that the array takes at a time.
    """

    floor_us: float
    operator_us: float
    us_per_mac: Mapping[OpKind, float]
    us_per_element_byte: float
    cache_bytes: float
    us_per_byte: float
    us_per_io_byte: float
    overlap: float
    grid: tuple[int, int, int] = NO_GRID

    def op_us(self, op: Op, streamed_bytes: float) -> float:
        """Time of one operator that computes here and waits for ``streamed_bytes`` of its weights, us."""
        if op.kind in MAC_KINDS:
            macs = op.macs if self.grid == NO_GRID else self._on_grid(op)
            compute = macs * self.us_per_mac[op.kind]
        else:
            compute = (op.input_bytes + op.output_bytes) * self.us_per_element_byte
        if not streamed_bytes:
            return self.operator_us + compute
        stream = streamed_bytes * self.us_per_byte
        return self.operator_us + compute + stream - self.overlap * min(compute, stream)

    def _on_grid(self, op: Op) -> float:
        """MACs with each dimension rounded up to what the array takes at a time.

        A depthwise convolution sums over its window alone, so the channels lie where others have their outputs.
        """
        rows, depth, columns = self.grid
        m, k, n, groups = gemm_of(op)
        if op.kind is OpKind.DEPTHWISE_CONV2D:
            return _up(m, rows) * k * _up(n * groups, columns)
        return _up(m, rows) * _up(k, depth) * _up(n, columns) * groups


def _up(count: float, step: int) -> float:
    return -(-count // step) * step
