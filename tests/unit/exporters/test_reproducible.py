from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = """
import sys
from pathlib import Path
from exporters.pipeline import export
from tamiyo_runtime.signing import SigningKey
from tests.unit.exporters.tiny import tiny_request
export(tiny_request(steps=20), sys.argv[1], Path(sys.argv[2]), key=SigningKey(bytes(range(32))))
"""


@pytest.mark.toolchain
@pytest.mark.slow
@pytest.mark.parametrize("target", ["raspberry-pi-4", "edge-tpu"])
def test_two_processes_in_two_folders_write_the_same_bytes(tmp_path: Path, target: str) -> None:
    digests = []
    for name, seed in (("here", "1"), ("there", "2")):
        folder = tmp_path / name
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, target, "net.tamiyo"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert (done.stdout, done.stderr) == ("", ""), "a library does not print"
        digests.append(hashlib.sha256((folder / "net.tamiyo").read_bytes()).hexdigest())
    assert digests[0] == digests[1]
