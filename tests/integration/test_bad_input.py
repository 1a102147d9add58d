"""What a user gets for a mistake: one line, a hint, the right exit code, nothing overwritten, never a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Tamiyo

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]


def refused(here: Tamiyo, code: int, said: str, *arguments: object) -> str:
    result = here(*arguments)
    text = result.stdout + result.stderr
    assert result.returncode == code, text
    assert "Traceback" not in text
    assert said in text, text
    assert "error: " in result.stderr
    return text


def test_names_that_are_almost_right_get_the_right_one(
    here: Tamiyo, run_folder: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    pi = bundles["raspberry-pi-4"]
    out = tmp_path / "x.tamiyo"
    refused(here, 2, "did you mean edge-tpu", "export", run_folder, "--target", "edge-tup", "--out", out)
    refused(here, 2, "did you mean export", "exprot")
    refused(here, 2, "--target", "export", run_folder, "--taget", "edge-tpu")
    refused(here, 2, "lora-eu868", "run", pi, "--link", "lora-eu686")
    refused(here, 2, "embedded", "run", pi, "--broker", "embeded")
    refused(here, 2, "simulated", "run", pi, "--device", "simulted")
    refused(here, 2, "digits", "train", tmp_path / "r", "--task", "digit")
    refused(here, 2, "coral-usb", "profile", "show", "coral-ubs")
    refused(here, 2, "edge-tpu", "targets", "edge-tup")
    assert not out.exists()


def test_files_that_are_not_there_or_not_readable(here: Tamiyo, bundles: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "x.tamiyo"
    refused(here, 2, "nowhere", "export", tmp_path / "nowhere", "--target", "edge-tpu", "--out", out)
    refused(here, 2, "nowhere", "verify", tmp_path / "nowhere.tamiyo")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(here, 2, "empty", "run", bundles["x86-64"], "--source", empty)
    refused(here, 2, "missing", "run", bundles["x86-64"], "--source", tmp_path / "missing")
    (empty / "a.npy").write_bytes(b"not an array")
    refused(here, 2, "a.npy", "run", bundles["x86-64"], "--source", empty)
    assert not out.exists()


def test_an_existing_file_is_kept_unless_told_otherwise(
    here: Tamiyo, run_folder: Path, bundles: dict[str, Path]
) -> None:
    before = bundles["edge-tpu"].read_bytes()
    refused(here, 2, "--overwrite", "export", run_folder, "--target", "edge-tpu", "--out", bundles["edge-tpu"])
    refused(here, 2, "--overwrite", "train", run_folder, "--smoke")
    assert bundles["edge-tpu"].read_bytes() == before


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text", "appended"])
def test_a_damaged_bundle_is_refused_before_it_is_used(
    here: Tamiyo, bundles: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    good = bundles["raspberry-pi-4"].read_bytes()
    middle = len(good) // 2
    bad = {
        "truncated": good[:middle],
        "flipped": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "empty": b"",
        "text": b"hello",
        "appended": good + b"\0",
    }[damage]
    path = tmp_path / "bad.tamiyo"
    path.write_bytes(bad)
    for command in ("verify", "inspect", "run"):
        refused(here, 6, "bad.tamiyo", command, path)


def test_a_bundle_signed_by_somebody_else_is_refused(here: Tamiyo, bundles: dict[str, Path], tmp_path: Path) -> None:
    made = here("key", "new", tmp_path / "other.key")
    assert made.returncode == 0, made.stderr
    public = next(tmp_path.glob("*.pub"))
    refused(here, 6, "key", "verify", bundles["edge-tpu"], "--key", public)
    refused(here, 6, "key", "run", bundles["edge-tpu"], "--key", public)


def test_a_checkpoint_with_a_flipped_byte_is_refused(here: Tamiyo, run_folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    weights = next(copy.glob("*.safetensors"))
    raw = bytearray(weights.read_bytes())
    raw[-10] ^= 1
    weights.write_bytes(raw)
    refused(here, 6, weights.name, "export", copy, "--target", "edge-tpu", "--out", tmp_path / "x.tamiyo")
    refused(here, 6, weights.name, "evaluate", copy)


def test_a_budget_that_cannot_be_met_names_the_three_costliest_parts(
    here: Tamiyo, run_folder: Path, bundles: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "x.tamiyo"
    text = refused(
        *(here, 3, "costliest", "export", run_folder, "--target", "raspberry-pi-4", "--out", out),
        *("--budget-latency-ms", "0.001"),
    )
    assert sum(name in text for name in ("trunk", "head", "stem", "seed")) >= 1
    assert not out.exists()
    refused(*(here, 3, "costliest", "run", bundles["raspberry-pi-4"], "--device", "simulated", "--latency-ms", "0.001"))


def test_an_accuracy_floor_that_is_missed_leaves_no_bundle(here: Tamiyo, run_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.tamiyo"
    arguments = ("--target", "edge-tpu", "--out", out, "--accuracy-floor", "0.9999", "--smoke")
    refused(here, 3, "floor", "export", run_folder, *arguments)
    assert not out.exists()
