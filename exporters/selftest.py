"""Replays a bundle's vectors in a process in which the training and export libraries cannot be imported.

That the runtime does not need them is a promise to every board; this is where each bundle is held to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import tamiyo_runtime
from tamiyo_runtime.contracts.errors import IntegrityError, TamiyoError
from tamiyo_runtime.selftest import Check
from tamiyo_runtime.signing import PublicKey

BLOCKED = (
    *("torch", "onnx", "onnxscript", "tensorflow", "litert_torch", "ai_edge_quantizer", "jax", "transformers"),
    *("typer", "tamiyo_train", "exporters", "device_profiles"),
)
TIMEOUT_S = 120.0

_SCRIPT = """
import dataclasses, importlib.abc, json, sys
blocked = set(json.loads(sys.argv[3]))
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked in the self-test", name=name)
sys.meta_path.insert(0, Blocker())
from pathlib import Path
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.contracts.errors import TamiyoError
from tamiyo_runtime.selftest import replay
from tamiyo_runtime.signing import PublicKey, Trust
try:
    bundle = Bundle.open(Path(sys.argv[1]), trusted=Trust.of(PublicKey(bytes.fromhex(sys.argv[2]))))
    print(json.dumps({"checks": [dataclasses.asdict(check) for check in replay(bundle)]}))
except TamiyoError as exc:
    print(json.dumps({"error": exc.message}))
leaked = sorted(blocked & {name.partition(".")[0] for name in sys.modules})
assert not leaked, leaked
"""


def run_isolated(bundle: Path, key: PublicKey) -> tuple[Check, ...]:
    """Replay a written bundle; one check a runnable, and one a policy format.

    Raises IntegrityError when a replay fails or could not be run, TamiyoError when the process itself fails.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(tamiyo_runtime.__file__).resolve().parents[1])}
    arguments = [sys.executable, "-c", _SCRIPT, str(bundle), key.raw.hex(), json.dumps(BLOCKED)]
    try:
        done = subprocess.run(  # noqa: S603  this interpreter, our own script, no shell
            arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired as exc:
        raise TamiyoError(f"the self-test took over {TIMEOUT_S:g} s") from exc
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TamiyoError(f"the self-test's process failed: {reason}", hint="please report this")
    answer = json.loads(lines[-1])
    if "error" in answer:
        raise IntegrityError(f"the self-test failed: {answer['error']}", hint="no bundle was written")
    checks = tuple(Check(**check) for check in answer["checks"])
    for check in checks:
        if check.ok is not True:
            raise IntegrityError(f"the self-test failed: {check.name}: {check.problem}", hint="no bundle was written")
    return checks
