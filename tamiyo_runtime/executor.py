"""Runs a configuration: a raw sample in, logits out, by a chain of graphs.

Everything that can be looked up is looked up when a bundle is loaded. A sample is scaled, laid out and quantised once,
for the first graph; between the graphs of an int8 chain the raw values pass untouched, since the exporter gave both
sides of every seam one quantisation; only the last output is turned into real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError, UnknownNameError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.plan import Format, Layout, Runnable, TensorSpec, Variant
from tamiyo_runtime.cutting import steps
from tamiyo_runtime.interpreters.base import Array, Call, GraphError, GraphRunner, available, choose, open_graph

Encode = Callable[[Array], Array]


class Executor:
    """All configurations of one variant, loaded.

    ``runnables`` are the variant's, cheapest first; the methods take an index into them. ``interpreter`` is the name of
    the one in use.
    """

    def __init__(self, bundle: Bundle, variant_id: str | None = None, *, interpreter: str | None = None) -> None:
        """Load the named variant, or the first one for which an interpreter is installed.

        Raises UnknownNameError, MissingExtraError, or IntegrityError when a graph is not what the manifest says.
        """
        self.variant = choose_variant(bundle.manifest.variants, variant_id)
        self.interpreter = interpreter or choose(self.variant.format)
        self.runnables: tuple[Runnable, ...] = self.variant.runnables
        runners = {
            name: open_graph(bundle.read(graph.file), graph, interpreter=self.interpreter)
            for name, graph in self.variant.graphs.items()
        }
        gates = {item.id: item.gates for item in bundle.manifest.configurations}
        seeded = bundle.manifest.plan.seeded_slots
        self._chains = [
            _chain(self.variant, runnable, runners, [gates[runnable.configuration][slot] for slot in seeded])
            for runnable in self.runnables
        ]
        self._steps = steps(self.variant)
        self._stoppable = tuple(any(step.ways for step in chain) for chain in self._steps)
        first = self.variant.graphs[self.runnables[0].chain[0]].inputs[0]
        last = self.variant.graphs[self.runnables[0].chain[-1]].outputs[0]
        self._encode = encoder(bundle.manifest.input, first, channels_last=self.variant.format is Format.TFLITE)
        self._output = last
        self._judge = _judge_int8(last) if last.dtype == "int8" else _judge_float
        self._warm_up(np.zeros(bundle.manifest.input.shape, np.float32))

    def infer(self, sample: Array, index: int) -> Array:
        """The raw output of runnable ``index`` for one raw sample: the hot path, unchecked."""
        value = self._encode(sample)
        for call in self._chains[index]:
            value = call(value)
        return value

    def classify(self, sample: Array, index: int) -> tuple[int, float]:
        """`infer`, then `judge`: what the loop runs and times."""
        value = self._encode(sample)
        for call in self._chains[index]:
            value = call(value)
        return self._judge(value.ravel().tolist())

    def stoppable(self, index: int) -> bool:
        """Whether runnable ``index`` can be made shorter on its way."""
        return self._stoppable[index]

    def classify_within(
        self, sample: Array, index: int, *, lap: Callable[[float], float], left_ms: float, stretch: float
    ) -> tuple[int, float, int]:
        """`classify`, leaving out seeds as soon as with them the answer would come after ``left_ms``.

        ``lap``: see `tamiyo_runtime.meters.Board`. ``stretch``: worst case over estimate. Returns class, confidence
        and the index of the runnable that ran in the end. Where not even the shortest way is in time, it is taken.
        """
        value = self._encode(sample)
        place, calls, plan = 0, self._chains[index], self._steps[index]
        while place < len(calls):
            value = calls[place](value)
            step = plan[place]
            spent_ms = lap(step.own_ms)
            place += 1
            if step.ways and spent_ms + step.rest_ms * stretch > left_ms:
                in_time = (way.runnable for way in step.ways if spent_ms + way.rest_ms * stretch <= left_ms)
                index = next(in_time, step.ways[-1].runnable)
                calls, plan = self._chains[index], self._steps[index]
        answer, confidence = self._judge(value.ravel().tolist())
        return answer, confidence, index

    def _warm_up(self, sample: Array) -> None:
        """Run every graph once: the first run packs weights and may take fifty times as long as the others."""
        cold = set(self.variant.graphs)
        for index in reversed(range(len(self.runnables))):
            chain = self.runnables[index].chain
            if cold & set(chain):
                self.infer(sample, index)
                cold -= set(chain)

    def judge(self, output: Array) -> tuple[int, float]:
        """Class and softmax confidence of a raw output; raises GraphError when it is no number."""
        return self._judge(output.ravel().tolist())

    def logits(self, output: Array) -> NDArray[np.float32]:
        """A raw output as real numbers, (classes,)."""
        flat = output.ravel()
        if (quantisation := self._output.quantisation) is None:
            return flat.astype(np.float32)
        return (flat.astype(np.float32) - quantisation.zero_point) * np.float32(quantisation.scale)

    def run(self, sample: Array, runnable: Runnable | str) -> NDArray[np.float32]:
        """Logits of one raw sample, (classes,) float32, by a runnable or a configuration id."""
        name = runnable if isinstance(runnable, str) else runnable.configuration
        return self.logits(self.infer(sample, self.index_of(name)))

    def index_of(self, configuration: str) -> int:
        """Index of a configuration among ``runnables``; raises UnknownNameError."""
        for index, runnable in enumerate(self.runnables):
            if runnable.configuration == configuration:
                return index
        raise UnknownNameError("configuration", configuration, [item.configuration for item in self.runnables])


def choose_variant(variants: Sequence[Variant], variant_id: str | None = None) -> Variant:
    """The named variant, or the first, in the bundle's order of preference, that an installed interpreter can run."""
    if variant_id is not None:
        for variant in variants:
            if variant.id == variant_id:
                return variant
        raise UnknownNameError("variant", variant_id, [variant.id for variant in variants])
    for variant in variants:
        if available(variant.format):
            return variant
    choose(variants[0].format)  # raises, naming the extra of the preferred variant
    raise MissingExtraError("ai_edge_litert", "litert")


