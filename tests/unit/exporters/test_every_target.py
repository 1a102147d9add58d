"""The whole pipeline for every target, profiles that are added later included.

The pieces are the same for all of them, so the converters answer from memory after the first; all else is real.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_profiles.loader import load_profile, profile_ids
from exporters.ops.shipped import tables
from exporters.pipeline import STEPS, export
from exporters.report import ExportReport, Status
from exporters.request import ExportRequest
from exporters.targets import targets
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.plan import Layout, Precision
from tamiyo_runtime.signing import Trust
from tests.unit.exporters.conftest import KEY

pytestmark = pytest.mark.toolchain
# These five in every run: a CPU, a board, an accelerator behind a bus, one on the chip, and a microcontroller.
OFTEN = ("x86-64", "raspberry-pi-4", "edge-tpu", "ethos-u55-128", "cortex-m4")
NAMES = [name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in targets.names()]


@pytest.fixture(scope="module")
def request_few(request_: ExportRequest) -> ExportRequest:
    return replace(request_, test_inputs=request_.test_inputs[:48], test_labels=request_.test_labels[:48])


@pytest.mark.parametrize("name", NAMES)
def test_every_target_exports(
    name: str, request_few: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    target, profile = targets.get(name), load_profile(targets.get(name).profile)
    report = export(request_few, name, tmp_path / "net.tamiyo", key=KEY)
    bundle = Bundle.open(tmp_path / "net.tamiyo", trusted=Trust.of(KEY.public))
    assert [step.name for step in report.steps] == list(STEPS)
    assert [variant.id for variant in report.variants] == [variant.id for variant in target.variants]
    for variant in report.variants:
        assert {"c000", "c101"} <= {item.configuration for item in variant.runnables}
        for item in variant.runnables:
            assert item.cost.latency_ms.low < item.cost.latency_ms.value < item.cost.latency_ms.high
            assert item.cost.macs > 0
            if variant.precision is Precision.FLOAT32:
                assert item.difference <= 1e-5
            else:
                assert item.accuracy >= item.torch_accuracy - 0.05
    assert bundle.manifest.target == name
    assert bundle.manifest.profile.sha256 == profile.sha256
    assert all(variant.layout is not Layout.GATED or variant.id == "onnx-float" for variant in report.variants)
    check_accelerator(report, name)


def check_accelerator(report: ExportReport, name: str) -> None:
    """Placement and compiler are there exactly where the device has them."""
    target = targets.get(name)
    steps = {step.name: step for step in report.steps}
    assert steps["float parity"].details
    assert (steps["operator placement"].status is Status.SKIP) is (target.operator_table is None)
    assert bool(report.placement) is (target.operator_table is not None)
    if target.operator_table is not None:
        assert tables.get(target.operator_table).rules
    assert (report.vendor is None) is (target.compiler is None)
    if target.compiler is not None and target.compiler.needed:
        assert report.vendor is not None
        assert report.vendor.ran
        assert set(report.vendor.costs) == {graph for item in report.variants[0].runnables for graph in item.chain}
        assert all(item.cost.latency_ms.source is Source.VELA for item in report.variants[0].runnables)


def test_every_profile_is_a_target() -> None:
    assert set(profile_ids()) <= set(targets.names())
