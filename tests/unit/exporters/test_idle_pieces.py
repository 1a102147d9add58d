"""A piece of the trunk that computes nothing, such as dropout out of training, between two slots."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from exporters.pipeline import export
from exporters.request import SeedModule
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.signing import Trust
from tests.unit.exporters.conftest import KEY
from tests.unit.exporters.tiny import CHANNELS, Adapter, tiny_request

pytestmark = pytest.mark.toolchain


@pytest.mark.parametrize("idle", [nn.Identity(), nn.Dropout(0.3)], ids=["identity", "dropout"])
def test_a_piece_that_does_nothing_passes_raw_bytes_between_its_seams(idle: nn.Module, tmp_path: Path) -> None:
    request = tiny_request(policy=False)
    stem, depthwise, pointwise, head = request.trunk
    request = replace(
        request,
        trunk=[nn.Sequential(stem, depthwise), idle.eval(), pointwise, head],
        seeds=[
            request.seeds[0],
            SeedModule(slot=1, blueprint="adapter", module=Adapter(CHANNELS, 4).eval()),
            request.seeds[1],
        ],
    )
    profile = tmp_path / "raspberry-pi-4.toml"
    text = (files("device_profiles.data") / profile.name).read_text("utf-8")
    profile.write_text(text.replace('layout = "auto"', 'layout = "segments"'), "utf-8")
    path = tmp_path / "idle.tamiyo"
    export(request, str(profile), path, key=KEY)
    bundle = Bundle.open(path, trusted=Trust.of(KEY.public))
    chosen = next(item for item in bundle.manifest.variants if item.precision == "int8" and "trunk1" in item.graphs)
    graph = chosen.graphs["trunk1"]
    assert graph.inputs[0].quantisation == graph.outputs[0].quantisation is not None
    executor = Executor(bundle, chosen.id)
    reference = Executor(bundle, next(item.id for item in bundle.manifest.variants if item.precision != "int8"))
    assert len(executor.runnables) == 8
    for runnable, other in zip(executor.runnables, reference.runnables, strict=True):
        same = [
            int(executor.run(sample, runnable).argmax()) == int(reference.run(sample, other).argmax())
            for sample in request.test_inputs[:64]
        ]
        assert np.mean(same) >= 0.9, runnable.id
