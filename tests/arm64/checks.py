"""What is asked of the board, one function a question: each returns what it saw, or raises FailedError.

Behaviour, answers and memory carry over to a real board of this architecture; timings do not, so none is looked at.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tests import far_end
from tests.arm64 import bundles
from tests.arm64.board import HOME, PYTHON, TAMIYO, WORK, Board, FailedError

TRAINING = ("torch", "onnx", "tensorflow", "jax", "sklearn", "litert_torch", "pandas")
ENGINES = ("ai_edge_litert", "onnxruntime")
INT8_DIFFERS = 0.05
"""Share of answers of an int8 network that may differ: as the export's step "int8 kernels" finds, other kernels round
the last bit differently, and change up to some 3 % of the answers of this short training."""
FLEET = "arm64"
HOST = ("--device", "host", "--latency-ms", "0")
"""This machine as the board, without a deadline, which no emulated processor can hold."""
_PROBE = "import importlib.util, sys; print([m for m in sys.argv[1:] if importlib.util.find_spec(m)])"
TEST_TOOLS = ("pytest", "hypothesis", "pytest-xdist", "pytest-timeout", "jsonschema", "onnx")
_TESTS = ("governor", "spool", "wire", "bundle", "executor", "interpreters", "policy", "selftest", "signing", "files")
"""Of the runtime's tests those without limits of processor time, which emulation exceeds, and without scipy."""


@dataclass(frozen=True, slots=True)
class Bench:
    """The board, and the bundles that were made for it on this machine, by name."""

    board: Board
    bundles: Mapping[str, Path]
    home: Path
    """Of this machine's keys, which trusts the signer too."""


def machine(bench: Bench) -> str:
    """Which system it is."""
    release = bench.board.shell("cat", "/etc/os-release").stdout
    name = re.search(r'PRETTY_NAME="(.*)"', release)
    script = "import platform as p; print(p.machine(), 'Python', p.python_version(), *p.libc_ver())"
    return f"{name[1] if name else '?'}, {bench.board.python(script).stdout.strip()}"


def no_training(bench: Bench) -> str:
    """Nothing of training is installed beside the runtime, and both engines are."""
    found = json.loads(bench.board.python(_PROBE, *TRAINING, *ENGINES).stdout.replace("'", '"'))
    if found != list(ENGINES):
        raise FailedError(f"installed: {found}")
    return f"none of {', '.join(TRAINING)}"


def doctor(bench: Bench) -> str:
    """`tamiyo doctor` finds all that is required, and both engines at work."""
    report = bench.board.json("doctor")
    verdicts = {item["name"]: item["verdict"] for item in report["findings"]}
    working = [name for name, verdict in verdicts.items() if verdict == "ok"]
    if not report["ok"] or not {"litert", "onnxruntime"} <= {name.lower().split()[0] for name in working}:
        raise FailedError(f"{verdicts}")
    return f"{len(working)} of {len(verdicts)} ok: {', '.join(working)}"


def trust(bench: Bench) -> str:
    """A bundle of a stranger is refused; after `tamiyo key trust` its signer is none."""
    bundle = f"{WORK}/{bundles.TINY}.tamiyo"
    outcome = bench.board.root.run(TAMIYO, "verify", bundle, environment={"TAMIYO_HOME": HOME})
    if outcome.code != 6:
        raise FailedError(f"an unknown signer: exit {outcome.code}")
    bench.board.tamiyo("key", "trust", f"{WORK}/signer.pub")
    return "exit 6 before, trusted after"


def inspect(bench: Bench, name: str) -> str:
    """`tamiyo inspect` reads the bundle."""
    manifest = bench.board.json("inspect", f"{WORK}/{name}.tamiyo")["manifest"]
    return f"{len(manifest['variants'])} variants: {', '.join(item['id'] for item in manifest['variants'])}"


def verify(bench: Bench, name: str) -> str:
    """`tamiyo verify`: signature, hashes, and the self-test of every variant by its engine."""
    report = bench.board.json("verify", f"{WORK}/{name}.tamiyo")
    tests = report["self_test"]
    failed = [item["name"] for item in tests if not item["ok"]]
    if failed or not report["ok"]:
        raise FailedError(f"self-test: {', '.join(failed)}")
    worst = max(item["worst"] / item["allowed"] for item in tests)
    return f"{len(tests)} self-tests, at worst {worst:.1e} of the difference allowed"


def answers(bench: Bench, name: str, variant: str) -> str:
    """`tamiyo run` of one variant gives the answers, and the governor's choices, of this machine's own processor."""
    options = ("--device", "simulated", "--variant", variant, "--broker", "none", "--period-ms", "100")
    line = ("run", f"{WORK}/{name}.tamiyo", *options, "--trace", f"{WORK}/{name}-{variant}.npz")
    result = bench.board.json(*line)
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder) / "here.npz"
        bundles.command("run", bench.bundles[name], *options, "--trace", here, home=bench.home)
        one, other = np.load(here), np.load(bench.board.file(f"{name}-{variant}.npz"))
        same = (one["correct"] == other["correct"]) & (one["option"] == other["option"])
    share = 1 - float(same.mean())
    if share > (INT8_DIFFERS if "int8" in variant else 0.0):
        raise FailedError(f"{share:.1%} of {same.size} answers or choices differ from this machine's")
    accuracy = f"accuracy {result['accuracy']:.1%}" if result["accuracy"] is not None else "no labels"
    return f"by {result['interpreter']}, {accuracy}; {int(same.sum())} of {same.size} as on this machine"


