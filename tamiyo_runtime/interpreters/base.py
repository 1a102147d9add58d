"""The port between the executor and whatever runs a graph.

A graph that reaches an interpreter comes from a verified bundle; an interpreter is no place to judge a hostile file.
What it does check is that the file has the inputs and outputs which the manifest promises.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError, TamiyoError
from tamiyo_runtime.contracts.plan import Format, Graph, TensorSpec
from tamiyo_runtime.contracts.registry import Registry

Array = NDArray[Any]
Call = Callable[[Array], Array]


class GraphError(TamiyoError):
    """A graph failed while it ran, or answered something that is no number."""


class GraphRunner(Protocol):
    """A loaded graph. Arrays have exactly the shapes and dtypes of the graph's specs; nothing is converted."""

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """All outputs for these inputs, as copies; raises GraphError."""

    def bind(self, rest: Sequence[Array] = ()) -> Call:
        """The hot path: a function from the first input to the first output, the other inputs being fixed.

        The function does no checks of its own and lets the interpreter's exceptions through.
        """


class Interpreter(Protocol):
    """A way to run graphs of one format. ``module`` is what must be importable, ``extra`` what installs it."""

    format: ClassVar[Format]
    module: ClassVar[str]
    extra: ClassVar[str]

    @classmethod
    def open_graph(cls, data: bytes, graph: Graph) -> GraphRunner:
        """Load a graph; raises IntegrityError when it does not load or is not what ``graph`` says."""


interpreters: Registry[type[Interpreter]] = Registry("interpreters")

# Where several interpreters can run a format, in this order; others, from plug-ins, come after.
_PREFERRED = ("litert", "tflite_runtime", "onnxruntime")


def available(form: Format) -> tuple[str, ...]:
    """Names of the installed interpreters for a format, the preferred one first. Imports none of them."""
    names = [name for name, item in interpreters if item.format is form and _installed(item.module)]
    return tuple(sorted(names, key=lambda name: (_PREFERRED.index(name) if name in _PREFERRED else 99, name)))


def choose(form: Format) -> str:
    """The preferred installed interpreter for a format; raises MissingExtraError when there is none."""
    names = available(form)
    if names:
        return names[0]
    first = next(name for name in _PREFERRED if interpreters.get(name).format is form)
    item = interpreters.get(first)
    raise MissingExtraError(item.module.partition(".")[0], item.extra)


def open_graph(data: bytes, graph: Graph, *, interpreter: str | None = None) -> GraphRunner:
    """Load a graph with the named interpreter, or the preferred one for its file type."""
    name = interpreter or choose(Format(PurePosixPath(graph.file).suffix.removeprefix(".")))
    item = interpreters.get(name)
    if not _installed(item.module):
        raise MissingExtraError(item.module.partition(".")[0], item.extra)
    return item.open_graph(data, graph)


def check_inputs(graph: Graph, inputs: Sequence[Array]) -> None:
    """Raise GraphError unless number, shapes and dtypes of the inputs are those of the specs."""
    if len(inputs) != len(graph.inputs):
        raise GraphError(f"{graph.file} takes {len(graph.inputs)} inputs, got {len(inputs)}")
    for spec, value in zip(graph.inputs, inputs, strict=True):
        if value.shape != spec.shape or value.dtype != np.dtype(spec.dtype):
            raise GraphError(
                f"{graph.file}: input '{spec.name}' is {spec.dtype}{list(spec.shape)}, got {value.dtype}{value.shape}"
            )


def check_spec(graph: Graph, spec: TensorSpec, *, shape: Sequence[object], dtype: object, scale: float = 0.0) -> None:
    """Raise IntegrityError unless a tensor of a loaded file is the one that the manifest describes.

    ``scale`` 0 stands for a tensor without quantisation.
    """
    stated = spec.quantisation.scale if spec.quantisation else 0.0
    same = tuple(shape) == spec.shape and np.dtype(spec.dtype) == dtype and np.isclose(scale, stated, rtol=1e-5, atol=0)
    if not same:
        raise IntegrityError(
            f"{graph.file}: tensor '{spec.name}' is {dtype}{list(shape)} of scale {scale:g}, the manifest says "
            f"{spec.dtype}{list(spec.shape)} of scale {stated:g}",
            hint="export the bundle again",
        )


def _installed(module: str) -> bool:
    """Whether a module can be found, without importing it (finding a submodule imports its package only)."""
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False
