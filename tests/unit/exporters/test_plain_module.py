"""A module that never saw tamiyo: the example runs as it is shown, and its bundle needs no slot and no policy."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from exporters import request_of_module
from exporters.plain import spec_of
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import InputError

EXAMPLE = Path(__file__).parents[3] / "examples" / "plain_module.py"


@pytest.mark.toolchain
def test_the_example_exports_a_plain_module_and_every_command_takes_its_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setenv("TAMIYO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path)])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "plain-digits-x86-64.tamiyo",
        "plain-digits-edge-tpu.tamiyo",
    ]
    for name in ("plain-digits-x86-64.tamiyo", "plain-digits-edge-tpu.tamiyo"):
        bundle = str(tmp_path / name)
        manifest = Bundle.open(tmp_path / name).manifest
        assert (manifest.policy, manifest.plan.slots, [c.id for c in manifest.configurations]) == (None, 0, ["c"])
        assert all((item.runnables[0].accuracy or 0) > 0.85 for item in manifest.variants)
        assert main(["inspect", bundle]) == 0
        assert main(["verify", bundle]) == 0
        assert main(["run", bundle, "--samples", "20", "--device", f"simulated:{manifest.profile.id}"]) == 0
    assert "no policy" in capsys.readouterr().out


def test_samples_say_what_they_are_unless_they_cannot() -> None:
    rng = np.random.default_rng(0)
    spec = spec_of(rng.uniform(-2, 3, (20, 4)).astype(np.float32))
    assert (spec.shape, spec.layout, spec.scale) == ((4,), "F", 1.0)
    assert -2 <= spec.raw_low < spec.raw_high <= 3
    request = request_of_module(
        nn.Linear(4, 2),
        name="plain",
        classes=("a", "b"),
        calibration=rng.normal(size=(20, 4)).astype(np.float32),
        test_inputs=rng.normal(size=(20, 4)).astype(np.float32),
        test_labels=np.zeros(20, np.int64),
    )
    assert (request.slots, list(request.seeds)) == (0, [])
    with pytest.raises(InputError, match="every value"):
        spec_of(np.ones((20, 4), np.float32))
    with pytest.raises(InputError, match="want"):
        spec_of(np.ones((20,), np.float32))
    with pytest.raises(InputError, match="NaN"):
        spec_of(np.full((20, 4), np.nan, np.float32))
