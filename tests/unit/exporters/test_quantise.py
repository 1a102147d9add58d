"""What is done when post-training int8 loses too much, and what is told of every part and operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from exporters.backends import tflite
from exporters.backends.flatbuffer import read_model
from exporters.network import scaled
from exporters.quantise import ptq, variant
from exporters.quantise.finetune import finetune
from exporters.quantise.goal import Goal
from exporters.quantise.noise import noise_of, sqnr_db
from exporters.quantise.play import play_through
from exporters.quantise.simulate import Ranges, round_weight, run
from exporters.quantise.variant import Int8Variant, Method, check_method, quantise_variant
from exporters.request import ExportRequest
from exporters.steps import capture
from exporters.steps.capture import Captured
from exporters.targets import INT8_SEGMENTS, find_target
from tamiyo_runtime.contracts.errors import ExitCode, IncompatibleError
from tests.unit.exporters.tiny import CHANNELS, CLASSES, tiny_request

pytestmark = pytest.mark.toolchain

FACTOR, SCALED = 400.0, range(5)


def badly_scaled() -> ExportRequest:
    """The tiny network with five channels 400 times smaller and the weights after them as much larger.

    In float it answers what it did; in int8 these channels share a scale with the others and vanish.
    """
    request = tiny_request(policy=False)
    convolution, dense = request.trunk[2][0], request.trunk[3].dense  # type: ignore[index, union-attr]
    with torch.no_grad():
        for channel in SCALED:
            convolution.weight[channel] /= FACTOR
            convolution.bias[channel] /= FACTOR
            dense.weight.view(len(CLASSES), CHANNELS, 9)[:, channel] *= FACTOR  # type: ignore[operator]
    return replace(request, seeds=[seed for seed in request.seeds if seed.slot == 0])


@dataclass(frozen=True)
class Hard:
    captured: Captured
    files: Mapping[str, bytes]
    real: NDArray[np.float32]

    @property
    def full(self) -> str:
        return self.captured.network.full.id

    @property
    def floor(self) -> float:
        return self.captured.accuracy[self.full] - 0.02

    def quantised(self, target: str, method: Method) -> Int8Variant:
        goal = Goal(full=self.full, floor=self.floor, samples=len(self.captured.request.test_labels))
        resolved = find_target(target)
        recipe = replace(INT8_SEGMENTS, per_tensor_dense=resolved.variants[0].per_tensor_dense)
        return quantise_variant(self.captured, resolved, recipe, self.files, real=self.real, goal=goal, method=method)


@pytest.fixture(scope="module")
def hard() -> Hard:
    captured, _ = capture.run(badly_scaled())
    files = {p.name: tflite.convert(p.module, p.example, name=p.name) for p in captured.network.pieces}
    return Hard(captured, files, scaled(captured.request, captured.request.calibration))


def test_operators_that_suffer_stay_in_float_where_the_target_allows_it(hard: Hard) -> None:
    found = hard.quantised("raspberry-pi-4", Method.AUTO)
    first, chosen = found.tried[0], found.chosen
    assert first.comparisons[hard.full].accuracy < hard.floor, "post-training int8 is not enough here"
    assert chosen.method is Method.MIXED
    assert chosen.comparisons[hard.full].accuracy >= hard.floor
    assert [candidate.method for candidate in found.tried] == [Method.PTQ, Method.MIXED], "no need to train"
    kept = [row.part for row in found.sensitivity if row.kept_float]
    assert kept
    for name, tensors in chosen.floating.items():
        model = read_model(chosen.files[name])
        assert (model.inputs[0].dtype, model.outputs[0].dtype) == ("int8", "int8"), "seams stay int8"
        codes = [operator.code for operator in model.operators]
        assert {"DEQUANTIZE", "QUANTIZE"} <= set(codes)
        assert len(tensors) < len(read_model(hard.files[name]).operators) or name == "head"


def test_weights_are_fine_tuned_where_the_target_takes_int8_only(hard: Hard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variant, "finetune", partial(finetune, steps=240))  # half of what an export takes
    before = [weight.clone() for piece in hard.captured.network.pieces for weight in piece.module.parameters()]
    found = hard.quantised("coral-usb", Method.AUTO)
    assert found.tried[0].comparisons[hard.full].accuracy < hard.floor
    assert [candidate.method for candidate in found.tried] == [Method.PTQ, Method.QAT]
    tuned = found.chosen.tuned
    assert tuned is not None
    assert tuned.agreement > tuned.agreement_before
    assert found.chosen.comparisons[hard.full].accuracy >= hard.floor
    after = [weight for piece in hard.captured.network.pieces for weight in piece.module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)), "parity is with the weights as they came"


def test_post_training_alone_when_that_is_asked_for(hard: Hard) -> None:
    found = hard.quantised("raspberry-pi-4", Method.PTQ)
    assert found.chosen.method is Method.PTQ
    assert len(found.tried) == 1


def test_the_most_sensitive_parts_come_first_and_name_what_was_broken(hard: Hard) -> None:
    rows = hard.quantised("raspberry-pi-4", Method.PTQ).sensitivity
    ratios = [row.sqnr_db for row in rows if row.sqnr_db is not None]
    assert ratios == sorted(ratios)
    assert {piece.name for piece in hard.captured.network.pieces} <= {row.part for row in rows}
    broken = {row.part for row in rows[:4]}
    assert any("head" in part or "trunk1" in part for part in broken)


def test_mixed_precision_is_refused_where_only_int8_runs() -> None:
    with pytest.raises(IncompatibleError, match="takes int8 only") as caught:
        check_method(Method.MIXED, find_target("coral-usb"))
    assert caught.value.exit_code is ExitCode.INCOMPATIBLE
    check_method(Method.MIXED, find_target("raspberry-pi-4"))


def test_every_operator_has_its_noise_and_a_bad_range_shows(hard: Hard) -> None:
    calibrated = ptq.segments(hard.captured.network, INT8_SEGMENTS, hard.files, hard.real)
    clean = noise_of(calibrated, calibrated.quantise())
    for name, decibels in clean.items():
        computing = {operator.index for operator in read_model(hard.files[name]).operators}
        assert set(decibels) <= computing
        assert len(decibels) >= len(computing) - 1
    ranges = {name: dict(found) for name, found in calibrated.ranges.items()}
    operator = read_model(hard.files["trunk0"]).operators[0]
    tensor = operator.outputs[0].name
    low, high = ranges["trunk0"][tensor]
    ranges["trunk0"][tensor] = (low, 0.2 * high)
    clipped = replace(calibrated, ranges=ranges, joints={})
    worse = noise_of(clipped, {"trunk0": clipped.quantise_graph("trunk0", ())})
    assert worse["trunk0"][0] < clean["trunk0"][0] - 10


def test_the_simulation_answers_what_the_int8_graphs_do(request_: ExportRequest) -> None:
    captured, _ = capture.run(replace(request_, policy=None, seeds=request_.seeds[:1]))
    network = captured.network
    real = scaled(request_, request_.calibration)
    modules, ranges = [piece.module for piece in network.pieces], Ranges()
    value = torch.from_numpy(real)

    def simulated(*, observing: bool) -> NDArray[np.float32]:
        with torch.no_grad():
            answer = run(
                network, modules, value, network.full.gates, ranges, observing=observing, per_tensor_dense=False
            )
        return answer.numpy()

    wanted = network.logits(real, network.full.gates)
    assert np.allclose(simulated(observing=True), wanted, atol=1e-5), "observing computes in float"
    assert ("slot", 0) in ranges.found
    decibels = sqnr_db(simulated(observing=False), wanted)
    assert decibels is not None
    files = {p.name: tflite.convert(p.module, p.example, name=p.name) for p in network.pieces}
    calibrated = ptq.segments(network, INT8_SEGMENTS, files, real)
    int8 = calibrated.quantise()
    chain = calibrated.chains[network.full.id]
    device = sqnr_db(play_through([int8[name] for name in chain], tflite.channels_last_array(real)), wanted)
    assert device is not None
    assert decibels == pytest.approx(device, abs=6), "rounded alike, and about as noisy"


def test_fine_tuning_gives_the_same_weights_again_and_stops_in_time(hard: Hard) -> None:
    def weights(limit_s: float) -> tuple[list[torch.Tensor], bool]:
        tuned = finetune(hard.captured.network, hard.real, per_tensor_dense=True, steps=40, limit_s=limit_s)
        return [w for piece in tuned.network.pieces for w in piece.module.parameters()], tuned.stopped

    (first, stopped), (second, _) = weights(60.0), weights(60.0)
    assert not stopped
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert weights(0.0)[1]


def test_a_weight_that_makes_the_step_coarse_hears_of_it() -> None:
    weight = nn.Parameter(torch.tensor([[10.0, 0.01], [0.02, 0.03]]))
    rounded = round_weight(weight, per_tensor=True)
    assert torch.equal(rounded[1], torch.zeros(2)), "one large weight leaves the others no step"
    per_channel = round_weight(weight, per_tensor=False)
    assert torch.allclose(per_channel[1], weight[1], atol=2e-4)
    (rounded[1] - weight[1].detach()).square().sum().backward()  # type: ignore[no-untyped-call]  # torch's
    assert weight.grad is not None
    assert weight.grad[0, 0] != 0
