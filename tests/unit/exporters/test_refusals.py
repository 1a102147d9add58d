"""What can go wrong, and that nothing is left behind or overwritten when it does."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from device_profiles.loader import load_profile
from exporters.backends import tflite
from exporters.pipeline import StepEvent, export
from exporters.request import ExportRequest, SeedModule
from exporters.steps import capture, package
from tamiyo_runtime.contracts.errors import (
    AccuracyFloorError,
    BudgetError,
    ExitCode,
    IncompatibleError,
    InputError,
    IntegrityError,
    MissingExtraError,
    MissingToolError,
    TamiyoError,
    UnknownNameError,
)
from tests.unit.exporters.conftest import KEY
from tests.unit.exporters.tiny import CHANNELS

pytestmark = pytest.mark.toolchain


@pytest.fixture
def plain(request_: ExportRequest) -> ExportRequest:
    """The host alone, without a policy: the least there is to convert."""
    return replace(request_, seeds=[], policy=None)


def refused(
    request: ExportRequest, out: Path, error: type[TamiyoError], *, target: str = "edge-tpu", strict: bool = False
) -> TamiyoError:
    """Export must raise ``error`` and leave the folder as it was; returns it."""
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    with pytest.raises(error) as caught:
        export(request, target, out, key=KEY, strict=strict)
    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before
    return caught.value


def test_an_existing_file_is_refused_before_any_work(plain: ExportRequest, tmp_path: Path) -> None:
    out = tmp_path / "net.tamiyo"
    out.write_bytes(b"precious")
    told: list[object] = []
    with pytest.raises(InputError, match="exists already") as caught:
        export(plain, "edge-tpu", out, key=KEY, on_step=told.append)
    assert told == []
    assert out.read_bytes() == b"precious"
    assert "--overwrite" in (caught.value.hint or "")


def test_a_folder_is_no_bundle(plain: ExportRequest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        export(plain, "edge-tpu", tmp_path, key=KEY, overwrite=True)


def test_an_unknown_target_is_refused_with_near_names(plain: ExportRequest, tmp_path: Path) -> None:
    error = refused(plain, tmp_path / "x.tamiyo", UnknownNameError, target="rasberry-pi-4")
    assert error.hint.startswith("did you mean raspberry-pi-4")


def test_a_budget_that_the_bare_host_exceeds_names_the_costliest_parts(request_: ExportRequest, tmp_path: Path) -> None:
    budget = replace(load_profile("raspberry-pi-4").budget(), latency_ms=0.01)
    error = refused(replace(request_, budget=budget), tmp_path / "x.tamiyo", BudgetError, target="raspberry-pi-4")
    assert error.exit_code is ExitCode.BUDGET
    parts = error.message.partition("costliest parts: ")[2].split("; ")
    assert len(parts) == 3
    assert {part.split()[0] for part in parts} == {"trunk0", "trunk1", "head"}
    assert all("MACs" in part and "J" in part for part in parts)


@pytest.mark.parametrize(("limit", "word"), [("memory_bytes", "memory"), ("energy_burst_uj", "burst")])
def test_memory_and_energy_are_held_as_well(request_: ExportRequest, tmp_path: Path, limit: str, word: str) -> None:
    budget = replace(load_profile("raspberry-pi-4").budget(), **{limit: 16})
    error = refused(replace(request_, budget=budget), tmp_path / "x.tamiyo", BudgetError, target="raspberry-pi-4")
    assert word in error.message


def test_a_floor_that_torch_itself_misses_is_refused_before_anything_is_converted(
    plain: ExportRequest, tmp_path: Path
) -> None:
    told: list[StepEvent] = []
    with pytest.raises(AccuracyFloorError, match="in torch, below the floor") as caught:
        export(replace(plain, accuracy_floor=1.0), "edge-tpu", tmp_path / "x.tamiyo", key=KEY, on_step=told.append)
    assert caught.value.exit_code is ExitCode.BUDGET
    assert [event.number for event in told] == [1]


def test_an_int8_accuracy_below_the_floor_fails_and_leaves_nothing(plain: ExportRequest, tmp_path: Path) -> None:
    captured, _ = capture.run(plain)
    answers = captured.wanted[captured.network.full.id].argmax(axis=1)  # torch is right by definition
    faint = 0.02 * plain.calibration  # ranges of these clip the real ones
    request = replace(plain, test_labels=answers, calibration=faint, accuracy_floor=1.0, quantise="ptq")
    error = refused(request, tmp_path / "x.tamiyo", AccuracyFloorError)
    assert error.exit_code is ExitCode.BUDGET
    assert "tflite-int8" in error.message
    assert "below the floor of 100.0 %; torch has 100.0 %" in error.message


def test_strict_wants_the_vendor_compiler(
    plain: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert refused(plain, tmp_path / "x.tamiyo", MissingToolError, strict=True).exit_code is ExitCode.MISSING


def test_strict_names_all_warnings_and_refuses_operators_that_stay_on_the_cpu(
    plain: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trunk = [plain.trunk[0], nn.Sequential(plain.trunk[1], nn.GELU()), *plain.trunk[2:]]
    compiler = tmp_path / "bin" / "edgetpu_compiler"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", f"{compiler.parent}:/usr/bin:/bin")
    out = tmp_path / "out" / "x.tamiyo"
    out.parent.mkdir()
    error = refused(replace(plain, trunk=trunk), out, IncompatibleError, strict=True)
    assert "operator placement: " in error.message
    assert "GELU (the Edge TPU has no GELU)" in error.message
    assert "vendor compile: edgetpu_compiler failed with 3" in error.message


def test_a_self_test_that_fails_leaves_no_bundle(
    plain: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., bytes] = package._vectors

    def wrong(*arguments: object) -> bytes:
        from tamiyo_runtime.selftest import Vectors

        vectors = Vectors.from_bytes(real(*arguments))
        return replace(vectors, logits={key: value + 100 for key, value in vectors.logits.items()}).to_bytes()

    monkeypatch.setattr(package, "_vectors", wrong)
    error = refused(plain, tmp_path / "x.tamiyo", IntegrityError)
    assert "self-test failed: tflite-int8/c000: differs by 100" in error.message


def test_a_part_that_cannot_be_converted_is_named(plain: ExportRequest, tmp_path: Path) -> None:
    class TopK(nn.Module):
        def forward(self, x):  # type: ignore[no-untyped-def]  # a probe
            return x * (x >= x.flatten(1).topk(8).values[:, -1].reshape(-1, 1, 1, 1))

    request = replace(plain, seeds=[SeedModule(slot=0, blueprint="top-k", module=TopK())])
    error = refused(request, tmp_path / "x.tamiyo", IncompatibleError, target="x86-64")
    assert "seed0" in error.message


def test_a_policy_of_the_wrong_size_is_refused(request_: ExportRequest, tmp_path: Path) -> None:
    assert request_.policy is not None
    policy = replace(request_.policy, module=nn.Linear(5, 7), samples=np.zeros((3, 5), np.float32))
    request = replace(request_, seeds=[], policy=policy)
    error = refused(request, tmp_path / "x.tamiyo", IncompatibleError)
    assert "maps 5 features to 7 values" in error.message


def test_a_missing_converter_names_the_extra(
    plain: ExportRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    monkeypatch.setattr(tflite, "convert", inspect.unwrap(tflite.convert))
    error = refused(plain, tmp_path / "x.tamiyo", MissingExtraError)
    assert error.exit_code is ExitCode.MISSING
    assert error.hint == "type: pip install 'tamiyo-edge[export]'"


def test_a_seed_of_another_width_is_incompatible(plain: ExportRequest, tmp_path: Path) -> None:
    wide = SeedModule(slot=1, blueprint="widening", module=nn.Conv2d(CHANNELS, 2 * CHANNELS, 1))
    error = refused(replace(plain, seeds=[wide]), tmp_path / "x.tamiyo", IncompatibleError)
    assert error.exit_code is ExitCode.INCOMPATIBLE
