"""Runs compiled variants on real samples, by the interpreters a device uses, and compares the answers with torch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.toolchain import quiet
from exporters.compiled import Compiled
from exporters.network import Gates
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.plan import Format, Layout
from tamiyo_runtime.executor import encoder
from tamiyo_runtime.interpreters import open_graph

if TYPE_CHECKING:
    from numpy.typing import NDArray

FLOAT_TOLERANCE = 1e-5
"""Largest difference from torch that a float graph may show, as a share of the largest logit but at least of 1."""


def logits_of(
    compiled: Compiled, raw: NDArray[Any], spec: InputSpec, gates: dict[str, Gates], seeded: tuple[int, ...]
) -> dict[str, NDArray[np.float32]]:
    """Logits of raw samples, (N, classes), by configuration: every chain of the variant is run on every sample."""
    with quiet():  # an interpreter announces itself from C++
        runners = {name: open_graph(item.data, item.graph) for name, item in compiled.artefacts.items()}
    answers = {}
    for configuration, chain in compiled.chains.items():
        if compiled.recipe.layout is Layout.GATED:
            switches = [np.asarray(gates[configuration][slot]) for slot in seeded]
            calls = [runners[chain[0]].bind(switches)]
        else:
            calls = [runners[name].bind() for name in chain]
        first = compiled.artefacts[chain[0]].graph.inputs[0]
        encode = encoder(spec, first, channels_last=compiled.recipe.format is Format.TFLITE)
        quantisation = compiled.artefacts[chain[-1]].graph.outputs[0].quantisation
        rows = []
        for sample in raw:
            value = encode(sample)
            for call in calls:
                value = call(value)
            rows.append(value.ravel())
        found = np.stack(rows).astype(np.float32)
        if quantisation is not None:
            found = (found - quantisation.zero_point) * np.float32(quantisation.scale)
        answers[configuration] = found
    return answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Answers of a compiled configuration beside torch's, on labelled samples; fractions, dB and logits."""

    accuracy: float
    torch_accuracy: float
    agreement: float
    difference: float
    sqnr_db: float | None


def compare(found: NDArray[np.float32], wanted: NDArray[np.float32], labels: NDArray[np.int64]) -> Comparison:
    """Compare two sets of logits, (N, classes)."""
    noise = float(np.sum(np.square(found.astype(np.float64) - wanted)))
    signal = float(np.sum(np.square(wanted.astype(np.float64))))
    return Comparison(
        accuracy=float(np.mean(found.argmax(axis=1) == labels)),
        torch_accuracy=float(np.mean(wanted.argmax(axis=1) == labels)),
        agreement=float(np.mean(found.argmax(axis=1) == wanted.argmax(axis=1))),
        difference=float(np.max(np.abs(found - wanted))),
        sqnr_db=round(10 * np.log10(signal / noise), 2) if noise > 0 and signal > 0 else None,
    )


def check_parity(what: str, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """Largest difference of a float graph from torch; raises IncompatibleError when it exceeds the tolerance."""
    difference = float(np.max(np.abs(found - wanted)))
    limit = FLOAT_TOLERANCE * max(1.0, float(np.max(np.abs(wanted))))
    if not difference <= limit:  # also when it is NaN
        raise IncompatibleError(
            f"{what} differs from torch by {difference:.3g}, more than {limit:.3g}",
            hint="the converter changed what the network computes; simplify the part it names",
        )
    return difference
