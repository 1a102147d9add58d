"""``tamiyo train`` and ``tamiyo evaluate`` as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tamiyo_runtime.cli.main import main
from tamiyo_runtime.cli.train_cmd import HOSTS, TASKS
from tamiyo_runtime.contracts.errors import ExitCode
from tamiyo_train.config import TrainConfig, smoke
from tamiyo_train.hosts import hosts
from tamiyo_train.plan import Plan, Wishes, planned
from tamiyo_train.policy import shipped
from tamiyo_train.tasks import stages
from tamiyo_train.work import FOLDER, Work, is_unfinished


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["train", str(folder), "--smoke", "--growth", "kasmina", "--workers", "1"]) == ExitCode.OK
    return folder


def test_train_writes_a_run_and_prints_what_to_do_next(folder, capsys):
    assert main(["evaluate", str(folder)]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "c0000" in out
    assert "static twin" in out
    assert f"tamiyo export {folder}" in out


def test_evaluate_measures_what_training_recorded(folder, capsys):
    assert main(["evaluate", str(folder), "--json"]) == ExitCode.OK
    measured = json.loads(capsys.readouterr().out)
    recorded = json.loads((folder / "run.json").read_text())["record"]["configurations"]
    assert [c["test_accuracy"] for c in measured["configurations"]] == [c["test_accuracy"] for c in recorded]


def test_a_run_that_is_there_is_not_replaced_unasked(folder, capsys):
    before = (folder / "run.json").read_bytes()
    assert main(["train", str(folder), "--smoke", "--workers", "1"]) == ExitCode.USAGE
    assert "--overwrite" in capsys.readouterr().err
    assert (folder / "run.json").read_bytes() == before


def test_a_dry_run_prints_the_plan_and_writes_nothing(tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--dry-run", "--json", "--steps", "160"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    assert plan["config"]["final"]["steps"] == 160
    assert not (tmp_path / "r").exists()


def test_a_dry_run_tells_the_memory_and_checkpointing_needs_less(tmp_path, capsys):
    def kept(*options: str) -> int:
        arguments = ["train", str(tmp_path / "r"), "--task", "mnist1d", "--dry-run", "--json", *options]
        assert main(arguments) == ExitCode.OK
        plan = json.loads(capsys.readouterr().out)
        assert plan["config"]["checkpointing"] == bool(options)
        assert plan["memory"]["batch"] == plan["config"]["final"]["batch"]
        return plan["memory"]["saved_bytes"]

    assert 0 < kept("--checkpointing") < kept()


def test_a_dry_run_names_the_regions_of_a_host_with_many_slots(capsys):
    arguments = ["train", "--task", "spirals", "--host", "mlp-skip", "--dry-run", "--depth", "12"]
    assert main(arguments) == ExitCode.OK
    assert "regions of slots: 0-5, 6-11; 'learned' splits what is left" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["regions"] == ["0-5", "6-11"]
    assert main([*arguments, "--json", "--growth", "kasmina"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["regions"] == []


def test_a_depth_is_refused_for_a_host_that_has_none_to_choose(capsys):
    assert main(["train", "--task", "mnist1d", "--depth", "12", "--dry-run"]) == ExitCode.USAGE
    assert "host 'conv1d' is as deep as it is" in capsys.readouterr().err


def test_a_run_on_a_host_with_many_slots_says_how_its_budget_was_split(tmp_path, capsys):
    folder = str(tmp_path / "deep")
    arguments = [
        "train",
        folder,
        "--task",
        "spirals",
        "--host",
        "mlp-skip",
        "--depth",
        "12",
        "--growth",
        "shipped",
        "--smoke",
    ]
    assert main([*arguments, "--workers", "1"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "grown by policy (the one that comes with the package)" in out
    assert "slots 0-5" in out
    assert "share of what was left of the budget" in out
    assert main(["evaluate", folder, "--json"]) == ExitCode.OK
    shown = json.loads(capsys.readouterr().out)
    assert [split["step"] for split in shown["splits"]] == [0, 40]
    assert [split["allocator"] for split in shown["splits"]] == ["learned", "learned"]


def test_a_dry_run_fits_a_narrow_terminal_and_lists_a_schedule(tmp_path, capsys):
    arguments = ["train", str(tmp_path / "r"), "--dry-run", "--growth", "examples/schedule.toml"]
    assert main(arguments) == ExitCode.OK
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    assert "final.limits.drift_critical" in out
    assert "wide-conv" in out
    assert "kept for the backward pass" in out


def test_checkpointing_on_a_host_that_cannot_is_refused_by_name(tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--checkpointing"]) == ExitCode.INCOMPATIBLE
    assert "dsconv" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--task", "digit"], "digits"),
        (["--host", "dsconf"], "dsconv"),
        (["--growth", "polcy"], "policy"),
        (["--profile", "coral"], "coral-usb"),
    ],
)
def test_a_misspelt_name_gets_the_near_one_and_exit_2(tmp_path, capsys, arguments, near):
    assert main(["train", str(tmp_path / "r"), *arguments]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert near in err.splitlines()[-1]
    assert "Traceback" not in err


def test_an_unknown_task_is_called_a_task(tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--task", "spirls"]) == ExitCode.USAGE
    assert "unknown task 'spirls'" in capsys.readouterr().err


def test_the_training_work_of_a_small_network_is_not_shown_as_nought(tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--task", "moons", "--growth", "none", "--smoke", "--workers", "1"]) == 0
    ungrown = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("same host"))
    assert float(ungrown.split()[-1]) > 0


def test_the_audit_log_of_a_folder_that_is_not_there_is_not_called_missing(tmp_path, capsys):
    assert main(["audit", "verify", str(tmp_path / "none")]) == ExitCode.USAGE
    assert "run not found" in capsys.readouterr().err


def test_a_schedule_for_another_host_says_what_it_was_checked_against(tmp_path, capsys):
    arguments = ["train", str(tmp_path / "r"), "--task", "spirals", "--growth", "examples/schedule.toml"]
    assert main(arguments) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert "decision[0]: there is no slot 3" in error
    assert "mlp-shallow" in hint and "16 windows of 192 steps" in hint


def test_a_missing_run_is_one_line_and_a_hint(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path / "none")]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_run_goes_to_a_folder_named_after_its_task(capsys):
    assert main(["train", "--task", "spirals", "--dry-run", "--json", "--width", "7"]) == ExitCode.OK
    plan = json.loads(capsys.readouterr().out)
    assert plan["run"] == "runs/spirals"
    assert (plan["config"]["task"], plan["config"]["width"]) == ("spirals", 7)
    assert plan["config"]["host"].startswith("mlp")


def test_a_policy_whose_heads_do_not_fit_is_refused_with_both_sizes(folder, tmp_path, capsys):
    arguments = ["train", str(tmp_path / "r"), "--task", "spirals", "--growth", str(folder)]
    assert main(arguments) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "4 slots and 5 blueprints" in err
    assert "host 'mlp" in err.splitlines()[0].split("; ")[1]


def test_the_policy_of_a_finished_run_can_decide(folder, tmp_path, capsys):
    run = tmp_path / "r"
    assert main(["train", str(run), "--smoke", "--growth", str(folder), "--workers", "1", "--json"]) == ExitCode.OK
    captured = capsys.readouterr()
    made = json.loads(captured.out)
    assert made["growth"] == "policy"
    assert made["lesson"]["seed"] == 0
    assert [line.split()[0] for line in captured.err.splitlines()] == ["grow"]  # nothing was collected or taught


@pytest.mark.parametrize("growth", ["nowhere/run", "missing.toml"])
def test_growth_from_a_file_that_is_not_there_is_one_line_and_a_hint(tmp_path, capsys, growth):
    assert main(["train", str(tmp_path / "r"), "--growth", growth]) == ExitCode.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (tmp_path / "r").exists()


@pytest.fixture
def unfinished(tmp_path):
    """A folder with work begun on a smoke run with seed 3."""
    config = smoke(TrainConfig(seed=3, growth="none"))
    plan = Plan(folder=tmp_path / "r", config=config, source=None, policy_from=None)
    work = Work(plan.folder)
    work.begin(plan.settings())
    work.release()
    return plan.folder


def test_unfinished_work_is_neither_taken_up_nor_lost_unasked(unfinished, capsys):
    assert main(["train", str(unfinished), "--smoke"]) == ExitCode.USAGE
    err = capsys.readouterr().err
    assert "begun and not finished" in err
    assert "--resume" in err.splitlines()[-1]
    assert "--overwrite" in err.splitlines()[-1]
    assert is_unfinished(unfinished)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--seed", "4"], "seed = 3, not 4"),
        (["--task", "spirals"], "task = digits, not spirals"),
        (["--growth", "random"], "growth = none, not random"),
        (["--profile", "none"], "profile = raspberry-pi-4, not none"),
    ],
)
def test_a_resumed_run_with_another_configuration_is_refused(unfinished, capsys, arguments, name):
    assert main(["train", str(unfinished), "--resume", *arguments]) == ExitCode.USAGE
    assert name in capsys.readouterr().err
    assert is_unfinished(unfinished)


def test_resuming_needs_something_to_resume(folder, tmp_path, capsys):
    assert main(["train", str(tmp_path / "r"), "--resume"]) == ExitCode.USAGE
    assert "no unfinished work" in capsys.readouterr().err
    assert main(["train", str(folder), "--resume"]) == ExitCode.USAGE
    assert "is finished" in capsys.readouterr().err
    assert main(["train", str(folder), "--resume", "--overwrite"]) == ExitCode.USAGE


def test_damaged_work_is_done_again_and_said(unfinished, folder, capsys):
    (unfinished / FOLDER / "policy.safetensors").write_bytes(b"not what it was")
    assert main(["train", str(unfinished), "--resume", "--workers", "1", "--json"]) == ExitCode.OK
    captured = capsys.readouterr()
    assert json.loads(captured.out)["seed"] == 3
    assert "policy.safetensors is damaged" in captured.err
    assert sorted(path.name.split("-")[0] for path in unfinished.iterdir()) == ["network", "policy", "run.json"]


SCHEDULE = """
[[decision]]
window = 0
operation = "germinate"
slot = 3
blueprint = "bottleneck"
intensity = 2.0
"""


def test_event_files_hold_the_values_of_the_record(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    schedule, run = tmp_path / "one.toml", tmp_path / "r"
    schedule.write_text(SCHEDULE)
    arguments = ["train", str(run), "--smoke", "--growth", str(schedule), "--workers", "1", "--tensorboard", "--json"]
    assert main(arguments) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["growth"] == "schedule"
    record = json.loads((run / "run.json").read_text())["record"]
    events = EventAccumulator(str(run / "events")).Reload()

    def series(tag):
        return [(event.step, event.value) for event in events.Scalars(tag)]

    for tag, field in [("accuracy", "accuracy"), ("loss", "loss"), ("parameters", "params"), ("drift", "drift")]:
        found = series(f"growth/{tag}")
        assert [step for step, _ in found] == [window["step"] for window in record["history"]]
        assert [value for _, value in found] == pytest.approx([window[field] for window in record["history"]])
    rates = [value for _, value in series("growth/learning_rate")]
    assert rates == pytest.approx([window["learning_rate"] for window in record["history"]])
    alphas = [value for _, value in series("alpha/slot_3")]
    assert alphas == pytest.approx([window["alphas"][3] for window in record["history"]])
    [(_, accuracy)] = series("result/grown/test_accuracy")
    assert accuracy == pytest.approx(record["results"]["grown"]["test_accuracy"])
    [text] = events.Tensors("decision/text_summary")
    assert text.tensor_proto.string_val[0].decode() == "germinate slot 3 bottleneck 2.0"


def test_a_missing_tensorboard_is_named_before_any_work(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    assert main(["train", str(tmp_path / "r"), "--tensorboard"]) == ExitCode.MISSING
    assert "pip install 'tamiyo-edge[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_an_unknown_kind_of_fault_is_refused_before_anything_is_counted(capsys):
    assert main(["train", "faults", "--kinds", "nan-weight", "--workers", "1"]) == ExitCode.USAGE
    assert capsys.readouterr().err.splitlines() == [
        "error: unknown fault kind 'nan-weight'",
        "hint: did you mean nan-weights or inf-weights?",
    ]


def test_a_campaign_too_small_to_prove_the_rate_says_that_nothing_was_missed(capsys):
    arguments = ["train", "faults", "--kinds", "budget-breach", "--faults", "2", "--task", "moons", "--workers", "1"]
    assert main(arguments) == ExitCode.BUDGET
    assert "none was missed; 149 faults" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "host", "takes"),
    [("spirals", "conv1d", "sequences"), ("digits", "attention1d", "sequences"), ("moons", "dsconv", "images")],
)
def test_a_host_for_other_samples_is_refused_by_name_before_any_work(tmp_path, capsys, task, host, takes):
    assert main(["train", str(tmp_path / "r"), "--task", task, "--host", host, "--workers", "1"]) == ExitCode.USAGE
    error, hint = capsys.readouterr().err.splitlines()
    assert f"host '{host}' takes {takes}" in error
    assert "mlp" in hint
    assert not (tmp_path / "r").exists()


def test_help_names_the_tasks_and_hosts_there_are_and_shows_optional_arguments_once_in_brackets(capsys):
    assert ", ".join(stages.names()) == TASKS
    assert ", ".join(hosts.names()) == HOSTS
    assert main(["train", "--help"]) == ExitCode.OK
    out = capsys.readouterr().out
    assert "[OPTIONS] [RUN]" in out
    assert "mnist1d" in out
    assert main(["audit", "-h"]) == ExitCode.OK


@pytest.mark.parametrize(
    ("default", "given", "source"),
    [
        (True, ["--task", "spirals", "--growth", "policy"], Path("shipped")),
        (True, ["--task", "spirals", "--growth", "policy", "--episodes", "4"], None),
        (True, ["--task", "spirals"], None),
        (True, ["--task", "digits", "--growth", "policy"], None),
        (False, ["--task", "spirals", "--growth", "policy"], None),
    ],
)
def test_a_policy_that_beat_the_heuristic_decides_where_one_is_asked_for_and_it_fits(
    default, given, source, tmp_path, monkeypatch
):
    known = shipped.card() | {"default": default}
    monkeypatch.setattr(shipped, "card", lambda: known)
    options = dict(zip(given[::2], given[1::2], strict=True))
    episodes = int(options["--episodes"]) if "--episodes" in options else None
    wishes = Wishes(task=options["--task"], growth=options.get("--growth"), episodes=episodes)
    plan = planned(tmp_path / "r", wishes, overwrite=False, resume=False)
    assert plan.source == source and plan.config.growth == "policy"
    assert (plan.policy_from is None) is (source is None)
