"""The policy: advice that may fail in any way without anyone noticing but the telemetry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IncompatibleError
from tamiyo_runtime.contracts.observation import observation_size
from tamiyo_runtime.contracts.plan import Format, Graph
from tamiyo_runtime.contracts.running import RunningState
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.governor import SKIP, Limits
from tamiyo_runtime.observer import Observer
from tamiyo_runtime.policy import Policy
from tests import tiny


@pytest.fixture
def observer(tiny_bundle: Bundle) -> Observer:
    return Observer(tiny_bundle.manifest, tiny_bundle.manifest.variants[0], period_s=0.1)


def _state(observer: Observer, *, slowdown: float = 1.0, current: int = SKIP) -> RunningState:
    limits = Limits(deadline_ms=10.0, power_mw=5.0, burst_uj=100.0)
    return observer.state(current=current, limits=limits, slowdown=slowdown, bucket_level=0.5, link_level=1.0)


def _policy(bundle: Bundle) -> Policy:
    policy = Policy.of(bundle, Format.ONNX)  # preferred, but the bundle holds the policy as TFLite only
    assert policy is not None
    return policy


def test_the_answer_is_the_sign_of_the_gate_logits(tiny_bundle: Bundle, observer: Observer) -> None:
    policy = _policy(tiny_bundle)
    assert policy.propose(_state(observer)).gates == (True, True)
    assert policy.propose(_state(observer, slowdown=4.0)).gates == (False, False)


def test_all_heads_are_those_of_the_reference(tiny_bundle: Bundle) -> None:
    observation = np.random.default_rng(1).normal(size=(1, observation_size(tiny.SLOTS))).astype(np.float32)
    found = _policy(tiny_bundle).forward(observation)
    np.testing.assert_allclose(found, (observation @ tiny.policy_weights().T)[0], atol=1e-5)


def test_a_slot_without_a_seed_is_never_proposed(tiny_bundle: Bundle, observer: Observer) -> None:
    state = replace(_state(observer), present=(True, False))
    assert _policy(tiny_bundle).propose(state).gates == (True, False)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number_is_a_failure(tiny_bundle: Bundle, observer: Observer, value: float) -> None:
    policy = _policy(tiny_bundle)
    weights = np.full_like(tiny.policy_weights(), value)
    graph = tiny_bundle.manifest.policy.graphs[Format.TFLITE]  # type: ignore[union-attr]  # the tiny bundle has one
    bad = Policy(tiny_bundle.manifest.policy, Format.TFLITE, tiny.tflite_dense(weights, graph.inputs[0].shape))  # type: ignore[arg-type]  # likewise
    answer = bad.propose(_state(observer))
    assert answer.gates is None
    assert "no finite number" in str(answer.problem)
    assert policy.propose(_state(observer)).gates is not None


def test_a_state_that_makes_no_observation_is_a_failure_too(tiny_bundle: Bundle, observer: Observer) -> None:
    slots = {"present": (True,) * 3, "on": (False,) * 3}
    figures = dict.fromkeys(("contributions", "relative_params", "relative_macs", "seed_latency_ms"), (0.0,) * 3)
    answer = _policy(tiny_bundle).propose(replace(_state(observer), **slots, **figures))
    assert answer.gates is None
    assert answer.problem


def test_a_policy_of_another_contract_is_refused(tiny_bundle: Bundle) -> None:
    spec = tiny_bundle.manifest.policy
    assert spec is not None
    data = tiny_bundle.read("policy/policy.tflite")
    with pytest.raises(IncompatibleError, match=r"tamiyo\.observation/9"):
        Policy(replace(spec, observation="tamiyo.observation/9"), Format.TFLITE, data)
    with pytest.raises(IncompatibleError, match="expected 92 and"):
        Policy(replace(spec, slots=3), Format.TFLITE, data)


def test_a_bundle_without_policy_has_none(tiny_bundle: Bundle) -> None:
    manifest = replace(tiny_bundle.manifest, policy=None)
    bare = Bundle(
        name="bare",
        size_bytes=1,
        manifest=manifest,
        digest="",
        signer=tiny_bundle.signer,
        files={name: tiny_bundle.read(name) for name in tiny_bundle.names},
    )
    assert Policy.of(bare, Format.TFLITE) is None
    assert Executor(bare).run(tiny.samples()[0][0], "c00").shape == (3,)


def test_what_a_seed_is_worth_and_costs_comes_from_the_table_of_configurations(observer: Observer) -> None:
    state = _state(observer, current=1)
    assert state.present == (True, True)
    assert state.on == (True, False)
    assert state.contributions == pytest.approx((0.05, 0.10))
    assert state.seed_latency_ms == pytest.approx((0.5, 1.0))
    assert state.relative_macs == pytest.approx((64 / 216, 64 / 216))
    assert (state.host_latency_ms, state.current_latency_ms, state.full_latency_ms) == (2.5, 3.0, 4.0)
    assert state.host_power_mw == pytest.approx(2.5)  # 250 uJ every 100 ms
    assert state.accuracy == 0.85
    assert _state(observer).on == (False, False)


def _only(bundle: Bundle, *configurations: str) -> Observer:
    variant = bundle.manifest.variants[0]
    kept = tuple(item for item in variant.runnables if item.configuration in configurations)
    return Observer(bundle.manifest, replace(variant, runnables=kept), period_s=0.1)


def test_seeds_that_only_come_together_are_worth_equal_parts_of_what_they_bring(tiny_bundle: Bundle) -> None:
    together = _state(_only(tiny_bundle, "c00", "c11"))
    assert together.contributions == pytest.approx((0.075, 0.075))
    assert together.seed_latency_ms == pytest.approx((0.75, 0.75))


def test_a_seed_that_no_configuration_leaves_out_or_has_is_worth_nothing_known(tiny_bundle: Bundle) -> None:
    assert _state(_only(tiny_bundle, "c01", "c11")).contributions[1] == 0.0
    assert _state(_only(tiny_bundle, "c00", "c10")).contributions[1] == 0.0


def test_a_graph_that_is_not_the_manifests_is_refused(tiny_bundle: Bundle) -> None:
    spec = tiny_bundle.manifest.policy
    assert spec is not None
    graph = spec.graphs[Format.TFLITE]
    wrong = Graph(file=graph.file, inputs=(replace(graph.inputs[0], shape=(1, 3)),), outputs=graph.outputs)
    with pytest.raises(Exception, match="the manifest says"):
        Policy(replace(spec, graphs={Format.TFLITE: wrong}), Format.TFLITE, tiny_bundle.read(graph.file))
