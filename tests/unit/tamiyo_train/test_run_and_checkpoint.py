"""A whole small run: the same whatever the workers, kept on disk without loss, refused when a byte is off."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import InputError, IntegrityError, SchemaVersionError, UnknownNameError
from tamiyo_runtime.contracts.observation import Heads, observation_size
from tamiyo_train import jobs
from tamiyo_train.audit import Entry, verify
from tamiyo_train.checkpoint import load_run, save_run
from tamiyo_train.config import Episode, Teaching, TrainConfig, adapted, smoke
from tamiyo_train.data import scaled, task_of
from tamiyo_train.evaluation import evaluate
from tamiyo_train.experiment import train
from tamiyo_train.handover import pieces
from tamiyo_train.policy.baselines import KasminaMicro, KasminaSettings
from tamiyo_train.preflight import check_data

SMALL = replace(
    smoke(TrainConfig(seed=3, profile="raspberry-pi-4")),
    evaluation_episodes=1,
    final=Episode(steps=96, decisions=8, consolidation_steps=16, batch=64),
    teaching=Teaching(steps=40, batch=32, running_samples=300),
)


@pytest.fixture(scope="module")
def run():
    """A run that is sure to grow something in few steps: KasminaMicro without patience decides."""
    long = Episode(steps=144, decisions=12, consolidation_steps=16, batch=64)
    with pytest.MonkeyPatch.context() as patch:
        eager = KasminaMicro(KasminaSettings(patience=0))
        patch.setattr(jobs, "KasminaMicro", lambda *_: eager)
        return train(replace(SMALL, growth="kasmina", final=long))


@pytest.fixture
def saved(run, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    return tmp_path / "run"


def test_the_record_tells_the_whole_story(run):
    record = run.record
    assert record.seeds, "nothing grew: the other tests of this file would show nothing"
    assert set(record.results) == {"grown", "ungrown", "twin"}
    assert len(record.history) == 12
    assert len(record.configurations) == 2 ** len(record.seeds)
    assert record.configurations[-1].test_accuracy == record.results["grown"].test_accuracy
    assert record.configurations[0].params == record.results["ungrown"].params
    assert record.results["grown"].params == record.results["twin"].params > record.results["ungrown"].params
    assert record.methods["policy"].episodes == 1
    verify(Entry(**entry) for entry in record.audit)
    grafts = [e for e in record.audit if e["data"].get("event") == "germinate"]
    assert {e["data"]["slot"] for e in grafts} >= {seed.slot for seed in record.seeds}


def test_contributions_are_the_leave_one_out_differences_on_validation(run):
    accuracy = {c.gates: c.validation_accuracy for c in run.record.configurations}
    full = run.record.configurations[-1].gates
    for seed in run.record.seeds:
        gates = tuple(gate and slot != seed.slot for slot, gate in enumerate(full))
        assert seed.contribution == pytest.approx(accuracy[full] - accuracy[gates])


def test_a_saved_run_comes_back_without_loss(run, saved):
    again = load_run(saved)
    assert again.record == run.record
    for before, after in ((run.network, again.network), (run.policy, again.policy)):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert torch.equal(run.observations, again.observations)
    assert evaluate(again) == run.record.configurations


def test_nothing_is_pickled_and_no_stale_file_is_left(run, saved):
    names = sorted(path.name for path in saved.iterdir())
    save_run(saved, run, overwrite=True)
    assert sorted(path.name for path in saved.iterdir()) == names
    assert [name.split("-")[0] for name in names] == ["network", "policy", "run.json"]
    assert not any(path.read_bytes().startswith(b"\x80") for path in saved.iterdir())


def test_an_existing_run_is_not_overwritten_unasked(run, saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    with pytest.raises(InputError, match="already holds a run") as caught:
        save_run(saved, run, overwrite=False)
    assert "--overwrite" in caught.value.hint
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_a_missing_run_says_how_to_make_one(tmp_path):
    with pytest.raises(InputError, match=r"run\.json is missing") as caught:
        load_run(tmp_path / "nowhere")
    assert "tamiyo train" in caught.value.hint


@pytest.mark.parametrize("part", ["network", "policy", "run"])
@pytest.mark.parametrize("where", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_byte_anywhere_is_noticed(saved, part, where):
    path = next(saved.glob(f"{part}*"))
    blob = bytearray(path.read_bytes())
    blob[int(where * len(blob))] ^= 0x01
    path.write_bytes(blob)
    with pytest.raises(IntegrityError):
        load_run(saved)


def test_a_truncated_or_missing_tensor_file_is_noticed(saved):
    path = next(saved.glob("network*"))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(IntegrityError, match="hash"):
        load_run(saved)
    path.unlink()
    with pytest.raises(IntegrityError, match="cannot read"):
        load_run(saved)


def test_a_run_of_a_later_version_is_refused_as_such(saved):
    path = saved / "run.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "schema": "tamiyo.run/3"}))
    with pytest.raises(SchemaVersionError):
        load_run(saved)


def test_tensors_that_do_not_fit_the_record_are_refused(run):
    fewer = dict(run.network)
    fewer.pop("trunk.0.conv.weight")
    with pytest.raises(IntegrityError, match="do not fit"):
        replace(run, network=fewer).grown_network()


def test_the_handover_chains_to_the_very_network(run):
    parts = pieces(run)
    x = scaled(parts.test_inputs, parts.input)
    seeds = {slot: module for slot, _, module in parts.seeds}
    with torch.no_grad():
        expected = run.grown_network()(x)
        y = parts.trunk[0](x)
        for slot in range(len(parts.trunk) - 1):
            y = parts.trunk[slot + 1](seeds[slot](y) if slot in seeds else y)
    assert torch.equal(y, expected)
    accuracy = float((y.argmax(1).numpy() == parts.test_labels).mean())
    assert accuracy == pytest.approx(run.record.results["grown"].test_accuracy)
    assert parts.policy is not None
    assert not any(module.training for module in [*parts.trunk, *seeds.values(), parts.policy.module])


def test_the_handover_calibrates_on_validation_and_samples_both_phases_of_the_policy(run):
    parts = pieces(run)
    tested = {row.tobytes() for row in parts.test_inputs}
    assert len(parts.calibration) == 300
    assert not any(row.tobytes() in tested for row in parts.calibration)
    policy = parts.policy
    assert policy is not None
    assert policy.samples.dtype == np.float32
    assert policy.samples.shape[1] == observation_size(4)
    assert set(np.unique(policy.samples[:, 0])) == {0.0, 1.0}
    with torch.no_grad():
        out = policy.module(torch.from_numpy(policy.samples[:1]))
    assert out.shape == (1, Heads(slots=4, blueprints=len(policy.blueprints)).size)


@pytest.fixture(scope="module")
def told():
    """A run that its own policy grew, in this process, and what it told of its progress: (done, whole) by phase."""
    seen: dict[str, list[tuple[int, int]]] = {}
    run = train(
        replace(SMALL, growth="policy"),
        on_progress=lambda phase, done, total, _: seen.setdefault(phase, []).append((done, total)),
    )
    return run, seen


@pytest.mark.slow
def test_one_worker_or_two_and_once_or_twice_give_the_same_run(told):
    first, _ = told
    again = train(replace(SMALL, growth="policy"), workers=2)
    assert dump(first.record) == dump(again.record)
    for before, after in ((first.network, again.network), (first.policy, again.policy)):
        assert all(torch.equal(before[name], after[name]) for name in before)
    other = train(replace(SMALL, growth="none", seed=4))
    assert any(not torch.equal(first.network[name], other.network[name]) for name in other.network)


def test_a_policy_can_be_taken_from_another_run(run):
    again = train(replace(SMALL, growth="policy", evaluation_episodes=0), policy_from=run)
    assert all(torch.equal(run.policy[name], again.policy[name]) for name in run.policy)
    assert again.record.lesson["seed"] == run.record.seed


def test_progress_is_counted_in_steps_of_every_phase(told):
    (_, seen), config = told, replace(SMALL, growth="policy")
    assert list(seen) == ["collect", "teach", "grow"]
    steps = {
        "collect": config.episodes * config.collect.total_steps,
        "teach": config.teaching.steps,
        "grow": 3 * config.final.total_steps + config.evaluation_episodes * config.collect.total_steps,
    }
    for phase, total in steps.items():
        dones = [done for done, _ in seen[phase]]
        assert {whole for _, whole in seen[phase]} == {total}
        assert dones == sorted(dones)
        assert dones[-1] == total
        assert len(set(dones)) > 3, f"{phase} tells nothing on the way"


def spoilt(**change):
    task = task_of("digits")
    return replace(task, gate=replace(task.gate, **change))


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (spoilt(x=np.where(np.arange(64).reshape(1, 8, 8) == 9, np.nan, task_of("digits").gate.x)), "NaN"),
        (spoilt(y=np.where(task_of("digits").gate.y == 4, 5, task_of("digits").gate.y)), "no sample of class 4"),
    ],
)
def test_unfit_data_of_any_task_is_refused_with_the_split_named(task, problem):
    with pytest.raises(InputError, match=problem) as caught:
        check_data(task)
    assert "task 'digits', split 'gate'" in caught.value.message


@pytest.mark.parametrize(
    "change", [{"task": "digit"}, {"growth": "kasmin"}, {"profile": "raspbery-pi-5"}, {"host": "dsconf"}]
)
def test_misspelt_names_are_refused_before_any_work(change):
    with pytest.raises(UnknownNameError) as caught:
        train(replace(SMALL, **change), on_progress=lambda *_: pytest.fail("work was done"))
    assert caught.value.near


def test_command_line_values_land_in_the_configuration():
    config = adapted(TrainConfig(), episodes=3, steps=100, profile="none")
    assert (config.episodes, config.profile) == (3, None)
    assert config.final.steps == 112  # whole windows
    assert config.final.consolidation_steps == round(112 * 288 / 448)
    assert adapted(TrainConfig()) == TrainConfig()


def test_an_unfinished_run_is_named_with_the_way_to_finish_it(tmp_path):
    (tmp_path / ".work").mkdir()
    with pytest.raises(InputError) as caught:
        load_run(tmp_path)
    assert "--resume" in caught.value.hint
