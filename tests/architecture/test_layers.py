"""The architecture: import-linter, an AST walk that sees lazy imports, limits on files.

That the runtime works in a process where torch cannot be imported is shown by the integration tests.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("tamiyo_runtime", "device_profiles", "simulators", "exporters", "collector", "tamiyo_train")
TRAINING_LIBRARIES = {"torch", "onnx", "tensorflow", "litert_torch", "ai_edge_quantizer", "jax", "onnxscript"}

# What each package may import of ours, lazily or not. The command line may import all of it.
ALLOWED = {
    "tamiyo_runtime.contracts": {"tamiyo_runtime.contracts"},
    "tamiyo_runtime": {"tamiyo_runtime"},
    "device_profiles": {"device_profiles", "tamiyo_runtime"},
    "collector": {"collector", "tamiyo_runtime"},
    "simulators": {"simulators", "device_profiles", "tamiyo_runtime"},
    "exporters": {"exporters", "device_profiles", "tamiyo_runtime"},
    "tamiyo_train": {"tamiyo_train", "device_profiles", "simulators", "tamiyo_runtime"},
}
SOURCES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of every module a file imports, at any depth of the code."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            raise AssertionError(f"{path}: relative import; say where it comes from")


def owner(path: Path) -> str:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return next(name for name in ("tamiyo_runtime.cli", *ALLOWED) if module == name or module.startswith(f"{name}."))


def test_import_linter_finds_every_contract_kept() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([str(lint)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_above_its_layer_even_lazily(path: Path) -> None:
    home = owner(path)
    if home == "tamiyo_runtime.cli":
        return
    for name in imports_of(path):
        top = name.split(".")[0]
        if top in OURS:
            assert any(name == a or name.startswith(f"{a}.") for a in ALLOWED[home]), f"{home} imports {name}"
            assert not name.startswith("tamiyo_runtime.cli"), f"{home} imports the command line"
        if home == "tamiyo_runtime.contracts" and top not in OURS:
            assert top in sys.stdlib_module_names, f"contracts import {name}"
        if home not in {"exporters", "tamiyo_train"}:
            assert top not in TRAINING_LIBRARIES, f"{home} imports {name}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_grows_beyond_what_one_idea_needs(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


def test_no_text_names_a_path_of_the_machine_it_was_written_on() -> None:
    """Wherever this runs: neither the folder of the project nor what hides in its user's home."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    private = [f"{ROOT}/".encode(), f"{Path.home()}/.".encode()]
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (path := ROOT / name).is_file():
            data = path.read_bytes()
            assert not [found for found in private if found in data], name


def test_no_text_holds_what_a_merge_left_open() -> None:
    texts = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md")]
    assert ROOT / "CHANGELOG.md" in texts
    for path in texts:
        left = [line for line in path.read_text().splitlines() if line.startswith(("<" * 7 + " ", ">" * 7 + " "))]
        assert not left, f"{path.relative_to(ROOT)}: {left[0]}"


def test_no_package_pickles_but_for_jobs_on_their_way_to_a_worker_of_the_same_command() -> None:
    for path in SOURCES:
        if path == ROOT / "tamiyo_train" / "cluster.py":  # what `multiprocessing` does between processes of one machine
            continue
        assert not {"pickle", "dill", "joblib", "cloudpickle"} & set(imports_of(path)), path
