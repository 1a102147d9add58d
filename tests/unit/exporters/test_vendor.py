from __future__ import annotations

import stat
from pathlib import Path
from types import MappingProxyType

import pytest

from device_profiles.cost import Op, OpKind
from device_profiles.loader import load_profile
from exporters.compiled import Artefact, Compiled
from exporters.report import Status
from exporters.steps import placement, vendor
from exporters.targets import INT8_ONNX, targets
from exporters.vendors import compiler
from tamiyo_runtime.contracts.plan import Graph

LOG = """Edge TPU Compiler version 16.0.384591198
Input: c11.tflite
Number of Edge TPU subgraphs: 1
Operator                       Count      Status

CONV_2D                        3          Mapped to Edge TPU
MEAN                           1          More than one subgraph is not supported
FULLY_CONNECTED                1          Mapped to Edge TPU
"""

COMPILER = """#!/bin/sh
while [ "$1" != "" ]; do
  case "$1" in
    --out_dir) out="$2"; shift;;
    *.tflite) base="${1%.tflite}"; cp "$1" "$out/${base}_edgetpu.tflite"; cp "$LOG" "$out/${base}_edgetpu.log";;
  esac
  shift
done
"""


def compiled() -> tuple[Compiled, ...]:
    artefacts = {
        name: Artefact(
            graph=Graph(file=f"graphs/{name}.tflite", inputs=(), outputs=()), data=b"int8 " + name.encode(), ops=()
        )
        for name in ("c00", "c11")
    }
    chains = MappingProxyType({name: (name,) for name in artefacts})
    return (Compiled(recipe=targets.get("edge-tpu").variants[0], artefacts=artefacts, chains=chains, work={}),)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "edgetpu_compiler"
    program.write_text(script)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (folder / "log").write_text(LOG)
    monkeypatch.setenv("LOG", str(folder / "log"))


def test_without_the_compiler_the_step_is_skipped_with_the_command_to_type(tools: Path) -> None:
    _, files, outcome = vendor.run(compiled(), targets.get("edge-tpu"))
    assert outcome.status is Status.SKIP
    assert files.files == {}
    assert files.report is not None
    assert not files.report.ran
    assert files.report.command == "edgetpu_compiler --show_operations --out_dir . c00.tflite c11.tflite"
    assert any(files.report.command in line for line in outcome.details)


def test_the_compiler_runs_apart_and_its_log_is_read(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, COMPILER, monkeypatch)
    _, files, outcome = vendor.run(compiled(), targets.get("edge-tpu"))
    assert files.files == {"vendor/c00_edgetpu.tflite": b"int8 c00", "vendor/c11_edgetpu.tflite": b"int8 c11"}
    assert files.report is not None
    assert files.report.ran
    assert files.report.mapped == {"CONV_2D": 6, "FULLY_CONNECTED": 2}
    assert files.report.unmapped == {"MEAN (More than one subgraph is not supported)": 2}
    assert outcome.status is Status.WARN
    assert "MEAN" in outcome.message


def test_a_failing_compiler_is_a_warning_with_its_last_word(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, "#!/bin/sh\necho 'Internal compiler error. Aborting!' >&2\nexit 1\n", monkeypatch)
    _, files, outcome = vendor.run(compiled(), targets.get("edge-tpu"))
    assert files.files == {}
    assert outcome.status is Status.WARN
    assert outcome.message == "edgetpu_compiler failed with 1: Internal compiler error. Aborting!"


def test_a_compiler_that_hangs_is_stopped(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tools, "#!/bin/sh\nexec sleep 60\n", monkeypatch)
    monkeypatch.setattr(compiler, "TIMEOUT_S", 0.2)
    _, _, outcome = vendor.run(compiled(), targets.get("edge-tpu"))
    assert outcome.status is Status.WARN
    assert "stopped" in outcome.message


def test_int8_graphs_in_onnx_are_not_for_the_compiler_nor_the_accelerator(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tools, COMPILER, monkeypatch)
    target = targets.get("edge-tpu")
    op = Op(OpKind.CONV2D, macs=10**6, weight_bytes=100, input_bytes=100, output_bytes=100)
    graph = Artefact(graph=Graph(file="graphs/c11.onnx", inputs=(), outputs=()), data=b"onnx", ops=(op,))
    onnx = Compiled.of_chains(INT8_ONNX, {"c11": graph}, {"c11": ("c11",)})
    beside, files, outcome = vendor.run((*compiled(), onnx), target)
    assert (len(files.files), outcome.status) == (2, Status.WARN)
    assert beside[1] == onnx
    _, files, outcome = vendor.run((onnx,), target)
    assert (files.report, outcome.status) == (None, Status.SKIP)
    placed, placements, outcome = placement.run((onnx,), target, files)
    assert (placements, outcome.status) == ((), Status.SKIP)
    profile = load_profile("coral-usb")
    floor_ms = profile.value("accelerator.floor_us") * 1e-3
    assert onnx.cost(profile, "c11").latency_ms.value > floor_ms
    assert placed[0].cost(profile, "c11").latency_ms.value < floor_ms, "it never leaves the host"


def test_a_target_without_a_vendor_compiler_has_nothing_to_do() -> None:
    variants, files, outcome = vendor.run(compiled(), targets.get("x86-64"))
    assert (files.report, outcome.status) == (None, Status.SKIP)
    assert [variant.recipe.id for variant in variants] == ["tflite-int8"]
