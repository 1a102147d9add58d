"""The shipped policy, exported: the runtime's graphs answer as torch does, wherever an observation may lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from exporters.backends import onnx, tflite
from exporters.backends.flatbuffer import read_model
from tamiyo_runtime.contracts.features import GLOBAL, SLOT
from tamiyo_runtime.contracts.manifest import PolicySpec
from tamiyo_runtime.contracts.observation import HEADS, OBSERVATION, Heads
from tamiyo_runtime.contracts.plan import Format
from tamiyo_runtime.policy import Policy
from tamiyo_train.policy import shipped

SLOTS = 3
FEATURES = [*GLOBAL, *(feature for _ in range(SLOTS) for feature in SLOT)]
LOW = np.array([feature.low for feature in FEATURES], np.float32)
HIGH = np.array([feature.high for feature in FEATURES], np.float32)


def drawn(name: str) -> NDArray[np.float32]:
    """Observations: anywhere within the ranges, at their corners, at their ends, and far beyond them."""
    rng = np.random.default_rng(0)
    made = {
        "anywhere": lambda: rng.uniform(LOW, HIGH, (100, len(LOW))),
        "corners": lambda: np.where(rng.random((100, len(LOW))) < 0.5, LOW, HIGH),
        "ends": lambda: np.stack([LOW, HIGH, 0 * LOW]),
        "beyond": lambda: np.array([[-1e12], [1e12]]).repeat(len(LOW), 1),
    }
    return np.asarray(made[name](), np.float32)


@pytest.fixture(scope="module")
def network():
    return shipped.network().with_slots(SLOTS)


@pytest.fixture(scope="module")
def policies(network):
    example, blueprints = torch.zeros(1, len(LOW)), tuple(shipped.card()["blueprints"])
    files = {
        Format.TFLITE: tflite.convert(network, example, name="policy"),
        Format.ONNX: onnx.convert(network, example, name="policy"),
    }
    size = Heads(SLOTS, len(blueprints)).size
    graphs = {
        Format.TFLITE: read_model(files[Format.TFLITE]).graph("policy/policy.tflite"),
        Format.ONNX: onnx.graph("policy/policy.onnx", shape=(len(LOW),), outputs=size),
    }
    spec = PolicySpec(graphs=graphs, observation=OBSERVATION, heads=HEADS, slots=SLOTS, blueprints=blueprints)
    return {form: Policy(spec, form, data) for form, data in files.items()}


@pytest.mark.parametrize("form", [Format.TFLITE, Format.ONNX])
@pytest.mark.parametrize("where", ["anywhere", "corners", "ends", "beyond"])
def test_every_head_and_every_gate_is_torchs_wherever_the_observation_lies(policies, network, form, where):
    seen = drawn(where)
    with torch.no_grad():
        wanted = network(torch.from_numpy(seen)).numpy()
    found = np.stack([policies[form].forward(row[np.newaxis]) for row in seen])
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
    gates = network.heads.slices()["gates"]
    clear = np.abs(wanted[:, gates]) > 1e-3
    assert clear.mean() > 0.9
    assert ((found[:, gates] > 0) == (wanted[:, gates] > 0))[clear].all()
