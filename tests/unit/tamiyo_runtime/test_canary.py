"""Signed bundles whose graphs hurt when they run: told, with the reason, by a process that is thrown away."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tamiyo_runtime import admission, cage, canary
from tamiyo_runtime.admission import admit_once, engines_here
from tamiyo_runtime.bundle import VECTORS, Bundle
from tamiyo_runtime.cage import End, Limits
from tamiyo_runtime.canary import admit, examine
from tamiyo_runtime.cli.main import main
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, MissingDependencyError
from tamiyo_runtime.selftest import Vectors
from tamiyo_runtime.signing import SigningKey, Trust
from tests import hostile
from tests.attacker import KEY, ONNX, TFLITE, Attacker

LIMITS = Limits(cpu_s=1, wall_s=60.0)
TRUSTED = Trust.of(KEY.public)
QUICK = {  # in every run of the suite; the rest is `long`
    "split in 0 pieces",
    "gather at index 2^30",
    "answers infinity",
    "14 GB at run",
    "expand to 2^40",
}


@pytest.fixture
def attacker() -> Attacker:
    return Attacker()


def written(folder: Path, attacker: Attacker) -> Path:
    path = folder / "evil.tamiyo"
    path.write_bytes(attacker.bytes)
    return path


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_good_bundle_comes_back_with_every_configuration_and_the_policy(attacker: Attacker, tmp_path: Path) -> None:
    path = written(tmp_path, attacker)
    bundle = Bundle.open(path, trusted=TRUSTED)
    verdict = admit(path, trusted=TRUSTED, digest=bundle.digest)
    assert len(verdict.checks) == 13
    assert all(check.ok for check in verdict.checks)
    assert 1 << 20 < verdict.peak_memory_bytes < Limits().memory_bytes
    assert set(verdict.unconfined) <= {"network"}


@pytest.mark.parametrize(
    ("file", "make"),
    [
        pytest.param(file, make, id=f"{file[-6:]}: {name}", marks=[] if name in QUICK else [pytest.mark.long])
        for file, table in ((TFLITE, hostile.TFLITE), (ONNX, hostile.ONNX))
        for name, make in table.items()
    ],
)
def test_what_passes_the_screening_and_hurts_when_it_runs_is_refused_and_nobody_dies(
    attacker: Attacker, tmp_path: Path, file: str, make: Callable[[], bytes]
) -> None:
    attacker.replace(file, make())
    path = written(tmp_path, attacker)
    Bundle.open(path, trusted=TRUSTED)  # signed, listed, and nothing to see from outside
    before = resident_bytes()
    with pytest.raises(IntegrityError) as caught:
        admit(path, trusted=TRUSTED, limits=LIMITS)
    assert resident_bytes() - before < 8 << 20
    assert caught.value.message.startswith("evil.tamiyo: ")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 400
    assert "head" in caught.value.message or "float" in caught.value.message or "onnx" in caught.value.message


def test_a_graph_that_ends_its_process_is_named_with_the_signal(attacker: Attacker, tmp_path: Path) -> None:
    attacker.replace(TFLITE, hostile.TFLITE["split in 0 pieces"]())
    with pytest.raises(IntegrityError, match=r"its process ended with signal SIG\w+ while loading 'graphs/float/head"):
        examine(written(tmp_path, attacker), trusted=TRUSTED)


def test_a_graph_that_hangs_is_named_with_the_time_it_took(attacker: Attacker, tmp_path: Path) -> None:
    attacker.replace(ONNX, hostile.ONNX["loop of 2^62 turns"]())
    with pytest.raises(IntegrityError, match="used more than 1 s of processor time while loading variant 'onnx'"):
        examine(written(tmp_path, attacker), trusted=TRUSTED, limits=LIMITS)


def test_wrong_answers_are_a_verdict_to_look_at_and_an_error_at_the_gate(attacker: Attacker, tmp_path: Path) -> None:
    vectors = Vectors.from_bytes(attacker.files[VECTORS])
    vectors.logits["float", "c00"][0, 0] += 1
    attacker.replace(VECTORS, vectors.to_bytes())
    path = written(tmp_path, attacker)
    assert [check.name for check in examine(path, trusted=TRUSTED).failed] == ["float/c00"]
    with pytest.raises(IntegrityError, match="the self-test of float/c00 failed: differs by 1"):
        admit(path, trusted=TRUSTED)


def test_what_has_no_recorded_answer_is_run_all_the_same(attacker: Attacker, tmp_path: Path) -> None:
    del attacker.files[VECTORS]
    del attacker.manifest["files"][VECTORS]
    attacker.replace(TFLITE, hostile.TFLITE["answers infinity"]())
    with pytest.raises(IntegrityError, match=r"the self-test of float/.* failed: answers no finite number"):
        admit(written(tmp_path, attacker), trusted=TRUSTED)


def test_a_file_that_is_replaced_meanwhile_another_signer_and_no_file_are_refused(
    attacker: Attacker, tmp_path: Path
) -> None:
    path = written(tmp_path, attacker)
    with pytest.raises(IntegrityError, match="was replaced while it was examined"):
        examine(path, trusted=TRUSTED, digest="ab" * 32)
    with pytest.raises(IntegrityError, match="which is not trusted"):
        examine(path, trusted=Trust.of(SigningKey.generate().public))
    with pytest.raises(InputError, match="bundle not found"):
        examine(tmp_path / "none.tamiyo", trusted=TRUSTED)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((), "answered rubbish"),
        (("rubbish",), "answered rubbish .*is no JSON"),
        (("[" * 100_000,), "answered rubbish .*is no JSON"),
        (("[1]",), "is no object"),
        (('{"verdict": {}}',), "answered rubbish .*missing field"),
        (('{"verdict": {"digest": "", "checks": [{"ok": 1}], "peak_memory_bytes": 1}}',), "answered rubbish"),
        (('{"error": {"message": "\\u001b[2J", "exit_code": 99}}',), r"evil: \?\[2J"),
    ],
)
def test_whatever_a_child_says_is_a_verdict_or_an_error(
    monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(cage, "run", lambda *_: End(lines=lines, returncode=0))
    with pytest.raises(IntegrityError, match=message):
        examine(Path("evil"), trusted=TRUSTED)


@pytest.mark.parametrize("lines", [(), ('{"doing": "importing onnxruntime"}',)])
def test_an_engine_that_dies_on_its_own_is_no_fault_of_the_bundle(
    monkeypatch: pytest.MonkeyPatch, lines: tuple[str, ...]
) -> None:
    monkeypatch.setattr(cage, "run", lambda *_: End(lines=lines, returncode=-4))
    with pytest.raises(MissingDependencyError, match="ended with signal SIGILL while"):
        examine(Path("fine"), trusted=TRUSTED)


# Once is enough.


def test_a_bundle_is_tried_once_a_machine_and_again_when_it_or_an_engine_changes(
    attacker: Attacker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, tried = tmp_path / "home", []
    monkeypatch.setattr(canary, "admit", lambda *_args, digest, **_: tried.append(digest))
    path = written(tmp_path, attacker)
    first = Bundle.open(path, trusted=TRUSTED)
    for _ in range(3):
        assert admit_once(first, path, trusted=TRUSTED, folder=home)
    assert tried == [first.digest]
    attacker.manifest["version"] = 2
    second = Bundle.open(written(tmp_path, attacker), trusted=TRUSTED)
    assert admit_once(second, path, trusted=TRUSTED, folder=home)
    monkeypatch.setattr(admission, "engines_here", lambda _: "another engine")
    assert admit_once(first, path, trusted=TRUSTED, folder=home)
    assert tried == [first.digest, second.digest, first.digest]
    assert admit_once(first, path, trusted=TRUSTED, folder=home, again=True)
    assert tried[3:] == [first.digest]
    assert (home / "installed.json").stat().st_mode & 0o777 == 0o600


def test_what_the_canary_died_of_is_not_remembered_as_fine(attacker: Attacker, tmp_path: Path) -> None:
    attacker.replace(TFLITE, hostile.TFLITE["split in 0 pieces"]())
    path = written(tmp_path, attacker)
    bundle = Bundle.open(path, trusted=TRUSTED)
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"SIGSEGV|SIGFPE"):
            admit_once(bundle, path, trusted=TRUSTED, folder=tmp_path / "home")


def test_a_home_that_cannot_be_written_means_a_trial_at_every_start(attacker: Attacker, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    path = written(tmp_path, attacker)
    bundle = Bundle.open(path, trusted=TRUSTED)
    assert not admit_once(bundle, path, trusted=TRUSTED, folder=tmp_path / "home")


def test_the_engines_text_is_the_same_as_long_as_nothing_is_installed_anew(attacker: Attacker) -> None:
    bundle = Bundle.parse(attacker.bytes, name="b", trusted=TRUSTED)
    assert engines_here(bundle) == engines_here(bundle)


@pytest.mark.parametrize("command", ["run", "verify"])
def test_commands_refuse_a_bundle_that_kills_its_interpreter_with_exit_6(
    attacker: Attacker, tmp_path: Path, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    attacker.replace(TFLITE, hostile.TFLITE["split in 0 pieces"]())
    path = written(tmp_path, attacker)
    (tmp_path / "signer.pub").write_bytes(KEY.public.to_pem())
    assert main([command, str(path), "--key", str(tmp_path / "signer.pub")]) == 6
    out, err = capfd.readouterr()
    assert out == ""
    assert "its process ended with signal SIG" in err
    assert "'graphs/float/head.tflite'" in err


def test_the_child_of_a_run_leaves_no_trace_in_memory(attacker: Attacker, tmp_path: Path) -> None:
    attacker.replace(ONNX, hostile.ONNX["expand to 2^40"]())
    path = written(tmp_path, attacker)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(IntegrityError):
        examine(path, trusted=TRUSTED)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 8 << 10  # KiB


def test_nothing_but_finite_numbers_is_said_of_an_answer(attacker: Attacker, tmp_path: Path) -> None:
    attacker.replace(TFLITE, hostile.TFLITE["answers infinity"]())
    failed = examine(written(tmp_path, attacker), trusted=TRUSTED).failed
    assert failed
    assert all(check.worst is None or np.isfinite(check.worst) for check in failed)
    json.dumps([check.problem for check in failed], allow_nan=False)
