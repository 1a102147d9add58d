"""The model card: figures of the report with their intervals and sources, and honest about what it does not know."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from exporters.card import card
from tests import tiny
from tests.unit.exporters.test_html import full_report

MADE = tiny.make()
REPORT = full_report(MADE.manifest)


def text(**changes: object) -> str:
    return card(MADE.manifest, replace(REPORT, **changes), MADE.files).decode()


def test_every_configuration_has_accuracy_with_its_interval_and_cost_with_its_source() -> None:
    lines = [line for line in text().splitlines() if line.startswith(("| c0", "| c1"))]
    assert len(lines) == 3 * len(tiny.ALL_GATES)
    assert "| c11 | 95.0 % (91.0 to 97.3) | 96.0 % | 4 ms (3.2 ms to 4.8 ms) | 400 uJ (320 uJ to 480 uJ) |" in text()
    assert "analytic, analytic" in text()
    assert "200 samples" in text()


def test_errors_of_the_cost_model_quantisation_and_kernels_are_told() -> None:
    for words in (
        "four networks: mean error 12 %",
        "quantisation noise of the logits 28.4 dB (measured)",
        "kept in float for accuracy: seed0",
        "c11 on reference: within 1 steps over 32 samples (measured)",
        "c11 on micro: remark",
        "Not meant for:",
        "not calibrated probabilities",
        "not measured on a device of yours",
    ):
        assert words in text(), words


def test_what_is_not_known_is_said_to_be_not_recorded() -> None:
    bare = text(cost_checks=(), sensitivity=(), kernels=())
    assert "checked against on this profile: not recorded" in bare
    assert "kept in float for accuracy: not recorded" in bare
    assert "| licence of the data | not recorded |" in bare
    stated = replace(MADE.manifest, provenance={"data_licence": "CC BY 4.0"})
    assert "| licence of the data | CC BY 4.0 |" in card(stated, REPORT, {}).decode()


def test_a_smoke_export_says_that_its_accuracies_say_nothing() -> None:
    assert "its accuracies say nothing" in text(smoke=True)
    assert "its accuracies say nothing" not in text()


def test_hashes_are_those_of_the_files() -> None:
    for name, data in MADE.files.items():
        assert f"| `{name}` | {len(data)} | `{hashlib.sha256(data).hexdigest()}` |" in text()
