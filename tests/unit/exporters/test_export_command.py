from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from exporters.pipeline import STEPS, _Log
from exporters.report import Status, StepReport
from exporters.request import ExportRequest
from exporters.steps.outcome import Outcome, ok
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.cli import export_cmd
from tamiyo_runtime.cli.export_view import Steps
from tamiyo_runtime.cli.main import main

Run = Callable[..., tuple[int, str, str]]
RUN_SHA256 = "ab" * 32


@pytest.fixture
def tamiyo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], request_: ExportRequest
) -> Run:
    """Run a command in a folder of its own; a run folder `quadrants` stands for the hand-made network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAMIYO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(export_cmd, "_request", lambda run: request_)
    monkeypatch.setattr(export_cmd, "_run_sha256", lambda run: RUN_SHA256)
    (tmp_path / "quadrants").mkdir()

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.toolchain
def test_an_export_prints_its_steps_and_the_next_commands(tamiyo: Run, tmp_path: Path) -> None:
    code, out, err = tamiyo("export", "quadrants", "--target", "edge-tpu", "--smoke")
    assert (code, err) == (0, "")
    bundle = Bundle.open(tmp_path / "quadrants-edge-tpu.tamiyo")  # signed by the development key, which is trusted
    assert bundle.manifest.target == "edge-tpu"
    lines = out.splitlines()
    assert lines[0].startswith("tamiyo ")
    assert "target edge-tpu (profile coral-usb r" in lines[0]
    steps = [line for line in lines if line.startswith("[")]
    assert [step.split("]")[0] for step in steps] == [f"[{i}/{len(STEPS)}" for i in range(1, len(STEPS) + 1)]
    assert "skip  edgetpu_compiler not found" in steps[STEPS.index("vendor compile")]
    assert bundle.manifest.provenance["smoke"] is True
    assert "smoke export" in out
    assert "edgetpu_compiler --show_operations" in out
    assert lines[-1].startswith("Next:  tamiyo inspect quadrants-edge-tpu.tamiyo")
    assert "--device simulated:coral-usb" in lines[-1]
    code, _, err = tamiyo("export", "quadrants", "--target", "edge-tpu")
    assert code == 2
    assert err == "error: quadrants-edge-tpu.tamiyo exists already\nhint: pass --overwrite to replace it\n"


def test_a_dry_run_shows_the_plan_and_writes_nothing(tamiyo: Run, tmp_path: Path) -> None:
    arguments = ("--budget-latency-ms", "3", "--dry-run", "--json", "--out", "x.tamiyo")
    code, out, _ = tamiyo("export", "quadrants", "--target", "raspberry-pi-4", *arguments)
    assert code == 0
    plan = json.loads(out)
    assert plan["dry_run"] is True
    assert plan["budget"]["latency_ms"] == 3
    assert [item["id"] for item in plan["variants"]] == ["tflite-int8", "tflite-float", "onnx-float"]
    assert plan["variants"][0]["layout"] in {"segments", "whole"}  # settled: no longer "auto"
    assert plan["variants"][2]["configurations"][-1] == "c101"
    assert plan["tools"]["torch"]
    assert {path.name for path in tmp_path.iterdir()} == {"quadrants"}
    _, out, _ = tamiyo("export", "quadrants", "--target", "raspberry-pi-4", "--dry-run")
    assert "64 MiB of memory" in " ".join(out.split())
    assert "slot 0: adapter, slot 2: squeeze-excite" in out


@pytest.mark.toolchain
def test_a_plan_is_replayed_as_it_stands(tamiyo: Run, tmp_path: Path) -> None:
    choices = ("--smoke", "--out", "net.tamiyo", "--accuracy-floor", "0.1", "--budget-power-mw", "700")
    code, out, err = tamiyo("export", "quadrants", "--target", "edge-tpu", *choices, "--dry-run", "--plan", "plan.json")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Next:  tamiyo export --replay plan.json"
    assert {path.name for path in tmp_path.iterdir()} == {"quadrants", "plan.json"}
    code, _, err = tamiyo("export", "quadrants", "--target", "edge-tpu", "--dry-run", "--plan", "plan.json")
    assert code == 2
    assert "plan.json" in err
    code, out, err = tamiyo("export", "--replay", "plan.json")
    assert (code, err) == (0, "")
    manifest = Bundle.open(tmp_path / "net.tamiyo").manifest
    plan = json.loads((tmp_path / "plan.json").read_text())
    assert manifest.budget.power_mw == plan["budget"]["power_mw"] == 700
    assert manifest.provenance["smoke"] is True
    assert {item.id for item in manifest.configurations} == set(plan["variants"][0]["configurations"])


def test_a_plan_that_no_longer_fits_is_refused_with_all_that_differs(
    tamiyo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tamiyo("export", "quadrants", "--target", "edge-tpu", "--dry-run", "--plan", "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    plan["tools"]["torch"], plan["profile_sha256"] = "0.1", "0" * 64
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    monkeypatch.setattr(export_cmd, "_run_sha256", lambda run: "cd" * 32)
    code, out, err = tamiyo("export", "--replay", "plan.json")
    assert (code, out) == (2, "")
    assert "tools.torch was 0.1, is " in err
    assert "profile_sha256 was 0000" in err
    assert f"run_sha256 was {RUN_SHA256}, is {'cd' * 32}" in err
    assert "hint: make it again: tamiyo export quadrants --target edge-tpu" in err
    assert not list(tmp_path.glob("*.tamiyo"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smok": True}, "did you mean smoke?"),
        ({"smoke": "yes"}, "plan.json.smoke: expected a boolean"),
        ({"schema": "tamiyo.export-plan/2"}, "is newer than tamiyo.export-plan/1"),
        ({"budget": {"latency_ms": -1}}, "plan.json.budget"),
        ({"run": None}, "plan.json.run"),
        ({"target": "edge-tup"}, "did you mean edge-tpu?"),
        ({"run": "nowhere"}, "no run at nowhere"),
    ],
)
def test_a_plan_is_read_strictly(tamiyo: Run, tmp_path: Path, change: dict[str, object], message: str) -> None:
    tamiyo("export", "quadrants", "--target", "edge-tpu", "--dry-run", "--plan", "plan.json")
    plan = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**plan, **change}))
    code, out, err = tamiyo("export", "--replay", "plan.json")
    assert (code, out) == (2, "")
    assert message in err


def test_a_budget_that_cannot_be_met_exits_3_after_the_failed_step(tamiyo: Run, tmp_path: Path) -> None:
    code, out, err = tamiyo("export", "quadrants", "--target", "raspberry-pi-4", "--budget-latency-ms", "0.001")
    assert code == 3
    assert out.splitlines()[-1].split() == [f"[2/{len(STEPS)}]", "budget", "check", "fail"]
    assert "costliest parts: " in err
    assert "hint: raise the budget" in err
    assert not list(tmp_path.glob("*.tamiyo"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "--target", "edge-tpu"), "no run at nowhere"),
        (("quadrants", "--target", "edge-tup"), "unknown target 'edge-tup'"),
        (("quadrants",), "--target"),
        (("quadrants", "--target", "edge-tpu", "--accuracy-flor", "1"), "--accuracy-flor"),
        (("quadrants", "--target", "edge-tpu", "--key", "nokey"), "signing key not found: nokey"),
        (("quadrants", "--target", "edge-tpu", "--out", "quadrants"), "is a folder"),
        (("--target", "edge-tpu"), "the run is missing"),
        (("quadrants", "--target", "edge-tpu", "--plan", "plan.json"), "--plan goes with --dry-run"),
        (("quadrants", "--replay", "plan.json"), "--replay takes run, target and all choices from the plan"),
        (("--replay", "nowhere.json"), "cannot read nowhere.json"),
    ],
)
def test_bad_input_is_one_line_and_a_hint(tamiyo: Run, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = tamiyo("export", *arguments)
    assert (code, out) == (2, "")
    error, hint = err.splitlines()
    assert message in error
    assert hint.startswith("hint: ")


def test_targets_are_listed_and_shown(tamiyo: Run) -> None:
    code, out, _ = tamiyo("targets")
    assert code == 0
    assert all(name in out for name in ("edge-tpu", "raspberry-pi-4", "x86-64", "coral-usb"))
    code, out, _ = tamiyo("targets", "--json")
    records = {record["name"]: record for record in json.loads(out)}
    assert records["edge-tpu"]["compiler"]["program"] == "edgetpu_compiler"
    assert records["edge-tpu"]["variants"] == [
        {"id": "tflite-int8", "format": "tflite", "precision": "int8", "layout": "whole"}
    ]
    code, out, _ = tamiyo("targets", "edge-tpu")
    assert code == 0
    assert "DEPTHWISE_CONV_2D" in out
    assert "not confirmed by the vendor's compiler" in out
    code, _, err = tamiyo("targets", "edge-tup")
    assert code == 2
    assert "did you mean edge-tpu?" in err


@pytest.mark.toolchain
def test_the_page_lies_beside_the_bundle_unless_told_otherwise_and_the_version_is_in_it(
    tamiyo: Run, tmp_path: Path
) -> None:
    arguments = ("export", "quadrants", "--target", "edge-tpu", "--smoke", "--bundle-version", "7", "--out", "q.tamiyo")
    code, out, err = tamiyo(*arguments)
    assert (code, err) == (0, "")
    assert "report:   q.html" in out
    assert Bundle.open(tmp_path / "q.tamiyo").manifest.version == 7
    page = (tmp_path / "q.html").read_text()
    assert "version 7" in page
    assert "Made with --smoke" in page
    (tmp_path / "q.tamiyo").unlink()
    code, _, err = tamiyo(*arguments)
    assert (code, err.splitlines()[0]) == (2, "error: q.html exists already")
    code, _, _ = tamiyo("inspect", "q.tamiyo")
    assert code == 2


@pytest.mark.parametrize("version", ["0", "-1", "x"])
def test_a_version_is_a_number_from_one_on(tamiyo: Run, version: str) -> None:
    code, _, err = tamiyo("export", "quadrants", "--target", "edge-tpu", "--bundle-version", version)
    assert code == 2
    assert "--bundle-version" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:3], "calibration: 3 samples, at least 16 are needed"),
        (lambda x: x[:, :, :5], "calibration: samples of shape [1, 5, 6], the input is [1, 6, 6]"),
        (lambda x: 0 * x, "calibration: every value is 0"),
        (lambda x: x * np.where(x == x.max(), np.nan, 1), "holds a NaN or an infinity"),
    ],
)
def test_bad_calibration_samples_are_told_before_any_step(
    tamiyo: Run,
    request_: ExportRequest,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    message: str,
) -> None:
    bad = replace(request_, calibration=change(request_.calibration))
    monkeypatch.setattr(export_cmd, "_request", lambda run: bad)
    code, out, err = tamiyo("export", "quadrants", "--target", "edge-tpu")
    assert (code, out) == (2, "")
    assert message in err.splitlines()[0]
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("target", "method", "code", "message"),
    [
        ("edge-tpu", "mixed", 4, "edge-tpu takes int8 only, so no operator can stay in float"),
        ("jetson-nano", "qat", 4, "jetson-nano has no int8 TFLite variant for --quantise qat"),
        ("edge-tpu", "qta", 2, "'qta'"),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_way_to_quantise_that_the_target_has_no_use_for_is_refused_before_any_step(
    tamiyo: Run, target: str, method: str, code: int, message: str, dry: bool
) -> None:
    arguments = ["export", "quadrants", "--target", target, "--quantise", method, *(["--dry-run"] if dry else [])]
    found, out, err = tamiyo(*arguments)
    assert found == code
    assert "[1/" not in out
    assert message in err.splitlines()[0]


def test_fine_tuning_shows_how_far_it_is_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = _Log(Steps(quiet=False).show)
    log.reports = [StepReport(number=i, name=name, status=Status.OK, message="") for i, name in enumerate(STEPS[:4])]

    def work() -> tuple[None, Outcome]:
        log.tuning(120, 480)
        return None, ok("done")

    log.step(work)
    out, err = capsys.readouterr()
    assert "quantise int8 static fine-tuning for int8, step 120 of 480..." in err
    assert err.endswith("\r\x1b[2K"), "it leaves nothing behind"
    assert out.startswith(f"[5/{len(STEPS)}]")
    assert "fine-tuning" not in out
