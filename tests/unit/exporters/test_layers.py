from __future__ import annotations

import pytest

from device_profiles.loader import load_profile
from exporters.layers import INVOCATION, cost_checks
from tests.unit.exporters.conftest import Exported

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("name", ["pi", "tpu"])
def test_the_layers_of_a_graph_add_up_to_its_cost(name: str, request: pytest.FixtureRequest) -> None:
    done: Exported = request.getfixturevalue(name)
    for variant in done.report.variants:
        for runnable in variant.runnables:
            own = [x for x in done.report.layers if x.variant == variant.id and x.graph in runnable.chain]
            if variant.layout == "gated" and runnable is not variant.runnables[-1]:
                continue  # the layers of a gated graph are those of the full network
            latency_ms = sum(layer.latency_ms.value for layer in own)
            assert latency_ms == pytest.approx(runnable.cost.latency_ms.value, rel=1e-6)
            assert sum(layer.energy_uj.value for layer in own) == pytest.approx(runnable.cost.energy_uj.value)
            assert sum(layer.macs for layer in own) == runnable.cost.macs
            assert max(layer.live_bytes for layer in own) == runnable.cost.activation_bytes


def test_layers_say_which_part_of_the_network_they_came_from(pi: Exported, tpu: Exported) -> None:
    segments = {x.module for x in pi.report.layers if x.variant == "tflite-int8" and x.operator != INVOCATION}
    assert segments == {"trunk0/trunk", "seed0/adapter", "trunk1/trunk", "seed2/squeeze-excite", "head/head"}
    gated = {x.module for x in pi.report.layers if x.variant == "onnx-float" and x.operator != INVOCATION}
    assert gated == segments
    full = tpu.bundle.manifest.configurations[-1].id
    whole = [x for x in tpu.report.layers if x.graph == full and x.operator != INVOCATION]
    assert {x.module for x in whole} == segments
    assert [x.module for x in whole if x.operator == "LOGISTIC"] == ["seed2/squeeze-excite"]


def test_layers_say_where_they_run(tpu: Exported) -> None:
    placed = {(item.graph, item.index): item for item in tpu.report.placement}
    layers = [x for x in tpu.report.layers if x.operator != INVOCATION]
    assert len(layers) == len(placed)
    for layer in layers:
        item = placed[layer.graph, layer.index]
        assert (layer.operator, layer.on_accelerator, layer.reason) == (item.operator, item.on_accelerator, item.reason)


def test_the_report_says_what_the_cost_model_was_checked_against(pi: Exported) -> None:
    assert pi.report.cost_checks == cost_checks(load_profile("raspberry-pi-4"))
    assert "worst 63.3 % of 4 latencies, fitted: MLPerf Tiny" in pi.report.cost_checks[0]
    assert cost_checks(load_profile("cloud-tpu")) == ("not checked against any row of this device",)
