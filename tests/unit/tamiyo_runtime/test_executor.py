"""The executor: every variant agrees with the reference in numpy, whichever seeds are on."""

from __future__ import annotations

import numpy as np
import pytest

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import IntegrityError, MissingExtraError, UnknownNameError
from tamiyo_runtime.contracts.manifest import InputSpec
from tamiyo_runtime.contracts.plan import Configuration, Quantisation, TensorSpec
from tamiyo_runtime.executor import Executor, choose_variant, encoder
from tests import tiny


@pytest.mark.parametrize("gates", tiny.ALL_GATES)
@pytest.mark.parametrize(("variant", "tolerance"), [("float", 1e-5), ("onnx", 1e-5), ("int8", 0.5)])
def test_every_configuration_of_every_variant_gives_the_networks_logits(
    tiny_bundle: Bundle, variant: str, tolerance: float, gates: tuple[bool, ...]
) -> None:
    executor = Executor(tiny_bundle, variant)
    for sample in tiny.samples()[0]:
        found = executor.run(sample, Configuration.name_of(gates))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, tiny.logits(sample, gates), atol=tolerance, rtol=tolerance)


def test_int8_chains_differ_between_configurations_as_the_reference_does(tiny_bundle: Bundle) -> None:
    executor = Executor(tiny_bundle, "int8")
    sample = tiny.samples()[0][0]
    assert not np.allclose(executor.run(sample, "c00"), executor.run(sample, "c11"))


@pytest.mark.parametrize("variant", ["float", "onnx", "int8"])
def test_the_judgement_is_the_softmax_of_the_logits(tiny_bundle: Bundle, variant: str) -> None:
    executor = Executor(tiny_bundle, variant)
    for sample in tiny.samples()[0]:
        logits = executor.run(sample, "c11").astype(np.float64)
        softmax = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        answer, confidence = executor.classify(sample, executor.index_of("c11"))
        assert answer == logits.argmax()
        assert confidence == pytest.approx(softmax.max(), rel=1e-5)


def test_the_first_variant_with_an_installed_interpreter_is_chosen(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Executor(tiny_bundle).variant.id == "int8"
    monkeypatch.setattr("tamiyo_runtime.interpreters.base._installed", lambda module: module == "onnxruntime")
    assert Executor(tiny_bundle).variant.id == "onnx"
    monkeypatch.setattr("tamiyo_runtime.interpreters.base._installed", lambda module: False)
    with pytest.raises(MissingExtraError) as caught:
        Executor(tiny_bundle)
    assert "tamiyo-edge[litert]" in str(caught.value.hint)


def test_an_unknown_variant_or_configuration_names_near_ones(tiny_bundle: Bundle) -> None:
    with pytest.raises(UnknownNameError) as caught:
        choose_variant(tiny_bundle.manifest.variants, "int9")
    assert caught.value.near[0] == "int8"
    with pytest.raises(UnknownNameError):
        Executor(tiny_bundle).index_of("c21")


def _spec(**changes: object) -> InputSpec:
    fields: dict[str, object] = {
        "shape": (3, 2, 4),
        "layout": "CHW",
        "offset": 2.0,
        "scale": 0.5,
        "raw_low": 0.0,
        "raw_high": 10.0,
    }
    return InputSpec(**{**fields, **changes})  # type: ignore[arg-type]  # built from a table


def test_channels_move_to_the_end_where_the_graph_wants_them_there() -> None:
    sample = np.arange(24, dtype=np.float32).reshape(3, 2, 4) % 10
    real = (sample - 2.0) * 0.5
    first = encoder(_spec(), TensorSpec(name="x", shape=(1, 3, 2, 4), dtype="float32"))(sample)
    last = encoder(_spec(), TensorSpec(name="x", shape=(1, 2, 4, 3), dtype="float32"))(sample)
    np.testing.assert_allclose(first[0], real)
    np.testing.assert_allclose(last[0], real.transpose(1, 2, 0))


def test_a_sample_that_fits_no_order_of_axes_is_refused() -> None:
    with pytest.raises(IntegrityError, match="does not fit"):
        encoder(_spec(), TensorSpec(name="x", shape=(1, 4, 3, 2), dtype="float32"))


@pytest.mark.parametrize("scale", [0.02, 0.005])  # the second is too narrow for the sensor's range: the ends saturate
def test_quantisation_rounds_to_the_nearest_step_and_saturates(scale: float) -> None:
    quantisation = Quantisation(scale=scale, zero_point=3)
    tensor = TensorSpec(name="x", shape=(1, 3, 2, 4), dtype="int8", quantisation=quantisation)
    sample = np.linspace(0, 10, 24, dtype=np.float32).reshape(3, 2, 4)
    found = encoder(_spec(), tensor)(sample)[0].astype(int)
    exact = (sample - 2.0) * 0.5 / scale + 3
    assert found.min() >= -128
    assert found.max() <= 127
    np.testing.assert_allclose(found, np.clip(exact, -128, 127), atol=0.501)


def test_where_both_orders_fit_the_graph_of_each_format_gets_its_own() -> None:
    sample = np.arange(9, dtype=np.float32).reshape(3, 3)
    spec, tensor = _spec(shape=(3, 3), layout="CT"), TensorSpec(name="x", shape=(1, 3, 3), dtype="float32")
    real = (sample - 2.0) * 0.5
    np.testing.assert_allclose(encoder(spec, tensor)(sample)[0], real.T)
    np.testing.assert_allclose(encoder(spec, tensor, channels_last=False)(sample)[0], real)
