"""The same int8 graphs on other kernels: LiteRT's plain and reference ones, and TFLite Micro's.

int8 kernels round differently; the format does not say which way is right. What is measured with one is told of
another only when the answers lie within two quantisation steps of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.flatbuffer import Model, read_model
from exporters.backends.toolchain import quiet, tool
from exporters.compiled import Compiled
from exporters.report import KernelReport
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.plan import Format, Precision
from tamiyo_runtime.executor import encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLES = 32
TOLERANCE_LSB = 2
OPTIMISED, PLAIN, REFERENCE, MICRO = "litert", "litert without xnnpack", "litert reference", "tflite-micro"
KERNELS = (PLAIN, REFERENCE, MICRO)
_ARENA_BYTES = 1 << 18  # for bookkeeping, on top of the activations

Call = Callable[["NDArray[np.int8]"], "NDArray[np.int8]"]
Opener = Callable[[bytes], Call]


def check_kernels(compiled: Compiled, raw: NDArray[Any], spec: InputSpec) -> tuple[KernelReport, ...]:
    """Every configuration of an int8 TFLite variant on other kernels than LiteRT's default, on at most 32 samples.

    The figure is the largest difference of a logit in quantisation steps, the chain run from end to end on each.
    """
    if compiled.recipe.precision is not Precision.INT8 or compiled.recipe.format is not Format.TFLITE:
        return ()
    rows = np.linspace(0, len(raw) - 1, min(SAMPLES, len(raw))).astype(np.int64)
    first = {chain[0] for chain in compiled.chains.values()}
    encode = {name: encoder(spec, compiled.artefacts[name].graph.inputs[0]) for name in first}
    samples = {name: [call(row).copy() for row in raw[rows]] for name, call in encode.items()}
    wanted, _ = _answers(compiled, samples, OPENERS[OPTIMISED])
    reports = []
    for kernels in KERNELS:
        problem = "tflite_micro is not installed: not checked" if kernels == MICRO and not micro_installed() else None
        found: Mapping[str, NDArray[np.int64]] = {}
        problems: Mapping[str, str] = {}
        if problem is None:
            found, problems = _answers(compiled, samples, OPENERS[kernels])
        for configuration in compiled.chains:
            reports.append(
                KernelReport(
                    variant=compiled.recipe.id,
                    configuration=configuration,
                    kernels=kernels,
                    samples=len(rows) if configuration in found else 0,
                    worst_lsb=int(np.abs(found[configuration] - wanted[configuration]).max())
                    if configuration in found
                    else None,
                    problem=problem or problems.get(configuration),
                )
            )
    return tuple(reports)


def micro_installed() -> bool:
    """Whether TFLite Micro's Python package is there; it has wheels for x86-64 only."""
    return find_spec("tflite_micro") is not None


def _answers(
    compiled: Compiled, samples: Mapping[str, Sequence[NDArray[np.int8]]], opener: Opener
) -> tuple[dict[str, NDArray[np.int64]], dict[str, str]]:
    """Raw logits by configuration, (N, classes), and why the others have none. Common beginnings run once."""
    calls: dict[str, Call] = {}
    refused: dict[str, str] = {}
    for name, artefact in compiled.artefacts.items():
        try:
            with quiet():
                calls[name] = opener(artefact.data)
        except (RuntimeError, ValueError) as exc:
            refused[name] = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    passed: dict[tuple[str, ...], list[NDArray[np.int8]]] = {}
    answers: dict[str, NDArray[np.int64]] = {}
    problems: dict[str, str] = {}
    for configuration, chain in compiled.chains.items():
        stuck = next((name for name in chain if name in refused), None)
        if stuck is not None:
            problems[configuration] = f"{stuck}: {refused[stuck]}"
            continue
        for length, name in enumerate(chain, start=1):
            if chain[:length] not in passed:
                entering = samples[name] if length == 1 else passed[chain[: length - 1]]
                passed[chain[:length]] = [calls[name](value) for value in entering]
        answers[configuration] = np.stack([value.ravel() for value in passed[chain]]).astype(np.int64)
    return answers, problems


def _litert(resolver: str) -> Opener:
    def open_(data: bytes) -> Call:
        library = tool("ai_edge_litert.interpreter")
        interpreter = library.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_op_resolver_type=getattr(library.OpResolverType, resolver),
        )
        interpreter.allocate_tensors()
        taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

        def call(value: NDArray[np.int8]) -> NDArray[np.int8]:
            interpreter.set_tensor(taken, value)
            interpreter.invoke()
            answer: NDArray[np.int8] = interpreter.get_tensor(given)
            return answer

        return call

    return open_


def _micro(data: bytes) -> Call:
    runtime = tool("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_bytes(data, arena_size=_arena_bytes(read_model(data)))

    def call(value: NDArray[np.int8]) -> NDArray[np.int8]:
        interpreter.set_input(value, 0)
        interpreter.invoke()
        answer: NDArray[np.int8] = interpreter.get_output(0).copy()
        return answer

    return call


def _arena_bytes(model: Model) -> int:
    """Enough for every activation at once; it is a desktop that allocates it."""
    tensors = {t.name: t.size_bytes for o in model.operators for t in (*o.inputs, *o.outputs) if not t.constant}
    return _ARENA_BYTES + 2 * sum(tensors.values())


OPENERS: Mapping[str, Opener] = {
    OPTIMISED: _litert("AUTO"),
    PLAIN: _litert("BUILTIN_WITHOUT_DEFAULT_DELEGATES"),
    REFERENCE: _litert("BUILTIN_REF"),
    MICRO: _micro,
}
