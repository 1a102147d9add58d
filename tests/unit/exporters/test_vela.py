"""Vela, the real one: what it makes of graphs, what it leaves to the CPU, and what its cycles become."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from device_profiles.loader import load_profile
from exporters.backends import quantiser, tflite
from exporters.compiled import Artefact, Compiled
from exporters.pipeline import resolve
from exporters.report import Status
from exporters.steps import placement, vendor
from exporters.steps.vendor import VendorFiles
from exporters.targets import Target, find_target, target_of, targets
from exporters.vendors import compiler
from exporters.vendors.compiler import VendorCost
from exporters.vendors.vela import Vela
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import ExitCode, IncompatibleError, MissingExtraError, SchemaError

pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="needs the extra 'ethos'"),
]
OPTIONS = {
    "accelerator_config": "ethos-u55-128",
    "system_config": "Ethos_U55_High_End_Embedded",
    "memory_mode": "Shared_Sram",
}
EXPORT = """[export]
variants = ["tflite-int8"]
layout = "segments"
operator_table = "ethos-u"
compiler = "vela"
options = { accelerator_config = "ethos-u55-128", system_config = "Ethos_U55_High_End_Embedded", memory_mode = "MODE" }
"""


class Masked(nn.Module):
    """Compares, which the U55 does not."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.dense(x)
        return y * (y > 0.1)


def int8(module: nn.Module, *shape: int) -> bytes:
    torch.manual_seed(0)
    data = tflite.convert(module.eval(), torch.rand(1, *shape), name="net")
    samples = tflite.channels_last_array(torch.rand(16, *shape).numpy())
    ranges = quantiser.measure(data, samples, name="net")
    return quantiser.quantise(data, ranges, per_tensor_dense=False, name="net")


@pytest.fixture(scope="module")
def conv() -> bytes:
    torch.manual_seed(1)
    return int8(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()), 8, 6, 6)


@pytest.fixture(scope="module")
def masked() -> bytes:
    torch.manual_seed(1)
    return int8(Masked(), 8)


