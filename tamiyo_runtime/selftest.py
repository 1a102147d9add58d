"""The self-test of a bundle: what its graphs answered where it was made, replayed where it runs.

``vectors.npz`` holds, as float32 unless said otherwise:

    inputs                            (N, *input.shape) raw samples
    logits/<variant>/<configuration>  (N, classes)
    policy/inputs                     (M, observation)
    policy/outputs                    (M, heads)

Another processor rounds differently: float graphs must agree within 1e-3 of the largest logit, int8 graphs within
two steps of the output's quantisation for every graph of the chain.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import VECTORS, Bundle
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.contracts.plan import Format, Runnable, Variant
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.interpreters.base import GraphError, available
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.sources.bundled import load_arrays

FLOAT_TOLERANCE = 1e-3
STEPS_A_GRAPH = 2

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Recorded answers. ``logits`` by variant and configuration; the policy's are None in a bundle without one."""

    inputs: Floats
    logits: Mapping[tuple[str, str], Floats]
    policy_inputs: Floats | None = None
    policy_outputs: Floats | None = None

    def to_bytes(self) -> bytes:
        """Contents of ``vectors.npz``."""
        arrays = {"inputs": self.inputs}
        arrays |= {f"logits/{variant}/{name}": values for (variant, name), values in self.logits.items()}
        if self.policy_inputs is not None and self.policy_outputs is not None:
            arrays |= {"policy/inputs": self.policy_inputs, "policy/outputs": self.policy_outputs}
        stream = io.BytesIO()
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # its stub takes a keyword of its own for an array
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Vectors:
        """The inverse; raises IntegrityError when something is missing."""
        arrays = load_arrays(data, VECTORS)
        if "inputs" not in arrays:
            raise IntegrityError(f"{VECTORS} holds no inputs", hint="export the bundle again")
        logits = {}
        for key, values in arrays.items():
            kind, _, rest = key.partition("/")
            variant, _, name = rest.partition("/")
            if kind == "logits":
                logits[variant, name] = values
        return cls(
            inputs=arrays["inputs"],
            logits=logits,
            policy_inputs=arrays.get("policy/inputs"),
            policy_outputs=arrays.get("policy/outputs"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One replay. ``worst`` is the largest difference, ``allowed`` the tolerance; both None when it was not possible.

    ``ok`` None says that no interpreter for it is installed here.
    """

    name: str
    ok: bool | None
    vectors: int
    worst: float | None = None
    allowed: float | None = None
    problem: str | None = None


def replay(bundle: Bundle) -> list[Check]:
    """Run every recorded vector again; raises InputError when the bundle holds none."""
    vectors = Vectors.from_bytes(bundle.read(VECTORS))
    checks = [check for variant in bundle.manifest.variants for check in _replay_variant(bundle, variant, vectors)]
    if vectors.policy_inputs is not None and vectors.policy_outputs is not None:
        checks += [_replay_policy(bundle, form, vectors) for form in map(Format, _policy_forms(bundle))]
    return checks


def _replay_variant(bundle: Bundle, variant: Variant, vectors: Vectors) -> list[Check]:
    recorded = [item for item in variant.runnables if (variant.id, item.configuration) in vectors.logits]
    if not available(variant.format):
        problem = f"no interpreter for {variant.format} is installed"
        return [Check(name=variant.id, ok=None, vectors=0, problem=problem)] if recorded else []
    executor = Executor(bundle, variant.id)
    return [_replay_runnable(executor, runnable, vectors) for runnable in recorded]


def _replay_runnable(executor: Executor, runnable: Runnable, vectors: Vectors) -> Check:
    variant = executor.variant
    expected = vectors.logits[variant.id, runnable.configuration]
    name = f"{variant.id}/{runnable.configuration}"
    try:
        found = np.stack([executor.run(sample, runnable) for sample in vectors.inputs])
    except (GraphError, ValueError, RuntimeError) as exc:
        return Check(name=name, ok=False, vectors=len(vectors.inputs), problem=str(exc).splitlines()[0])
    last = variant.graphs[runnable.chain[-1]].outputs[0].quantisation
    allowed = (
        FLOAT_TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if last is None
        else STEPS_A_GRAPH * len(runnable.chain) * last.scale + 1e-6
    )
    return _compare(name, found, expected, allowed)


def _replay_policy(bundle: Bundle, form: Format, vectors: Vectors) -> Check:
    spec, inputs, expected = bundle.manifest.policy, vectors.policy_inputs, vectors.policy_outputs
    name = f"policy ({form})"
    if spec is None or inputs is None or expected is None or not available(form):
        return Check(name=name, ok=None, vectors=0, problem=f"no interpreter for {form} is installed")
    policy = Policy(spec, form, bundle.read(spec.graphs[form].file))
    try:
        found = np.stack([policy.forward(row[np.newaxis]) for row in inputs])
    except (GraphError, ValueError, RuntimeError) as exc:
        return Check(name=name, ok=False, vectors=len(inputs), problem=str(exc).splitlines()[0])
    return _compare(name, found, expected, FLOAT_TOLERANCE * max(1.0, float(np.abs(expected).max())))


def _compare(name: str, found: Floats, expected: Floats, allowed: float) -> Check:
    if found.shape != expected.shape:
        shapes = f"answered {list(found.shape)}, recorded were {list(expected.shape)}"
        return Check(name=name, ok=False, vectors=len(expected), problem=shapes)
    finite = bool(np.isfinite(found).all() and np.isfinite(expected).all())  # or the tolerance might be infinite too
    worst = float(np.abs(found - expected).max()) if finite else float("inf")
    ok = finite and worst <= allowed
    problem = None if ok else f"differs by {worst:.3g}, allowed is {allowed:.3g}"
    return Check(name=name, ok=ok, vectors=len(expected), worst=worst, allowed=allowed, problem=problem)


def _policy_forms(bundle: Bundle) -> list[str]:
    return sorted(bundle.manifest.policy.graphs) if bundle.manifest.policy else []
