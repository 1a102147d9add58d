from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from exporters.backends import quantiser, tflite
from exporters.backends.flatbuffer import Model, Operator, Tensor, read_model
from exporters.backends.ranges import settle

LOAD = """
import sys
from ai_edge_litert.interpreter import Interpreter
Interpreter(model_path=sys.argv[1], num_threads=1).allocate_tensors()
"""


def tensor(name: str) -> Tensor:
    return Tensor(name=name, shape=(1, 4), dtype="float32", constant=False, scales=(), zero_points=())


def chain(*codes: str) -> Model:
    """x -> t1 -> t2 ... -> y by one-input operators."""
    names = ["x", *(f"t{i}" for i in range(1, len(codes))), "y"]
    operators = tuple(
        Operator(
            index=i,
            code=code,
            version=1,
            inputs=(tensor(names[i]),),
            outputs=(tensor(names[i + 1]),),
            options={},
            values={},
        )
        for i, code in enumerate(codes)
    )
    return Model(inputs=(tensor("x"),), outputs=(tensor("y"),), operators=operators, subgraphs=1)


span = st.tuples(st.floats(-10, 0), st.floats(0, 10))


@given(st.lists(span, min_size=6, max_size=6))
def test_seams_and_same_scale_operators_end_with_one_range_that_holds_all(found: list[tuple[float, float]]) -> None:
    models = {"before": chain("RELU", "RESHAPE"), "after": chain("RESHAPE", "RELU")}
    names = ("x", "t1", "y")
    ranges = {
        "before": dict(zip(names, found[:3], strict=True)),
        "after": dict(zip(names, found[3:], strict=True)),
    }
    settled = settle(models, ranges, [[("before", "y"), ("after", "x")]])
    one = {settled["before"]["t1"], settled["before"]["y"], settled["after"]["x"], settled["after"]["t1"]}
    assert len(one) == 1
    for graph, values in ranges.items():
        for name, (low, high) in values.items():
            assert settled[graph][name][0] <= low
            assert settled[graph][name][1] >= high
    assert ranges["before"] == dict(zip(names, found[:3], strict=True)), "the argument is left alone"


def test_ranges_that_kernels_can_take_are_left_as_measured() -> None:
    ranges = {"graph": {"x": (-1.0, 1.0), "t1": (0.0, 2.0), "y": (0.0, 0.5)}}
    assert settle({"graph": chain("RELU", "LOGISTIC")}, ranges, []) == ranges


class SilentSeed(nn.Module):
    """A residual seed whose hidden layer is dead: its ReLU answers zero for every input."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1)
        nn.init.constant_(self.down.bias, -100.0)  # type: ignore[arg-type]  # a convolution with a bias has one
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]  # likewise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.up(torch.relu(self.down(x)))


@pytest.mark.toolchain
def test_a_layer_that_is_silent_in_calibration_does_not_kill_the_interpreter(tmp_path: Path) -> None:
    torch.manual_seed(0)
    samples = torch.rand(32, 4, 5, 5)
    data = tflite.convert(SilentSeed().eval(), samples[:1], name="silent")
    ranges = {"silent": quantiser.measure(data, tflite.channels_last_array(samples.numpy()), name="silent")}
    assert (0.0, 0.0) in ranges["silent"].values()
    settled = settle({"silent": read_model(data)}, ranges, [])["silent"]
    path = tmp_path / "silent.tflite"
    path.write_bytes(quantiser.quantise(data, settled, per_tensor_dense=False, name="silent"))
    done = subprocess.run([sys.executable, "-c", LOAD, str(path)], capture_output=True, check=False)
    assert done.returncode == 0
    answer = read_model(path.read_bytes()).outputs[0]
    assert answer.quantisation is not None
    assert answer.quantisation.scale == pytest.approx(np.ptp([0.0, *ranges["silent"]["y"]]) / 255, rel=0.01)


@pytest.mark.toolchain
def test_both_ways_of_the_quantiser_to_measure_agree() -> None:
    """The profiler in C++ is about ten times faster than the default; it must see the same tensors and ranges."""
    from ai_edge_quantizer import calibrator, recipe, recipe_manager
    from ai_edge_quantizer.utils import qsv_utils

    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 2, 1)).eval()
    samples = torch.rand(8, 2, 6, 6)
    data = tflite.convert(net, samples[:1], name="net")
    fast = quantiser.measure(data, tflite.channels_last_array(samples.numpy()), name="net")
    rules = recipe_manager.RecipeManager()
    rules.load_quantization_recipe(recipe.static_wi8_ai8())
    slow = calibrator.Calibrator(data, num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    feeds = [{"args_0": tflite.channels_last_array(sample.numpy()[None])} for sample in samples]
    slow.calibrate({"serving_default": feeds}, rules)
    for name, value in slow.get_model_qsvs().items():
        if name in {"x", "y"} or name in fast:
            assert fast[name] == pytest.approx((float(value["min"].min()), float(value["max"].max())), abs=1e-6)
    activations = {t.name for o in read_model(data).operators for t in (*o.inputs, *o.outputs) if not t.constant}
    assert activations <= set(fast)


def test_a_sum_keeps_its_inputs_within_the_ratio_of_its_kernel() -> None:
    first, second, out = tensor("a"), tensor("b"), tensor("y")
    model = Model(
        inputs=(first,),
        outputs=(out,),
        operators=(
            Operator(index=0, code="ADD", version=1, inputs=(first, second), outputs=(out,), options={}, values={}),
        ),
        subgraphs=1,
    )
    settled = settle({"g": model}, {"g": {"a": (0.0, 1e-6), "b": (0.0, 8.0), "y": (0.0, 8.0)}}, [])["g"]
    assert settled["a"][1] >= 8.0 / 512
    assert settled["b"] == (0.0, 8.0)