@pytest.fixture(scope="module")
def ethos(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A target of a user's own: the Edge TPU's figures, compiled by Vela."""
    return find_target(str(profile_file(tmp_path_factory.mktemp("profiles"))))


def profile_file(folder: Path, mode: str = "Shared_Sram") -> Path:
    lines = load_source("coral-usb")
    start = lines.index("[export]\n")
    end = next(i for i in range(start + 1, len(lines)) if lines[i].startswith("["))
    kept = [line for line in lines[end:] if not line.startswith("io_bytes_per_us")]  # nothing crosses a bus here
    text = "".join([*lines[:start], EXPORT.replace("MODE", mode), "\n", *kept])
    path = folder / "ethos.toml"
    path.write_text(text.replace('id = "coral-usb"', 'id = "ethos"', 1))
    return path


def load_source(name: str) -> list[str]:
    import device_profiles

    return (Path(device_profiles.__file__).parent / "data" / f"{name}.toml").read_text().splitlines(keepends=True)


def variant(target: Target, **graphs: bytes) -> tuple[Compiled, ...]:
    artefacts = {name: Artefact.of_tflite(data, file=f"graphs/{name}.tflite") for name, data in graphs.items()}
    return (Compiled.of_chains(target.variants[0], artefacts, {"c1": tuple(graphs), "c0": tuple(graphs)[:1]}),)


def test_cycles_become_the_cost_and_add_up_over_a_chain(ethos: Target, conv: bytes) -> None:
    compiled, files, outcome = vendor.run(variant(ethos, a=conv, b=conv), ethos)
    assert outcome.status is Status.OK
    assert "not checked on hardware" in outcome.message
    assert sorted(files.files) == ["vendor/a_vela.tflite", "vendor/b_vela.tflite"]
    assert all(b"ethos-u" in data for data in files.files.values())
    placed, placements, _ = placement.run(compiled, ethos, files)
    assert all(item.on_accelerator for item in placements)
    profile = load_profile(ethos.profile)
    one, two = placed[0].cost(profile, "c0"), placed[0].cost(profile, "c1")
    timed = placed[0].artefacts["a"].vendor
    assert isinstance(timed, VendorCost)
    assert timed.cycles > 0
    assert timed.latency_us == pytest.approx(timed.cycles / timed.clock_mhz)
    floor_us = profile.value("accelerator.floor_us")
    assert 1e3 * one.latency_ms.value == pytest.approx(floor_us + timed.latency_us)
    assert two.latency_ms.value == pytest.approx(2 * one.latency_ms.value)
    error = profile.value("model.relative_error")
    assert one.latency_ms.high == pytest.approx(one.latency_ms.value * (1 + error))
    assert one.latency_ms.source is Source.VELA
    assert two.extra["accelerator_cycles"] == 2 * timed.cycles
    assert placed[0].graph_cost(profile, "a") == one


def test_what_vela_leaves_runs_on_the_cpu_with_its_reason_and_its_time(ethos: Target, masked: bytes) -> None:
    compiled, files, _ = vendor.run(variant(ethos, mask=masked), ethos)
    placed, placements, outcome = placement.run(compiled, ethos, files)
    behind = {item.operator: item.reason for item in placements if not item.on_accelerator}
    assert behind["GREATER"] == "Unsupported opType"
    assert "Float32" in behind["QUANTIZE"]
    assert {item.operator for item in placements if item.on_accelerator} == {"FULLY_CONNECTED", "MUL"}
    assert outcome.status is Status.WARN
    assert any(line.startswith("instead of GREATER: ") for line in outcome.details)
    assert any("vela" in line for line in outcome.details)
    profile = load_profile(ethos.profile)
    timed = placed[0].artefacts["mask"].vendor
    assert timed is not None
    on_npu = profile.value("accelerator.floor_us") + timed.latency_us
    assert 1e3 * placed[0].cost(profile, "c1").latency_ms.value > on_npu + 3  # four operators of the host's


def test_the_files_do_not_depend_on_where_they_were_made(
    conv: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Vela().compile({"a": conv}, OPTIONS)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert Vela().compile({"a": conv}, OPTIONS).files == first.files


@pytest.mark.parametrize(
    ("options", "data", "word"),
    [
        ({"system_config": "Nope"}, None, "System_Config.Nope not found"),
        ({"accelerator_config": "ethos-u99"}, None, "invalid choice: 'ethos-u99'"),
        ({}, b"no TFLite file", "failed with"),
    ],
)
def test_its_failures_are_one_line(conv: bytes, options: dict[str, str], data: bytes | None, word: str) -> None:
    made = Vela().compile({"a": data or conv}, {**OPTIONS, **options})
    assert made.files == {}
    assert made.problem is not None
    assert word in made.problem
    assert "\n" not in made.problem


def test_a_failure_of_a_compiler_that_is_needed_fails_the_export(ethos: Target, conv: bytes) -> None:
    broken = replace(ethos, options={**ethos.options, "memory_mode": "Nope"})
    with pytest.raises(IncompatibleError, match=r"Memory_Mode\.Nope") as caught:
        vendor.run(variant(broken, a=conv), broken)
    assert caught.value.exit_code is ExitCode.INCOMPATIBLE


def test_a_run_that_hangs_is_stopped(conv: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler, "TIMEOUT_S", 0.01)
    assert "stopped" in (Vela().compile({"a": conv}, OPTIONS).problem or "")


def test_without_the_package_such_targets_alone_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = profile_file(tmp_path)
    monkeypatch.setattr("exporters.vendors.vela.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        resolve(str(path), tmp_path / "x.tamiyo", budget=None, overwrite=False)
    assert caught.value.exit_code is ExitCode.MISSING
    assert caught.value.hint == "type: pip install 'tamiyo-edge[ethos]'"
    assert resolve("edge-tpu", tmp_path / "x.tamiyo", budget=None, overwrite=False).target.compiler is not None


def test_a_profile_with_options_that_vela_does_not_have_is_refused(tmp_path: Path) -> None:
    text = profile_file(tmp_path).read_text().replace("memory_mode =", "memory_mod =")
    (tmp_path / "ethos.toml").write_text(text)
    with pytest.raises(SchemaError, match=r"ethos: export\.options\.memory_mode: is missing"):
        target_of(load_profile(str(tmp_path / "ethos.toml")))


def test_operators_of_a_microcontroller_have_nowhere_else_to_run(masked: bytes) -> None:
    target = targets.get("cortex-m4")
    nothing = VendorFiles(files={}, report=None)
    _, placements, outcome = placement.run(variant(target, mask=masked), target, nothing)
    assert outcome.status is Status.OK
    assert all(item.on_accelerator for item in placements)
    gelu = int8(nn.Sequential(nn.Linear(8, 8), nn.GELU()), 8)
    with pytest.raises(IncompatibleError, match="cortex-m4 cannot run GELU") as caught:
        placement.run(variant(target, seed0=gelu), target, nothing)
    assert "nn.Hardswish" in (caught.value.hint or "")
