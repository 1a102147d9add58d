"""inspect, verify, key, doctor: what they say, and the exit codes they say it with."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tamiyo_runtime.bundle import VECTORS, write_bundle
from tamiyo_runtime.cli import examination
from tamiyo_runtime.cli.examination import Finding, Verdict, import_in_child
from tamiyo_runtime.selftest import Vectors
from tamiyo_runtime.signing import SigningKey
from tests import tiny


def test_inspect_shows_configurations_with_cost_accuracy_and_source(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("inspect", own_bundle, "--files")
    assert outcome.code == 0
    for text in ("tiny", "c11", "95.0 %", "4 ms", "3.2 ms to 4.8 ms", "400 uJ", "analytic", "seed1", "adapter"):
        assert text in outcome.out
    assert "graphs/int8/head.tflite" in outcome.out
    assert f"tamiyo verify {own_bundle}" in outcome.out


def test_inspect_says_what_the_monitors_compare_with_or_that_there_is_nothing(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    line = next(line for line in tamiyo("inspect", own_bundle).out.splitlines() if line.startswith("watched"))
    reference = tiny.make().manifest.reference
    assert reference is not None
    for text in ("values 0 to 16", f"mean {reference.mean.low:.3g} to", "400 samples (made by hand)"):
        assert text in line
    old, path = tiny.make(), tmp_path / "old.tamiyo"
    write_bundle(path, replace(old.manifest, reference=None), old.files, SigningKey.default(), overwrite=False)
    assert "watched     no: the bundle holds no reference" in tamiyo("inspect", path).out


def test_inspect_as_json_is_the_manifest(tamiyo: Any, own_bundle: Path) -> None:
    data = json.loads(tamiyo("inspect", own_bundle, "--json").out)
    assert data["manifest"]["schema"] == "tamiyo.manifest/1"
    assert len(data["manifest"]["variants"]) == 3


@pytest.mark.parametrize("command", ["inspect", "verify"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("run", "is a run folder, not a bundle"),
        ("folder", "is a folder, not a bundle"),
        ("board.toml", "is a TOML file, not a bundle"),
        ("plan.json", "is a JSON document, not a bundle"),
    ],
)
def test_what_plainly_is_no_bundle_is_called_by_its_name(
    tamiyo: Any, tmp_path: Path, command: str, name: str, what: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "folder").mkdir()
    (tmp_path / "board.toml").write_text("")
    (tmp_path / "plan.json").write_text("{}")
    outcome = tamiyo(command, tmp_path / name)
    assert outcome.code == 2
    assert f"{name} {what}" in outcome.err
    assert (f"tamiyo update init {tmp_path / name}" in outcome.err) == (name == "folder")


def test_verify_replays_every_variant_and_the_policy(tamiyo: Any, own_bundle: Path) -> None:
    outcome = tamiyo("verify", own_bundle, "--json")
    assert outcome.code == 0
    data = json.loads(outcome.out)
    assert data["ok"]
    names = {check["name"] for check in data["self_test"]}
    assert names == {f"{v}/{c}" for v in ("int8", "float", "onnx") for c in ("c00", "c10", "c01", "c11")} | {
        "policy (tflite)"
    }
    assert "works here" in tamiyo("verify", own_bundle).out
    assert "not asked for" in tamiyo("verify", own_bundle, "--no-replay").out


def test_verify_fails_with_6_when_a_graph_answers_differently(tamiyo: Any, tmp_path: Path) -> None:
    made = tiny.make()
    recorded = Vectors.from_bytes(made.files[VECTORS])
    shifted = {key: values + (1.0 if key == ("onnx", "c10") else 0.0) for key, values in recorded.logits.items()}
    wrong = Vectors(inputs=recorded.inputs, logits={k: v.astype(np.float32) for k, v in shifted.items()})
    path = tmp_path / "wrong.tamiyo"
    write_bundle(path, made.manifest, {**made.files, VECTORS: wrong.to_bytes()}, SigningKey.default(), overwrite=False)
    outcome = tamiyo("verify", path)
    assert outcome.code == 6
    assert "the self-test of onnx/c10 failed: differs by 1" in outcome.err
    assert outcome.out.count("FAIL") == 1


def test_what_cannot_be_replayed_here_is_skipped_and_strict_objects(
    tamiyo: Any, own_bundle: Path, without: Any
) -> None:
    without("onnxruntime")
    outcome = tamiyo("verify", own_bundle)
    assert outcome.code == 0
    assert "no interpreter for onnx is installed" in outcome.out
    assert tamiyo("verify", own_bundle, "--strict").code == 6


def test_a_stranger_is_refused_until_trusted(tamiyo: Any, tmp_path: Path) -> None:
    made, path = tiny.make(), tmp_path / "theirs.tamiyo"
    assert tamiyo("key", "new", tmp_path / "factory.key").code == 0
    write_bundle(path, made.manifest, made.files, SigningKey.load(tmp_path / "factory.key"), overwrite=False)
    refused = tamiyo("verify", path)
    assert refused.code == 6
    assert "tamiyo key trust" in refused.err
    assert tamiyo("verify", path, "--key", tmp_path / "factory.pub").code == 0
    assert tamiyo("key", "trust", tmp_path / "factory.pub").code == 0
    assert "by 'factory'" in tamiyo("verify", path).out
    assert "factory" in tamiyo("key", "show").out
    assert [item["name"] for item in json.loads(tamiyo("key", "show", "--json").out)["trusted"]] == ["factory"]


def test_keys_are_not_replaced_unasked(tamiyo: Any, tmp_path: Path) -> None:
    assert tamiyo("key", "new").code == 0
    again = tamiyo("key", "new")
    assert (again.code, "--overwrite" in again.err) == (2, True)
    assert tamiyo("key", "new", "--overwrite").code == 0
    assert tamiyo("key", "trust", tmp_path / "none.pub").code == 2
    assert tamiyo("key", "new", tmp_path / "a.key").code == 0
    assert tamiyo("key", "trust", tmp_path / "a.pub", "--name", "../evil").code == 2


def test_doctor_finds_everything_required_here(tamiyo: Any) -> None:
    outcome = tamiyo("doctor", "--json")
    assert outcome.code == 0
    findings = {item["name"]: item for item in json.loads(outcome.out)["findings"]}
    assert findings["litert"]["verdict"] == "ok"
    assert findings["an interpreter"]["verdict"] == "ok"
    assert findings["numpy"]["detail"] == np.__version__
    assert not [name for name in findings if name.startswith("import ")]  # every package of ours is ours


def test_doctor_fails_with_5_when_something_required_is_missing(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = {"ai_edge_litert", "tflite_runtime", "onnxruntime"}
    real = examination.installed
    monkeypatch.setattr(examination, "installed", lambda m: m.partition(".")[0] not in absent and real(m))
    outcome = tamiyo("doctor")
    assert outcome.code == 5
    assert "required and not working: an interpreter" in outcome.err
    assert "tamiyo-edge[litert]" in outcome.err


def test_an_engine_that_kills_the_process_is_found_in_a_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "illegal.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    (tmp_path / "failing.py").write_text("raise ImportError('libfoo.so.1 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "SIGILL: built for another processor" in str(import_in_child("illegal"))
    assert "libfoo.so.1 is missing" in str(import_in_child("failing"))
    assert import_in_child("json") is None


def test_a_package_of_ours_that_belongs_to_another_distribution_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.packages_distributions", lambda: {"exporters": ["exporters-of-others"]})
    found: list[Finding] = list(examination._names())
    assert [(item.name, item.verdict) for item in found] == [("import exporters", Verdict.WARN)]
    assert "pip uninstall exporters-of-others" in found[0].remedy
    assert sys.modules["tamiyo_runtime"]
