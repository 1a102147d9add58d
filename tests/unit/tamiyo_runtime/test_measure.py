"""Probe kits and their timing: what is drawn runs, what is timed is reported, what was tampered with is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_profiles.ops import MAC_KINDS
from exporters.probes import FAMILIES, REFERENCE, Family, write_probes
from tamiyo_runtime.archive import pack, unpack
from tamiyo_runtime.contracts.cost import Source
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaError, SignatureError
from tamiyo_runtime.contracts.plan import Precision
from tamiyo_runtime.contracts.runs import ProbeKit, Runs
from tamiyo_runtime.measure import Subject, runs_of, subjects_of_kit, this_machine, time_all
from tamiyo_runtime.probekit import KIT, is_kit, open_kit
from tamiyo_runtime.signing import SigningKey, Trust

pytest.importorskip("ai_edge_litert")
KEY = SigningKey(bytes(range(32)))
ONE_EACH = {name: replace(family, count=1) for name, family in FAMILIES.items()}


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kit") / "some.tamiyo-probes"
    write_probes(path, KEY, families=ONE_EACH)
    return path


def test_a_whole_kit_has_what_a_calibration_needs() -> None:
    assert sum(family.count * len(family.precisions) for family in FAMILIES.values()) >= 90
    for precision in Precision:
        assert sum(family.count for family in FAMILIES.values() if precision in family.precisions) >= 90


def test_a_kit_of_one_seed_has_the_same_bytes_every_time(kit: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.tamiyo-probes", tmp_path / "other.tamiyo-probes"
    write_probes(again, KEY, families=ONE_EACH)
    write_probes(other, KEY, families=ONE_EACH, seed=1)
    assert again.read_bytes() == kit.read_bytes() != other.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        write_probes(again, KEY, families=ONE_EACH)


def test_every_family_runs_in_every_precision_and_is_reported(kit: Path) -> None:
    opened = open_kit(kit, trusted=Trust.of(KEY.public))
    subjects = subjects_of_kit(opened, interpreter="litert")
    answers = {subject.id: np.asarray(subject.call(), np.float64) for subject in subjects}
    assert all(np.isfinite(answer).all() for answer in answers.values())
    assert all(np.ptp(answer) > 0 for name, answer in answers.items() if answer.size > 1 and "exponential" not in name)
    shares = []
    time_all(subjects, REFERENCE, seconds=0.05, tick=lambda _rounds, share: shares.append(share))
    runs = runs_of(subjects, REFERENCE, subject="probes", digest=opened.digest, machine=this_machine("litert", "here"))
    assert shares == sorted(shares)
    assert {run.id for run in runs.runs} == {probe.id for probe in opened.kit.probes}
    assert {run.family for run in runs.runs} == set(FAMILIES)
    assert (runs.source, runs.threads, runs.machine.device) == (Source.MEASURED, 1, "here")
    for run, probe in zip(runs.runs, opened.kit.probes, strict=True):
        assert run.ops == probe.ops
        assert run.rounds >= 3
        assert run.round_low_us <= run.p50_us <= run.round_high_us
        assert 0 < run.p50_us <= run.p999_us
        assert run.p90_us <= run.p999_us
    assert Runs.from_json(runs.to_json(), path="runs.json") == runs


def test_the_operators_listed_are_those_of_the_graph(kit: Path) -> None:
    opened = open_kit(kit, trusted=Trust.of(KEY.public))
    for probe in opened.kit.probes:
        for op in probe.ops:
            if op.kind in MAC_KINDS:
                assert op.gemm is not None
                assert np.prod(op.gemm) * op.groups == op.macs > 0
                assert op.gemm[1] % op.window == 0
            else:
                assert op.macs == 0
    reference = next(probe for probe in opened.kit.probes if probe.id == REFERENCE)
    assert 6 <= len(reference.ops) <= 20


def test_one_precision_can_be_timed_alone_beside_the_reference(kit: Path) -> None:
    opened = open_kit(kit, trusted=Trust.of(KEY.public))
    subjects = subjects_of_kit(opened, interpreter="litert", precision=Precision.FLOAT32)
    assert {s.id for s in subjects if s.precision is Precision.INT8} == {REFERENCE}


def test_graphs_take_turns_and_a_slow_spell_hits_all_of_them() -> None:
    order: list[str] = []
    subjects = [
        Subject(id=name, family="f", precision=Precision.INT8, call=lambda name=name: order.append(name))
        for name in "abcd"
    ]
    time_all(subjects, "a", seconds=0.02)
    turns = [name for index, name in enumerate(order) if index == 0 or order[index - 1] != name]
    assert min(turns.count(name) for name in "abcd") >= 3
    assert len({len(subject.visits) for subject in subjects}) == 1


def test_a_kit_that_was_changed_or_comes_from_a_stranger_is_refused(kit: Path, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="not trusted"):
        open_kit(kit, trusted=Trust.of(SigningKey.generate().public))
    members = unpack(kit.read_bytes(), source="kit")
    for change in (
        {**members, "conv2d.pack": members["dense.pack"]},
        {name: data for name, data in members.items() if name != "conv2d.pack"},
        {**members, KIT: members[KIT].replace(b'"seed":0', b'"seed":1')},
        {**members, "more.pack": b"x"},
    ):
        bad = tmp_path / "bad.tamiyo-probes"
        bad.write_bytes(pack(change))
        with pytest.raises(IntegrityError):
            open_kit(bad, trusted=Trust.of(KEY.public))
    raw = bytearray(kit.read_bytes())
    raw[len(raw) // 2] ^= 1
    bad.write_bytes(raw)
    with pytest.raises(IntegrityError):
        open_kit(bad, trusted=Trust.of(KEY.public))


def test_a_kit_is_known_by_its_name_or_its_contents(kit: Path, tmp_path: Path) -> None:
    renamed, text = tmp_path / "kit.zip", tmp_path / "notes.txt"
    renamed.write_bytes(kit.read_bytes())
    text.write_text("no archive")
    assert is_kit(kit)
    assert is_kit(renamed)
    assert not is_kit(text)
    assert not is_kit(tmp_path / "absent")


def test_a_kit_without_its_reference_or_with_a_double_is_refused(kit: Path) -> None:
    known = open_kit(kit, trusted=Trust.of(KEY.public)).kit
    with pytest.raises(SchemaError, match="no probe is called"):
        replace(known, reference="absent")
    with pytest.raises(SchemaError, match="share a name"):
        replace(known, probes=(*known.probes, known.probes[0]))
    assert ProbeKit.from_json(known.to_json()) == known


def test_no_time_to_measure_in_is_refused() -> None:
    with pytest.raises(InputError, match="no time"):
        time_all([], "a", seconds=0)


def test_families_can_be_chosen(tmp_path: Path) -> None:
    few: dict[str, Family] = {name: ONE_EACH[name] for name in ("dense", "separable-network")}
    made = write_probes(tmp_path / "few.tamiyo-probes", KEY, families=few)
    assert len(made.probes) == 4
