"""int8 graphs on other kernels than those they were measured on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporters.quantise import kernels
from exporters.quantise.openers import MICRO, OPENERS, PLAIN, REFERENCE, Call
from exporters.report import KernelReport, Status
from exporters.steps.kernels import _outcome
from tamiyo_runtime.bundle import VECTORS
from tamiyo_runtime.selftest import Vectors
from tests.unit.exporters.conftest import Exported

pytestmark = pytest.mark.toolchain


def test_every_configuration_is_run_on_other_kernels(pi: Exported) -> None:
    configurations = {item.id for item in pi.bundle.manifest.configurations}
    for name in kernels.KERNELS:
        rows = [row for row in pi.report.kernels if row.kernels == name and row.variant == "tflite-int8"]
        assert {row.configuration for row in rows} == configurations
        for row in rows:
            assert row.worst_lsb is not None, row.problem
            assert row.operator_lsb is not None
            assert row.operator_lsb <= kernels.OPERATOR_TOLERANCE_LSB
            assert row.samples > 0


def test_the_bundle_says_how_far_its_answers_may_be_off_elsewhere(pi: Exported) -> None:
    told = Vectors.from_bytes(pi.bundle.read(VECTORS)).steps
    found = [row for row in pi.report.kernels if row.worst_lsb is not None]
    names = {(row.variant, row.configuration) for row in found}
    assert told
    assert told == {
        name: max(row.worst_lsb or 0 for row in found if (row.variant, row.configuration) == name) for name in names
    }


def test_whole_configurations_are_checked_as_well(tpu: Exported) -> None:
    assert {row.configuration for row in tpu.report.kernels} == {
        runnable.configuration for runnable in tpu.report.variants[0].runnables
    }


def row(**changes: Any) -> KernelReport:
    values: dict[str, Any] = {
        "variant": "v",
        "configuration": "c1",
        "kernels": REFERENCE,
        "samples": 32,
        "worst_lsb": 3,
        "operator_lsb": 1,
        "flipped": 0.0,
    }
    return KernelReport(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, Status.OK, "litert reference 3"),
        ({"worst_lsb": 2}, Status.OK, "litert reference 2"),
        ({"flipped": 1 / 32}, Status.OK, "closer than int8 itself is to torch, at most 3.1 %"),
        ({"worst_lsb": 1, "flipped": 2 / 32}, Status.WARN, "too far apart"),
        ({"operator_lsb": 3}, Status.WARN, "too far apart: c1 on litert reference"),
        ({"worst_lsb": 6}, Status.WARN, "too far apart"),
        ({"worst_lsb": None, "problem": "g: no GELU", "kernels": MICRO}, Status.OK, "not taken by tflite-micro"),
        ({"worst_lsb": None, "problem": kernels.NOT_INSTALLED, "kernels": MICRO}, Status.OK, "not checked"),
    ],
)
def test_a_chain_may_differ_by_what_int8_itself_adds_an_operator_by_two_steps(
    changes: dict[str, Any], status: Status, words: str
) -> None:
    outcome = _outcome([row(**changes)], {"v": {"c1": 5.0}})
    assert outcome.status is status
    assert words in outcome.message


def test_kernels_that_compute_something_else_are_found(pi: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, request = _compiled(pi)
    usual = OPENERS[REFERENCE]

    def wrong(data: bytes) -> Call:
        call = usual(data)
        return lambda *values: np.clip(call(*values).astype(np.int64) + 7, -128, 127).astype(np.int8)

    monkeypatch.setattr(kernels, "OPENERS", {**OPENERS, PLAIN: wrong})
    rows = [item for item in kernels.check_kernels(compiled, *request) if item.kernels == PLAIN]
    assert all((item.operator_lsb or 0) >= 7 for item in rows)


def test_answers_that_other_kernels_change_are_counted(pi: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, request = _compiled(pi)
    usual = OPENERS[REFERENCE]

    def mirrored(data: bytes) -> Call:
        call = usual(data)
        return lambda *values: call(*values)[..., ::-1]

    monkeypatch.setattr(kernels, "OPENERS", {**OPENERS, PLAIN: mirrored})
    rows = {item.kernels: item for item in kernels.check_kernels(compiled, *request)}
    assert (rows[PLAIN].flipped or 0.0) > 0.5
    assert rows[REFERENCE].flipped == 0.0


def test_where_tflite_micro_is_missing_the_report_says_so(pi: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "micro_installed", lambda: False)
    compiled, request = _compiled(pi)
    rows = [item for item in kernels.check_kernels(compiled, *request) if item.kernels == MICRO]
    assert rows
    assert {(item.worst_lsb, item.problem) for item in rows} == {(None, kernels.NOT_INSTALLED)}


def _compiled(exported: Exported) -> tuple[Any, tuple[Any, Any]]:
    """The int8 variant of a bundle as the steps saw it, with one configuration for speed."""
    from exporters.compiled import Artefact, Compiled
    from exporters.targets import INT8_SEGMENTS

    variant = next(item for item in exported.bundle.manifest.variants if item.id == "tflite-int8")
    chains = {variant.runnables[0].configuration: variant.runnables[0].chain}
    artefacts = {
        name: Artefact.of_tflite(exported.bundle.read(variant.graphs[name].file), file=variant.graphs[name].file)
        for chain in chains.values()
        for name in chain
    }
    from tests.unit.exporters.tiny import images

    samples, _ = images(16, seed=2)
    return Compiled.of_chains(INT8_SEGMENTS, artefacts, chains), (samples, exported.bundle.manifest.input)
