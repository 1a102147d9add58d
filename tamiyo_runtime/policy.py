"""Runs the exported policy: a running device's state in, proposed gates out.

The policy is advice. Whatever it does, an exception in the interpreter, a NaN, an answer of the wrong length, comes
back as a `PolicyAnswer` that says so; it never stops the loop and never reaches the governor as gates. It is asked
every so many samples and when the state changes, not at every inference: its answer holds until it is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.manifest import PolicySpec
from tamiyo_runtime.contracts.observation import Heads, check_layout, observation_size
from tamiyo_runtime.contracts.plan import Format, Graph, TensorSpec
from tamiyo_runtime.contracts.running import RunningState, running_vector
from tamiyo_runtime.interpreters.base import GraphRunner, available, choose, open_graph


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """Proposed gates, one a slot; or None and what went wrong."""

    gates: tuple[bool, ...] | None
    problem: str | None = None


class Policy:
    """The exported policy, loaded. ``interpreter`` is the name of the one in use."""

    def __init__(self, spec: PolicySpec, form: Format, data: bytes) -> None:
        """Load a policy graph; raises IncompatibleError when it speaks another version of the contract."""
        check_layout("the bundle's policy", observation=spec.observation, heads=spec.heads)
        self.interpreter = choose(form)
        self._graph: Graph = spec.graphs[form]
        self._runner: GraphRunner = open_graph(data, self._graph, interpreter=self.interpreter)
        self._heads = Heads(spec.slots, len(spec.blueprints))
        self._gates = self._heads.slices()["gates"]
        inputs, outputs = self._graph.inputs[0].shape, self._graph.outputs[0].shape
        if inputs[-1] != observation_size(spec.slots) or outputs[-1] != self._heads.size:
            raise IncompatibleError(
                f"the bundle's policy takes {inputs[-1]} features and answers {outputs[-1]} values, "
                f"expected {observation_size(spec.slots)} and {self._heads.size}",
                hint="export the bundle again",
            )

    @classmethod
    def of(cls, bundle: Bundle, preferred: Format) -> Policy | None:
        """The bundle's policy, in the preferred format where it can be run; None when the bundle holds none.

        Raises MissingExtraError when no installed interpreter can run it.
        """
        spec = bundle.manifest.policy
        if spec is None:
            return None
        forms = sorted(map(Format, spec.graphs), key=lambda form: form is not preferred)  # JSON keys are strings
        form = next((form for form in forms if available(form)), forms[0])
        return cls(spec, form, bundle.read(spec.graphs[form].file))

    def propose(self, state: RunningState) -> PolicyAnswer:
        """Gates for this state; never raises."""
        try:
            vector = np.asarray([running_vector(state)], np.float32)
            heads = self.forward(vector)
        except Exception as exc:  # noqa: BLE001  advice that fails, however it fails, is no advice
            return PolicyAnswer(None, f"{type(exc).__name__}: {exc}".splitlines()[0][:200])
        if not np.isfinite(heads).all():
            return PolicyAnswer(None, "the policy answered a value that is no finite number")
        wanted = (heads[self._gates] > 0).tolist()
        return PolicyAnswer(tuple(gate and present for gate, present in zip(wanted, state.present, strict=True)))

    def forward(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """All heads, (heads,) float32, for one observation vector, (1, observation)."""
        spec_in, spec_out = self._graph.inputs[0], self._graph.outputs[0]
        (answer,) = self._runner.run([_quantise(observation.reshape(spec_in.shape), spec_in)])[:1]
        heads: NDArray[np.float32] = _dequantise(answer, spec_out).ravel()
        return heads


def _quantise(value: NDArray[np.float32], spec: TensorSpec) -> NDArray[Any]:
    if spec.quantisation is None:
        return value
    raw = np.rint(value / spec.quantisation.scale + spec.quantisation.zero_point)
    clipped: NDArray[Any] = np.clip(raw, -128, 127)
    return clipped.astype(np.int8)


def _dequantise(raw: NDArray[Any], spec: TensorSpec) -> NDArray[np.float32]:
    real: NDArray[np.float32] = raw.astype(np.float32)
    if spec.quantisation is not None:
        real -= spec.quantisation.zero_point
        real *= np.float32(spec.quantisation.scale)
    return real
