"""What int8 does to the answer of every operator: the float and the int8 graph are fed alike, their tensors compared.

The noise of an operator includes what the operators before it in the same graph added. Between graphs of a chain it
does not: each graph is fed what the float network feeds it, so a figure tells of its graph alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from exporters.backends.flatbuffer import read_model
from exporters.quantise.play import play_all
from exporters.quantise.ptq import Calibrated

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 64

GraphNoise = Mapping[str, Mapping[int, float]]
"""dB by graph and by index of the operator in the int8 graph; what has no noise or no signal is left out."""


def noise_of(calibrated: Calibrated, int8: Mapping[str, bytes]) -> dict[str, dict[int, float]]:
    """Signal over quantisation noise, dB, of each operator's output over at most 64 calibration samples."""
    return {
        name: _graph_noise(calibrated.files[name], data, calibrated.feeds[name][:SAMPLES])
        for name, data in int8.items()
    }


def sqnr_db(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float | None:
    """Power of ``wanted`` over that of the difference, dB; None where one of the two is zero."""
    noise = float(np.sum(np.square(found.astype(np.float64) - wanted)))
    signal = float(np.sum(np.square(wanted.astype(np.float64))))
    return round(10 * float(np.log10(signal / noise)), 2) if noise > 0 and signal > 0 else None


def _graph_noise(float_graph: bytes, int8_graph: bytes, feed: NDArray[np.float32]) -> dict[int, float]:
    wanted, found = play_all(float_graph, feed), play_all(int8_graph, feed)
    noise = {}
    for operator in read_model(int8_graph).operators:
        name = operator.outputs[0].name
        if name in wanted and wanted[name].shape == found[name].shape:
            decibels = sqnr_db(found[name], wanted[name])
            if decibels is not None:
                noise[operator.index] = decibels
    return noise
