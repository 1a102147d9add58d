"""Runs TFLite graphs of any number format on real values: int8 inputs are quantised, int8 answers made real again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.flatbuffer import read_model
from exporters.backends.toolchain import quiet, tool
from tamiyo_runtime.contracts.plan import Quantisation
from tamiyo_runtime.interpreters import open_graph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Values = NDArray[np.float32]


def play(data: bytes, feed: Values) -> Values:
    """Answers of a graph, (N, *output), to real values, (N, *input) in the graph's own order of axes."""
    graph = read_model(data).graph("graph.tflite")
    with quiet():
        call = open_graph(data, graph).bind()
    taken, given = graph.inputs[0].quantisation, graph.outputs[0].quantisation
    ready = quantised(feed, taken) if taken is not None else feed
    rows = [call(np.ascontiguousarray(ready[i : i + 1])) for i in range(len(ready))]
    answers = np.concatenate(rows)
    return real(answers, given) if given is not None else answers.astype(np.float32)


def play_through(graphs: Sequence[bytes], feed: Values) -> Values:
    """Answers of a chain of graphs, real values passing from each to the next."""
    for data in graphs:
        feed = play(data, feed)
    return feed


def laid_open(data: bytes, kernels: str) -> Any:
    """An interpreter that keeps every activation, with kernels by their name among LiteRT's ``OpResolverType``."""
    library = tool("ai_edge_litert.interpreter")
    with quiet():
        interpreter = library.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=library.OpResolverType[kernels],
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
    return interpreter


def play_all(data: bytes, feed: Values) -> dict[str, Values]:
    """Every activation of a graph by tensor name, as real numbers, (N, *tensor), by kernels without a delegate.

    A delegate keeps what is computed inside it to itself.
    """
    interpreter = laid_open(data, "BUILTIN_WITHOUT_DEFAULT_DELEGATES")
    model = read_model(data)
    index = {item["name"]: item["index"] for item in interpreter.get_tensor_details()}
    wanted = {tensor.name: tensor for operator in model.operators for tensor in operator.outputs}
    taken = model.inputs[0].quantisation
    ready = quantised(feed, taken) if taken is not None else feed
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
    for i in range(len(ready)):
        interpreter.set_tensor(index[model.inputs[0].name], np.ascontiguousarray(ready[i : i + 1]))
        interpreter.invoke()
        for name, found in rows.items():
            found.append(interpreter.get_tensor(index[name]))
    answers = {}
    for name, found in rows.items():
        how = wanted[name].quantisation
        values = np.stack(found)
        answers[name] = values.astype(np.float32) if how is None else real(values, how)
    return answers


def quantised(values: Values, how: Quantisation) -> NDArray[np.int8]:
    """Real values as int8; what does not fit saturates."""
    found: NDArray[np.int8] = np.clip(np.rint(values / np.float32(how.scale) + how.zero_point), -128, 127).astype(
        np.int8
    )
    return found


def real(values: NDArray[Any], how: Quantisation) -> Values:
    """int8 values as real ones."""
    return (values.astype(np.float32) - how.zero_point) * np.float32(how.scale)
