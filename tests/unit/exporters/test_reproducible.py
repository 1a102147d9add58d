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
def test_two_processes_in_two_folders_write_the_same_bytes(tmp_path: Path) -> None:
    processes = []
    for name, seed in (("here", "1"), ("there", "2")):
        folder = tmp_path / name
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SCRIPT, "raspberry-pi-4", "net.tamiyo"]
        processes.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    for process in processes:
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert (out, err) == ("", ""), "a library does not print"
    digests = [hashlib.sha256((tmp_path / name / "net.tamiyo").read_bytes()).hexdigest() for name in ("here", "there")]
    assert digests[0] == digests[1]