def telemetry(bench: Bench) -> str:
    """Records wait in the spool while there is no broker, then cross one with client certificates; all are counted."""
    board, spool = bench.board, f"{WORK}/state/board-1.spool"
    options = (*HOST, "--samples", "40", "--period-ms", "20", "--fleet", FLEET)
    run = ("run", f"{WORK}/raspberry-pi-4.tamiyo", *options, "--device-id", "board-1", "--state-dir", f"{WORK}/state")
    board.tamiyo(*run, "--broker", "mqtt://127.0.0.1:9")  # "discard": nobody listens
    waiting = sum(kind["records"] for kind in board.json("spool", "inspect", spool)["waiting"].values())
    if not waiting:
        raise FailedError("nothing waits in the spool")
    with tempfile.TemporaryDirectory() as name, far_end.broker(Path(name), FLEET) as outside:
        outside.authority.issue("board-1")
        for file in ("ca.pem", "board-1.pem", "board-1.key"):
            shutil.copy(outside.authority.folder / file, board.file(file))
        with outside.collecting() as ledger:
            board.tamiyo(*run, *outside.options(WORK, "board-1"))
    if len(ledger) != 2 or not all(row["balanced"] and row["stored"] for row in ledger):
        raise FailedError(f"the ledger: {ledger}")
    sent, stored = (sum(row[column] for row in ledger) for column in ("sent", "stored"))
    lost = sum(sum(row["lost"].values()) for row in ledger)
    return f"TLS, {len(ledger)} boots ({waiting} records waited): sent {sent} = stored {stored} + lost {lost}"


def update(bench: Bench) -> str:
    """`tamiyo update`: a first bundle comes onto the device, a second is started on trial and kept."""
    board, state = bench.board, f"{WORK}/update"
    board.tamiyo("update", "init", state, "--device", "board-1", "--key", f"{WORK}/signer.pub")
    for name in bundles.TARGETS:
        board.tamiyo("update", "apply", state, f"{WORK}/{name}.tamiyo")
    path = board.tamiyo("update", "start", state).stdout.strip()
    board.tamiyo("run", path, *HOST, "--samples", "5", "--broker", "none", "--period-ms", "0")
    board.tamiyo("update", "confirm", state)
    record = board.json("update", "status", state)
    states = {name: slot["state"] for name, slot in record["slots"].items()}
    if (
        states != {"a": "confirmed", "b": "confirmed"}
        or record["running"] != "b"
        or not path.endswith("b/bundle.tamiyo")
    ):
        raise FailedError(f"slots {states}, running is {record['running']} from {path}")
    return "slot a confirmed at once, slot b after its trial"


def memory(bench: Bench) -> str:
    """Peak memory of a run by each engine, beside an interpreter that only imports the engine; qemu's own included."""
    board, said = bench.board, [f"python {bench.board.python('pass').peak_mib:.0f} MiB"]
    for module, variant in (("ai_edge_litert.interpreter", "tflite-int8"), ("onnxruntime", "onnx-float")):
        line = ("run", f"{WORK}/raspberry-pi-4.tamiyo", *HOST, "--samples", "64", "--period-ms", "0")
        run = board.tamiyo(*line, "--broker", "none", "--variant", variant).peak_mib
        bare = board.python(f"import numpy, {module}").peak_mib
        said.append(f"{variant} {run:.0f} MiB, its engine imported alone {bare:.0f} MiB")
    return "; ".join(said)


def unit_tests(bench: Bench) -> str:
    """The runtime's own tests, those that need neither a toolchain nor a broker, against the installed wheel."""
    board = bench.board
    checkout = board.root.path(f"{WORK}/checkout")
    for name in ("tests", "docs"):
        shutil.copytree(bundles.ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(bundles.ROOT / name, checkout)
    board.pip("--target", f"{WORK}/test-tools", *TEST_TOOLS)
    files = ["tests/unit/contracts", *(f"tests/unit/tamiyo_runtime/test_{name}.py" for name in _TESTS)]
    marks = "not slow and not long and not toolchain and not broker"
    options = f'-q -p no:cacheprovider -m "{marks}" {" ".join(files)}'
    command = f"cd {WORK}/checkout && exec {PYTHON} -m pytest {options}"
    outcome = board.shell("sh", "-c", command, environment={"PYTHONPATH": f"{WORK}/test-tools"})
    return outcome.stdout.strip().splitlines()[-1].strip("= ")


def questions(bench: Bench) -> list[tuple[str, Callable[[], str]]]:
    """All checks in order, by what they are called in the table."""
    asked: list[tuple[str, Callable[[], str]]] = [
        ("machine", partial(machine, bench)),
        ("no training libraries", partial(no_training, bench)),
        ("doctor", partial(doctor, bench)),
        ("trust", partial(trust, bench)),
    ]
    for name, path in bench.bundles.items():
        asked += [(f"inspect {name}", partial(inspect, bench, name)), (f"verify {name}", partial(verify, bench, name))]
        manifest = json.loads(zipfile.ZipFile(path).read("manifest.json"))
        for variant in manifest["variants"]:
            asked.append((f"run {name} {variant['id']}", partial(answers, bench, name, variant["id"])))
    return [
        *asked,
        ("telemetry", partial(telemetry, bench)),
        ("update", partial(update, bench)),
        ("peak memory", partial(memory, bench)),
        ("unit tests of the runtime", partial(unit_tests, bench)),
    ]
