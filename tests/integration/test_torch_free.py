"""The runtime loads, infers and reports in a process where the training libraries and typer cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import ROOT

pytestmark = [pytest.mark.toolchain, pytest.mark.slow]

SCRIPT = """
import sys
from pathlib import Path

BLOCKED = {"torch", "onnx", "tensorflow", "jax", "litert_torch", "ai_edge_quantizer", "typer", "sklearn"}

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())

from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.executor import Executor
from tamiyo_runtime.link import Ethernet
from tamiyo_runtime.meters import HostBoard
from tamiyo_runtime.policy import Policy
from tamiyo_runtime.session import Plan, Session
from tamiyo_runtime.sources import open_source
from tamiyo_runtime.telemetry_opening import open_telemetry

bundle = Bundle.open(Path(sys.argv[1]))
executor = Executor(bundle)
board = HostBoard(bundle.manifest.profile)
telemetry = open_telemetry(
    spool=Path(sys.argv[2]), url=None, fleet="f", device="d", bundle=bundle.digest[:8], link=Ethernet(),
    clock=board.clock,
)
session = Session(
    bundle.manifest, executor, board=board, source=open_source("bundle", bundle), reporter=telemetry,
    policy=Policy.of(bundle, executor.variant.format), plan=Plan(samples=40, period_s=0.0),
)
summary = session.run()
telemetry.flush(board.clock.now_s(), 0.1)
assert summary.inferences + summary.skipped == 40, summary
assert telemetry.counters().records_created > 0
assert not BLOCKED & set(sys.modules), BLOCKED & set(sys.modules)
print("inferences", summary.inferences)
"""


def test_the_runtime_works_where_torch_cannot_be_imported(bundles: dict[str, Path], home: Path, tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bundles["x86-64"]), str(tmp_path / "spool")],
        cwd=ROOT,
        env={**os.environ, "TAMIYO_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[1]) > 0
