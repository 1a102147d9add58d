"""The variant ``onnx-int8``: whole configurations with a QDQ pair around every operator.

Seeds inside an ``If`` cannot be quantised statically, so each configuration is a graph of its own: few of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.backends import onnx, qdq
from exporters.compiled import Artefact, Compiled, graph_file
from exporters.ops.traced import trace
from exporters.steps.capture import Captured
from exporters.targets import VariantRecipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST = 4


def quantise_onnx(captured: Captured, recipe: VariantRecipe, real: NDArray[np.float32]) -> Compiled:
    """Int8 graphs of the bare host, the full network and the best between by torch's accuracy, at most four.

    Raises IncompatibleError when a converter does not take the network.
    """
    network, request = captured.network, captured.request
    example = network.pieces[0].example
    ops = {piece.name: trace(piece.module, piece.example, precision=recipe.precision) for piece in network.pieces}
    artefacts = {}
    for name in _chosen(captured):
        gates = captured.gates[name]
        data = qdq.quantise(onnx.convert(network.whole(gates), example, name=name), real, name=name)
        file = graph_file(recipe, name)
        graph = onnx.graph(file, shape=tuple(example.shape[1:]), outputs=len(request.classes))
        counted = tuple(op for piece in network.chain(gates) for op in ops[piece.name])
        artefacts[name] = Artefact(graph=graph, data=data, ops=counted)
    return Compiled.of_chains(recipe, artefacts, {name: (name,) for name in artefacts})


def _chosen(captured: Captured) -> tuple[str, ...]:
    ends = (captured.network.host.id, captured.network.full.id)
    between = [item.id for item in captured.configurations if item.id not in ends]
    best = sorted(between, key=lambda name: -captured.accuracy[name])[: MOST - len(set(ends))]
    return tuple(item.id for item in captured.configurations if item.id in {*ends, *best})
