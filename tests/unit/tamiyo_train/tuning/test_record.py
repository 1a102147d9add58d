"""The record of a study: made of what it kept, and of nothing that does not come to what the study says."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys

import pytest

from benchmarks import bench_reward_tuning
from benchmarks.bench_reward_tuning import RECORD, SCHEMA, page, record
from tamiyo_train.config import Prices
from tamiyo_train.tuning.report import SHIPPED, TUNED
from tamiyo_train.tuning.tune import REPORT


@pytest.fixture(scope="module")
def made(study):
    return record(study, "a machine")


def test_it_holds_the_report_every_trial_and_the_hash_of_every_file_it_is_about(study, made):
    report = json.loads((study / REPORT).read_text())
    assert made["report"] == report
    assert len(made["trials"]["rows"]) == report["trials"] == 12
    assert dict(zip(made["trials"]["columns"], made["trials"]["rows"][0], strict=True)) == {
        **{name: getattr(Prices(), name) for name in Prices.__dataclass_fields__},
        "score": report["score_shipped"],
    }
    files = [*(study / ".work").glob("outcomes-*"), study / "study.db", study / REPORT]
    assert made["sha256"] == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_levels_and_families_come_to_what_the_report_says_on_average(made):
    rows = {row["name"]: row for row in made["report"]["rows"]}
    for name in (SHIPPED, TUNED):
        levels = [level[name]["accuracy"] for level in made["levels"].values()]
        assert sum(levels) / len(levels) == pytest.approx(rows[name]["point"]["accuracy"], abs=1e-5)
    assert list(made["families"]) == ["spirals"]
    assert made["families"]["spirals"]["accuracy"] == rows[TUNED]["accuracy_change"]


def test_along_each_weight_the_score_passes_that_of_the_shipped_ones(made):
    middle = made["along"]["factors"].index(1.0)
    for scores in made["along"]["scores"].values():
        assert scores[middle] == pytest.approx(made["report"]["score_shipped"])


def test_the_page_on_the_policy_says_what_the_record_says():
    kept = json.loads(RECORD.read_text())
    text = (RECORD.parents[1] / "docs" / "policy.md").read_text()
    rows = page(kept).splitlines()
    assert len(rows) > 25
    assert [row for row in rows if row not in text.splitlines()] == []
    assert f"{kept['episodes']:,} episodes" in text


def test_a_page_can_be_made_where_no_weight_is_said_to_matter(made):
    bare = {**made, "report": {**made["report"], "importance": None}}
    assert "| params | 0.01 |" in page(bare)


def test_outcomes_that_are_not_those_of_the_study_make_no_record(study, tmp_path, capsys, monkeypatch):
    folder, out = tmp_path / "other", tmp_path / "record.json"
    shutil.copytree(study, folder)
    report = json.loads((folder / REPORT).read_text())
    (folder / REPORT).write_text(json.dumps({**report, "score_tuned": report["score_tuned"] + 0.01}))
    command = ["bench", str(folder), "--machine", "a machine", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", command)
    assert bench_reward_tuning.main() == 1
    assert "comes to" in capsys.readouterr().err
    shutil.copy(study / REPORT, folder / REPORT)
    next((folder / ".work").glob("outcomes-*")).unlink()
    assert bench_reward_tuning.main() == 1
    assert "17 of 18 parts" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr(sys, "argv", [*command[:1], str(study), *command[2:]])
    assert bench_reward_tuning.main() == 0
    assert json.loads(out.read_text())["schema"] == SCHEMA
