"""The same int8 graphs on other kernels: LiteRT's plain and reference ones, and TFLite Micro's.

int8 kernels round differently; the format does not say which way is right. An operator fed alike may differ by two
quantisation steps. Through a chain such differences are amplified as any other noise is, so a chain has another
tolerance: what int8 itself adds. Beyond that, figures measured with one kind of kernels say nothing of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporters.backends.cutting import cut
from exporters.backends.flatbuffer import Operator, read_model
from exporters.backends.toolchain import quiet
from exporters.compiled import Compiled
from exporters.quantise.openers import DEFAULT, MICRO, OPENERS, PLAIN, REFERENCE, Call, Opener, micro_installed
from exporters.quantise.play import laid_open
from exporters.report import KernelReport
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.executor import encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Raw = NDArray[Any]

SAMPLES = 32
OPERATOR_SAMPLES = 8
OPERATOR_TOLERANCE_LSB = 2
KERNELS = (PLAIN, REFERENCE, MICRO)
NOT_INSTALLED = "tflite_micro is not installed: not checked"


def check_kernels(compiled: Compiled, raw: NDArray[Any], spec: InputSpec) -> tuple[KernelReport, ...]:
    """Every configuration of an int8 TFLite variant on other kernels than LiteRT's default, on at most 32 samples.

    Differences are in quantisation steps: of a logit, the chain run from end to end on each; and of any operator's
    answer, fed alike. The share of samples with another answer is told as well.
    """
    if not compiled.recipe.int8_tflite:
        return ()
    rows = np.linspace(0, len(raw) - 1, min(SAMPLES, len(raw))).astype(np.int64)
    first = {chain[0] for chain in compiled.chains.values()}
    encode = {name: encoder(spec, compiled.artefacts[name].graph.inputs[0]) for name in first}
    samples = {name: [call(row).copy() for row in raw[rows]] for name, call in encode.items()}
    usual = _Run(compiled, samples, OPENERS[DEFAULT])
    graphs = {
        name: _Operators(artefact.data, usual.entered[name][:OPERATOR_SAMPLES])
        for name, artefact in compiled.artefacts.items()
        if name in usual.entered
    }
    reports = []
    for kernels in KERNELS:
        if kernels == MICRO and not micro_installed():
            reports += [_unchecked(compiled, name, kernels, NOT_INSTALLED) for name in compiled.chains]
            continue
        run = _Run(compiled, samples, OPENERS[kernels])
        worst = {name: operators.worst_lsb(OPENERS[kernels]) for name, operators in graphs.items()}
        for name, chain in compiled.chains.items():
            if name in run.problems:
                reports.append(_unchecked(compiled, name, kernels, run.problems[name]))
                continue
            reports.append(
                KernelReport(
                    variant=compiled.recipe.id,
                    configuration=name,
                    kernels=kernels,
                    samples=len(rows),
                    worst_lsb=int(np.abs(run.answers[name] - usual.answers[name]).max()),
                    operator_lsb=max(worst[graph] for graph in chain),
                    flipped=float(np.mean(run.answers[name].argmax(axis=1) != usual.answers[name].argmax(axis=1))),
                )
            )
    return tuple(reports)


def _unchecked(compiled: Compiled, configuration: str, kernels: str, problem: str) -> KernelReport:
    return KernelReport(
        variant=compiled.recipe.id,
        configuration=configuration,
        kernels=kernels,
        samples=0,
        worst_lsb=None,
        problem=problem,
    )


class _Run:
    """All chains of a variant on one kind of kernels; the common beginnings of chains run once.

    ``answers``: raw logits by configuration, (N, classes); ``problems``: why others have none; ``entered``: raw inputs
    that a graph got in one of its chains.
    """

    def __init__(self, compiled: Compiled, samples: Mapping[str, Sequence[Raw]], opener: Opener) -> None:
        self.answers: dict[str, NDArray[np.int64]] = {}
        self.problems: dict[str, str] = {}
        self.entered: dict[str, Sequence[Raw]] = {}
        calls, refused = _opened({name: artefact.data for name, artefact in compiled.artefacts.items()}, opener)
        passed: dict[tuple[str, ...], Sequence[Raw]] = {}
        for configuration, chain in compiled.chains.items():
            stuck = next((name for name in chain if name in refused), None)
            if stuck is not None:
                self.problems[configuration] = f"{stuck}: {refused[stuck]}"
                continue
            for length, name in enumerate(chain, start=1):
                if chain[:length] not in passed:
                    self.entered[name] = samples[name] if length == 1 else passed[chain[: length - 1]]
                    passed[chain[:length]] = [calls[name](value) for value in self.entered[name]]
            self.answers[configuration] = np.stack([value.ravel() for value in passed[chain]]).astype(np.int64)


def _opened(files: Mapping[str, bytes], opener: Opener) -> tuple[dict[str, Call], dict[str, str]]:
    """Graphs ready to run, and why the others are not."""
    calls: dict[str, Call] = {}
    refused: dict[str, str] = {}
    with quiet():
        for name, data in files.items():
            try:
                calls[name] = opener(data)
            except (RuntimeError, ValueError) as exc:
                refused[name] = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return calls, refused


class _Operators:
    """The int8 operators of a graph one by one, each with the inputs it has in the graph and the usual answers."""

    def __init__(self, data: bytes, feed: Sequence[Raw]) -> None:
        self._cases: list[tuple[bytes, list[tuple[Raw, ...]], list[Raw]]] = []
        tensors = _activations(data, feed)
        for operator in read_model(data).operators:
            if operator.outputs[0].dtype != "int8":
                continue
            alone = cut(data, operator.index)
            inputs = _moving(operator)
            feeds = [tuple(tensors[name][i] for name in inputs) for i in range(len(feed))]
            calls, _ = _opened({"": alone}, OPENERS[DEFAULT])
            if calls:
                self._cases.append((alone, feeds, [calls[""](*values) for values in feeds]))

    def worst_lsb(self, opener: Opener) -> int:
        """Largest difference of an answer from the usual one; 0 when no operator can be run by itself."""
        worst = 0
        for data, feeds, wanted in self._cases:
            calls, _ = _opened({"": data}, opener)
            if calls:
                found = [calls[""](*values) for values in feeds]
                pairs = zip(found, wanted, strict=True)
                worst = max(worst, *(int(np.abs(a.astype(np.int64) - b).max()) for a, b in pairs))
        return worst


def _moving(operator: Operator) -> list[str]:
    return list(dict.fromkeys(tensor.name for tensor in operator.inputs if not tensor.constant))


def _activations(data: bytes, feed: Sequence[Raw]) -> dict[str, list[Raw]]:
    """Raw values of all activations of a graph, sample by sample, by the reference kernels."""
    interpreter = laid_open(data, "BUILTIN_REF")
    model = read_model(data)
    wanted = {name for operator in model.operators for name in _moving(operator)}
    index = {item["name"]: item["index"] for item in interpreter.get_tensor_details() if item["name"] in wanted}
    found: dict[str, list[Raw]] = {name: [] for name in wanted}
    for value in feed:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
        interpreter.invoke()
        for name, rows in found.items():
            rows.append(interpreter.get_tensor(index[name]))
    return found
