"""The fit behind the Cortex-M profiles, and its error on networks that are held out.

Run ``python -m tests.unit.device_profiles.fit_cortex_m`` to see the figures that the profiles state.

Three STM32 boards ran the same four networks with the same library, so what one core takes a MAC differs from another
by one factor in all classes of operators: ``cycles = fixed + scale * (MACs of each class . rates)``. The rates are of
least squared relative misfit; a board's scale is the median over its networks, since a library's authors tune for
single networks (vww here), and that must not move the estimate of all others. Four networks on one board would not do:
each class but one would hang on a single row.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from device_profiles.kernels import padded
from device_profiles.ops import MAC_KINDS, OpKind
from tests.unit.device_profiles.tiny_networks import NETWORKS, Row, graph, rows

ROUND = "v1.2"
CLASSES = (OpKind.CONV2D, OpKind.DEPTHWISE_CONV2D, OpKind.FULLY_CONNECTED)
DEPTH = 4
DISPATCH_CYCLES, OPERATOR_CYCLES = 3000, 1500
BYTE_CYCLES = {
    OpKind.POOL: 3.0,
    OpKind.ELEMENTWISE: 5.0,
    OpKind.ACTIVATION: 3.0,
    OpKind.DATA_MOVEMENT: 1.0,
    OpKind.SOFTMAX: 80.0,
}
"""What no row tells apart is an estimate from the kernels, the same number of cycles on each core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A system of MLPerf Tiny and the clock it ran at."""

    system: str
    clock_mhz: int

    def rows(self) -> dict[str, Row]:
        return rows(ROUND, self.system)

    def cycles(self, network: str) -> float:
        return self.rows()[network].latency_ms * self.clock_mhz * 1e3

    def active_mw(self, networks: Iterable[str] = NETWORKS) -> float:
        """Mean power over the networks: uJ / ms = mW."""
        found = [self.rows()[name] for name in networks]
        return statistics.fmean(row.energy_uj / row.latency_ms for row in found if row.energy_uj is not None)


BOARDS = {
    "cortex-m4": Board(system="STMicroelectronics NUCLEO_L4R5ZI", clock_mhz=120),
    "cortex-m7": Board(system="STMicroelectronics NUCLEO_H7A3ZI_Q", clock_mhz=280),
    "cortex-m33": Board(system="STMicroelectronics NUCLEO_U575ZI_Q", clock_mhz=160),
}


@functools.cache
def macs(network: str) -> np.ndarray:
    """x: (3,) float64, MACs of a network by class, with input channels rounded up to what kernels take at a time."""
    return np.array(
        [sum(padded(op, DEPTH, 1)[0] for op in graph(network) if op.kind is kind) for kind in CLASSES], dtype=np.float64
    )


@functools.cache
def fixed_cycles(network: str) -> float:
    """Cycles beside the MACs."""
    ops = graph(network)
    moved = sum(BYTE_CYCLES[op.kind] * (op.input_bytes + op.output_bytes) for op in ops if op.kind not in MAC_KINDS)
    return DISPATCH_CYCLES + OPERATOR_CYCLES * len(ops) + moved


def scale_of(board: Board, rates: np.ndarray, networks: Iterable[str] = NETWORKS) -> float:
    """The board's factor to ``rates``, the median over these networks."""
    return statistics.median((board.cycles(name) - fixed_cycles(name)) / float(macs(name) @ rates) for name in networks)


def rates_of(boards: Iterable[Board], networks: Sequence[str] = NETWORKS) -> np.ndarray:
    """Rates shared by the boards, cycles a MAC of the first of them, (3,) float64, in the order of ``CLASSES``."""
    boards = list(boards)
    scales = dict.fromkeys(boards, 1.0)
    rates = np.ones(len(CLASSES))
    for _ in range(200):  # alternates between two closed forms; settled to six digits after some 50 rounds
        cells = [(board, name) for board in boards for name in networks]
        left = np.array([scales[board] * macs(name) / board.cycles(name) for board, name in cells])
        right = np.array([1 - fixed_cycles(name) / board.cycles(name) for board, name in cells])
        rates = _at_least_convolutions(left, right)
        rates *= scale_of(boards[0], rates, networks)
        scales = {board: scale_of(board, rates, networks) for board in boards}
    return rates


def _at_least_convolutions(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Least squares in which a depthwise MAC takes no less than one of a convolution, which reuses its data."""
    rates = np.linalg.lstsq(left, right, rcond=None)[0]
    if rates[1] >= rates[0]:
        return rates
    shared = np.stack([left[:, 0] + left[:, 1], left[:, 2]], axis=1)
    conv, dense = np.linalg.lstsq(shared, right, rcond=None)[0]
    return np.array([conv, conv, dense])


def rates_for(name: str) -> np.ndarray:
    """What the profile of that board states: all rows used."""
    rates = rates_of(BOARDS.values())
    return rates * scale_of(BOARDS[name], rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """Relative errors of one held-out row, estimated / published - 1."""

    latency: float
    energy: float


def held_out(name: str) -> dict[str, Miss]:
    """By network: the error when that row is unknown. Rates are of the other boards, scale and power of the rest."""
    board = BOARDS[name]
    rates = rates_of(other for key, other in BOARDS.items() if key != name)
    found = {}
    for network in NETWORKS:
        rest = [other for other in NETWORKS if other != network]
        cycles = fixed_cycles(network) + scale_of(board, rates, rest) * float(macs(network) @ rates)
        latency_ms = cycles / board.clock_mhz * 1e-3
        row = board.rows()[network]
        assert row.energy_uj is not None
        found[network] = Miss(
            latency=latency_ms / row.latency_ms - 1,
            energy=latency_ms * board.active_mw(rest) / row.energy_uj - 1,
        )
    return found


def unseen(name: str) -> dict[str, float]:
    """By network: the error of its latency when its rows are unknown on all boards.

    Without ad: it is the only network of fully connected layers, so no other row says what they take.
    """
    board = BOARDS[name]
    found = {}
    for network in NETWORKS[1:]:
        rest = [other for other in NETWORKS if other != network]
        rates = rates_of(BOARDS.values(), rest)
        cycles = fixed_cycles(network) + scale_of(board, rates, rest) * float(macs(network) @ rates)
        found[network] = cycles / board.cycles(network) - 1
    return found


def main() -> None:
    for name, board in BOARDS.items():
        rates = ", ".join(f"{kind} {rate:.3g}" for kind, rate in zip(CLASSES, rates_for(name), strict=True))
        print(f"{name}: cycles a MAC: {rates}; active {board.active_mw():.4g} mW")
        for network, miss in held_out(name).items():
            print(f"  {network:3} held out: latency {miss.latency:+.1%}, energy {miss.energy:+.1%}")
        for network, error in unseen(name).items():
            print(f"  {network:3} unknown on all boards: latency {error:+.1%}")


if __name__ == "__main__":
    main()
