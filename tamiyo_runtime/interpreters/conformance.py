"""What every interpreter has to do, as a checker that anyone's plug-in can be put through."""

from __future__ import annotations

import numpy as np

from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.contracts.plan import Graph
from tamiyo_runtime.interpreters.base import Array, GraphError, interpreters


def check_interpreter(name: str, data: bytes, graph: Graph) -> None:
    """Put a registered interpreter through its paces with a graph of its format; raises AssertionError.

    The graph must answer different inputs differently, and its first output must not be constant.
    """
    item = interpreters.get(name)
    runner = item.open_graph(data, graph)
    random = np.random.default_rng(0)
    first, second = ([random.integers(0, 2, spec.shape).astype(spec.dtype) for spec in graph.inputs] for _ in range(2))
    second[0] = (1 - first[0].astype(np.int64)).astype(first[0].dtype)

    answers = runner.run(first)
    assert len(answers) == len(graph.outputs), "one array an output"
    for answer, spec in zip(answers, graph.outputs, strict=True):
        assert answer.shape == spec.shape, f"'{spec.name}' has shape {answer.shape}"
        assert answer.dtype == np.dtype(spec.dtype), f"'{spec.name}' has type {answer.dtype}"
    kept = answers[0].copy()
    assert not np.array_equal(runner.run(second)[0], kept), "another input has another answer"
    assert np.array_equal(answers[0], kept), "an answer is a copy: the next run must not change it"
    assert np.array_equal(runner.run(first)[0], kept), "the same input has the same answer"
    call = runner.bind(first[1:])
    assert np.array_equal(call(first[0]), kept), "the hot path answers what `run` does"

    _refuses(lambda: runner.run(first[:-1]), "a missing input")
    _refuses(lambda: runner.run([_wrong(first[0]), *first[1:]]), "an input of another shape")
    for rubbish in (b"", b"rubbish", data[: len(data) // 2]):
        try:
            item.open_graph(rubbish, graph)
        except IntegrityError:
            continue
        raise AssertionError(f"{len(rubbish)} bytes of rubbish were loaded")


def _wrong(value: Array) -> Array:
    return np.zeros((2, *value.shape), value.dtype)


def _refuses(action: object, what: str) -> None:
    assert callable(action)
    try:
        action()
    except GraphError:
        return
    raise AssertionError(f"{what} was accepted")
