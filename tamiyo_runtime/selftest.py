"""The self-test of a bundle: what its graphs answered where it was made, replayed where it runs.

``vectors.npz`` holds, as float32 unless said otherwise:

    inputs                            (N, *input.shape) raw samples
    logits/<variant>/<configuration>  (N, classes)
    steps/<variant>/<configuration>   () largest difference of a logit that other int8 kernels showed, in its own steps
    policy/inputs                     (M, observation)
    policy/outputs                    (M, heads)

Another processor rounds differently: float graphs must agree within 1e-3 of the largest logit, int8 graphs within
two steps of the output's quantisation for every graph of the chain. A deep chain amplifies what its kernels round, so
where other kernels were tried before it was shipped, two steps beyond what they showed are allowed too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tamiyo_runtime.bundle import VECTORS, Bundle
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.contracts.observation import observation_size
from tamiyo_runtime.contracts.plan import Format, Runnable, Variant
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.interpreters.base import GraphError, available
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.sources.bundled import load_arrays

FLOAT_TOLERANCE = 1e-3
STEPS_A_GRAPH = 2
_MOST_STEPS = 255  # between the ends of int8

Floats = NDArray[np.float32]
Doing = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Recorded answers. ``logits`` by variant and configuration; the policy's are None in a bundle without one.

    ``steps``: by variant and configuration, how far other int8 kernels were off; nothing where none were tried.
    """

    inputs: Floats
    logits: Mapping[tuple[str, str], Floats]
    steps: Mapping[tuple[str, str], int] = field(default_factory=dict)
    policy_inputs: Floats | None = None
    policy_outputs: Floats | None = None

    def to_bytes(self) -> bytes:
        """Contents of ``vectors.npz``."""
        arrays = {"inputs": self.inputs}
        arrays |= {f"logits/{variant}/{name}": values for (variant, name), values in self.logits.items()}
        arrays |= {
            f"steps/{variant}/{name}": np.array(steps, np.float32) for (variant, name), steps in self.steps.items()
        }
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
        logits, steps = {}, {}
        for key, values in arrays.items():
            kind, _, rest = key.partition("/")
            variant, _, name = rest.partition("/")
            if kind == "logits":
                logits[variant, name] = values
            elif kind == "steps":
                if values.shape != () or not 0 <= values <= _MOST_STEPS:
                    raise IntegrityError(f"{VECTORS}: {key} is no number of steps", hint="export the bundle again")
                steps[variant, name] = int(values)
        return cls(
            inputs=arrays["inputs"],
            logits=logits,
            steps=steps,
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


def replay(bundle: Bundle, *, every: bool = False, doing: Callable[[str], None] | None = None) -> list[Check]:
    """Run every recorded vector again; raises InputError when the bundle holds none.

    ``every``: run what has no recorded answer too, or a bundle without vectors, on a sample of zeros: it must answer
    finite numbers. ``doing`` is told of each step before it is taken.
    """
    doing = doing or (lambda _: None)
    if every and VECTORS not in bundle.names:
        vectors = Vectors(inputs=np.zeros((1, *bundle.manifest.input.shape), np.float32), logits={})
    else:
        vectors = Vectors.from_bytes(bundle.read(VECTORS))
    checks: list[Check] = []
    for variant in bundle.manifest.variants:
        checks += _replay_variant(bundle, variant, vectors, every, doing)
    for form in map(Format, _policy_forms(bundle)):
        if every or vectors.policy_inputs is not None:
            checks.append(_replay_policy(bundle, form, vectors, doing))
    return checks


def _replay_variant(bundle: Bundle, variant: Variant, vectors: Vectors, every: bool, doing: Doing) -> list[Check]:
    recorded = [item for item in variant.runnables if every or (variant.id, item.configuration) in vectors.logits]
    if not available(variant.format):
        problem = f"no interpreter for {variant.format} is installed"
        return [Check(name=variant.id, ok=None, vectors=0, problem=problem)] if recorded else []
    doing(f"loading variant '{variant.id}'")
    executor = Executor(bundle, variant.id)
    return [_replay_runnable(executor, runnable, vectors, doing) for runnable in recorded]


def _replay_runnable(executor: Executor, runnable: Runnable, vectors: Vectors, doing: Doing) -> Check:
    variant = executor.variant
    expected = vectors.logits.get((variant.id, runnable.configuration))
    name = f"{variant.id}/{runnable.configuration}"
    inputs = vectors.inputs if expected is not None else vectors.inputs[:1]
    doing(f"running '{name}'")
    try:
        found = np.stack([executor.run(sample, runnable) for sample in inputs])
    except (GraphError, ValueError, RuntimeError) as exc:
        return Check(name=name, ok=False, vectors=len(inputs), problem=_first_line(exc))
    last = variant.graphs[runnable.chain[-1]].outputs[0].quantisation
    if expected is None:
        return _judge_unrecorded(name, found)
    allowed = (
        FLOAT_TOLERANCE * max(1.0, float(np.abs(expected).max()))
        if last is None
        else _steps_allowed(vectors, variant, runnable) * last.scale + 1e-6
    )
    return _compare(name, found, expected, allowed)


def _steps_allowed(vectors: Vectors, variant: Variant, runnable: Runnable) -> int:
    shown = vectors.steps.get((variant.id, runnable.configuration), 0)
    return max(STEPS_A_GRAPH * len(runnable.chain), STEPS_A_GRAPH + shown)


def _replay_policy(bundle: Bundle, form: Format, vectors: Vectors, doing: Doing) -> Check:
    spec, inputs, expected = bundle.manifest.policy, vectors.policy_inputs, vectors.policy_outputs
    name = f"policy ({form})"
    if spec is None or not available(form):
        return Check(name=name, ok=None, vectors=0, problem=f"no interpreter for {form} is installed")
    if inputs is None or expected is None:
        inputs, expected = np.zeros((1, observation_size(spec.slots)), np.float32), None
    doing(f"running '{name}'")
    policy = Policy(spec, form, bundle.read(spec.graphs[form].file))
    try:
        found = np.stack([policy.forward(row[np.newaxis]) for row in inputs])
    except (GraphError, ValueError, RuntimeError) as exc:
        return Check(name=name, ok=False, vectors=len(inputs), problem=_first_line(exc))
    if expected is None:
        return _judge_unrecorded(name, found)
    return _compare(name, found, expected, FLOAT_TOLERANCE * max(1.0, float(np.abs(expected).max())))


def _judge_unrecorded(name: str, found: Floats) -> Check:
    finite = bool(np.isfinite(found).all())
    problem = "no answer is recorded; it ran" if finite else "answers no finite number"
    return Check(name=name, ok=finite, vectors=len(found), problem=problem)


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0]


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
