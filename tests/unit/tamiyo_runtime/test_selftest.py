"""The self-test: recorded answers survive the trip, and every way to differ from them is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamiyo_runtime.bundle import VECTORS, Bundle
from tamiyo_runtime.contracts.errors import IntegrityError
from tamiyo_runtime.selftest import Vectors, replay
from tests import tiny


def _with(bundle: Bundle, vectors: Vectors) -> Bundle:
    files = {name: bundle.read(name) for name in bundle.names} | {VECTORS: vectors.to_bytes()}
    return Bundle(name="changed", size_bytes=1, manifest=bundle.manifest, digest="", signer=bundle.signer, files=files)


@pytest.fixture
def recorded(tiny_bundle: Bundle) -> Vectors:
    return Vectors.from_bytes(tiny_bundle.read(VECTORS))


def test_vectors_survive_the_trip_and_are_the_same_bytes_each_time(recorded: Vectors) -> None:
    again = Vectors.from_bytes(recorded.to_bytes())
    assert again.logits.keys() == recorded.logits.keys()
    assert all(np.array_equal(again.logits[key], recorded.logits[key]) for key in recorded.logits)
    assert again.to_bytes() == recorded.to_bytes()


def test_every_configuration_and_the_policy_are_replayed(tiny_bundle: Bundle) -> None:
    checks = replay(tiny_bundle)
    assert len(checks) == 3 * len(tiny.ALL_GATES) + 1
    assert all(check.ok and check.vectors for check in checks)


def test_a_float_graph_that_differs_by_more_than_rounding_fails(tiny_bundle: Bundle, recorded: Vectors) -> None:
    logits = dict(recorded.logits)
    key = ("float", "c01")
    logits[key] = logits[key] + np.float32(0.01 * np.abs(logits[key]).max())
    failed = [check for check in replay(_with(tiny_bundle, replace(recorded, logits=logits))) if not check.ok]
    assert [check.name for check in failed] == ["float/c01"]


def test_an_int8_graph_may_differ_by_some_steps_and_no_more(tiny_bundle: Bundle, recorded: Vectors) -> None:
    key, step = ("int8", "c11"), tiny.RANGE.scale
    found = {check.name: check for check in replay(tiny_bundle)}["int8/c11"]
    assert found.allowed == pytest.approx(2 * 5 * step, abs=1e-5)
    logits = {**recorded.logits, key: recorded.logits[key] + np.float32(20 * step)}
    changed = {check.name: check for check in replay(_with(tiny_bundle, replace(recorded, logits=logits)))}
    assert changed["int8/c11"].ok is False


def test_what_other_kernels_showed_before_shipping_is_allowed_with_two_steps_more(
    tiny_bundle: Bundle, recorded: Vectors
) -> None:
    key, step = ("int8", "c11"), tiny.RANGE.scale
    told = Vectors.from_bytes(replace(recorded, steps={key: 12, ("int8", "c00"): 1}).to_bytes())
    assert told.steps == {key: 12, ("int8", "c00"): 1}
    allowed = {check.name: check.allowed for check in replay(_with(tiny_bundle, told))}
    assert allowed["int8/c11"] == pytest.approx(14 * step, abs=1e-5)
    assert allowed["int8/c00"] == pytest.approx(2 * 3 * step, abs=1e-5)


@pytest.mark.parametrize("steps", [-1, 256, np.zeros(2)])
def test_a_number_of_steps_that_is_none_is_refused(recorded: Vectors, steps: object) -> None:
    wrong = replace(recorded, steps={("int8", "c11"): steps})  # type: ignore[dict-item]
    with pytest.raises(IntegrityError, match="steps/int8/c11 is no number of steps"):
        Vectors.from_bytes(wrong.to_bytes())


def test_a_policy_that_answers_differently_fails(tiny_bundle: Bundle, recorded: Vectors) -> None:
    assert recorded.policy_outputs is not None
    shifted = replace(recorded, policy_outputs=recorded.policy_outputs + np.float32(0.5))
    assert [check.name for check in replay(_with(tiny_bundle, shifted)) if not check.ok] == ["policy (tflite)"]


def test_answers_of_another_shape_and_missing_inputs_are_told(tiny_bundle: Bundle, recorded: Vectors) -> None:
    fewer = replace(recorded, inputs=recorded.inputs[:2])
    assert "recorded were [4, 3]" in str(replay(_with(tiny_bundle, fewer))[0].problem)
    with pytest.raises(IntegrityError, match="holds no inputs"):
        Vectors.from_bytes(Vectors(inputs=recorded.inputs, logits={}).to_bytes().replace(b"inputs", b"output"))


def test_a_graph_that_fails_here_is_reported_not_raised(tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("no such kernel\nmore")

    monkeypatch.setattr("tamiyo_runtime.executor.Executor.run", fail)
    monkeypatch.setattr("tamiyo_runtime.policy.Policy.forward", fail)
    assert {check.problem for check in replay(tiny_bundle)} == {"no such kernel"}
