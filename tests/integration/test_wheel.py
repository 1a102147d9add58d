"""The built wheel with only the extra ``device``, in a clean environment: a bundle runs, torch is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = [pytest.mark.toolchain, pytest.mark.slow, pytest.mark.timeout(600)]

ABSENT = ("torch", "onnx", "tensorflow", "jax", "sklearn", "litert_torch", "matplotlib", "pandas")
OURS = ("tamiyo_runtime", "device_profiles", "simulators", "exporters", "collector", "tamiyo_train")


@pytest.fixture(scope="module")
def device_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(folder.glob("tamiyo_edge-*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python)]  # a board's own would be unpacked for seconds
    install = ["install", "-q", "--no-compile", "-c", str(ROOT / "constraints.txt"), f"{wheel}[device]"]
    subprocess.run([*pip, *install], check=True, capture_output=True)
    return python


def in_environment(python: Path, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        [str(python), *arguments],
        cwd=home,
        env={**environment, "TAMIYO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_device_environment_runs_the_bundle(
    device_python: Path, bundles: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    result = in_environment(
        device_python,
        *("-m", "tamiyo_runtime.cli.main", "run", str(bundles["raspberry-pi-4"]), "--device", "simulated"),
        *("--samples", "30", "--link", "lora-eu868", "--state-dir", str(tmp_path), "--json"),
        home=home,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["samples"] == 30


def test_nothing_of_training_is_installed_beside_it(device_python: Path, home: Path) -> None:
    probe = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
    result = in_environment(device_python, "-c", probe, *ABSENT, home=home)
    assert result.stdout.strip() == "[]"


def test_every_top_level_package_of_the_wheel_is_ours(device_python: Path, home: Path) -> None:
    probe = (
        "import importlib, importlib.metadata as m, sys\n"
        "owners = m.packages_distributions()\n"
        "print({n: owners[n] for n in sys.argv[1:] if importlib.import_module(n)})"
    )
    result = in_environment(device_python, "-c", probe, *OURS, home=home)
    assert result.stdout.count("['tamiyo-edge']") == len(OURS), result.stdout + result.stderr


def test_a_command_of_a_missing_extra_says_what_to_type(
    device_python: Path, bundles: dict[str, Path], home: Path, tmp_path: Path
) -> None:
    run = [sys.executable, "-m", "tamiyo_runtime.cli.main"]
    result = in_environment(device_python, *run[1:], "train", str(tmp_path / "run"), "--smoke", home=home)
    assert result.returncode == 5, result.stdout + result.stderr
    assert "pip install 'tamiyo-edge[train]'" in result.stderr
    assert "Traceback" not in result.stderr