def encoder(spec: InputSpec, tensor: TensorSpec, *, channels_last: bool = True) -> Encode:
    """A function from raw samples, as ``spec`` describes them, to the first graph's input tensor.

    real = (raw - offset) * scale and q = rint(real / s) + z are one multiplication and one addition; for samples of
    type uint8 there are 256 results, which are looked up. The function returns the same buffer at every call.
    ``channels_last`` says what the graph means, as TFLite graphs do, where a sample has as many channels as rows.
    Raises IntegrityError when the tensor is not a permutation of the sample.
    """
    order = _axes(spec, tensor, channels_last=channels_last)
    quantisation = tensor.quantisation
    step, zero_point = (quantisation.scale, quantisation.zero_point) if quantisation else (1.0, 0)
    factor = np.float32(spec.scale / step)
    shift = np.float32(zero_point - spec.offset * spec.scale / step)
    real = np.empty(tensor.shape, np.float32)
    result = real if quantisation is None else np.empty(tensor.shape, np.int8)

    def by_arithmetic(sample: Array) -> Array:
        np.multiply(sample.transpose(order), factor, out=real[0])
        np.add(real, shift, out=real)
        if quantisation is not None:
            np.rint(real, out=real)
            np.minimum(real, 127, out=real)  # a calibration narrower than the sensor's range: the ends saturate
            np.maximum(real, -128, out=real)
            result[...] = real
        return result

    every = np.arange(256).astype(np.float32) * factor + shift
    table = every if quantisation is None else np.clip(np.rint(every), -128, 127).astype(np.int8)
    uint8, look_up, target = np.dtype(np.uint8), table.take, result[0]

    def encode(sample: Array) -> Array:
        if sample.dtype is not uint8:
            return by_arithmetic(sample)
        look_up(sample.transpose(order), None, target, "clip")  # "clip": no index is out of range, so none is checked
        return result

    return encode


def _axes(spec: InputSpec, tensor: TensorSpec, *, channels_last: bool) -> tuple[int, ...]:
    """Order of the sample's axes in the tensor, batch left out: the sample's own, or the first moved to the end."""
    wanted, rank = tensor.shape[1:], len(spec.shape)
    own = tuple(range(rank))
    moved = (*own[1:], *own[:1])
    for order in (moved, own) if channels_last else (own, moved):
        if tensor.shape[:1] == (1,) and wanted == tuple(spec.shape[axis] for axis in order):
            return order
    raise IntegrityError(
        f"a sample of shape {list(spec.shape)} ({spec.layout}) does not fit the graph's input {list(tensor.shape)}",
        hint="export the bundle again",
    )


def _chain(
    variant: Variant, runnable: Runnable, runners: Mapping[str, GraphRunner], gates: Sequence[bool]
) -> tuple[Call, ...]:
    if variant.layout is Layout.GATED:
        return (runners[runnable.chain[0]].bind([np.asarray(gate) for gate in gates]),)
    return tuple(runners[name].bind() for name in runnable.chain)


def _judge_float(values: list[float]) -> tuple[int, float]:
    """Plain Python: for tens of classes several times faster than array operations."""
    top = max(values)
    if not math.isfinite(sum(values)):
        raise GraphError("the network answered a value that is no finite number")
    return values.index(top), 1.0 / sum([math.exp(value - top) for value in values])


def _judge_int8(tensor: TensorSpec) -> Callable[[list[int]], tuple[int, float]]:
    """Softmax over 256 possible differences is a table."""
    scale = tensor.quantisation.scale if tensor.quantisation else 1.0
    below = [math.exp(-difference * scale) for difference in range(256)]

    def judge(values: list[int]) -> tuple[int, float]:
        top = max(values)
        return values.index(top), 1.0 / sum([below[top - value] for value in values])

    return judge
