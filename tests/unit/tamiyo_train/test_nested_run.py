"""Seeds inside seeds through a whole run: recorded, rebuilt, compared with a twin, handed over for export."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tamiyo_runtime.contracts.document import dump, load
from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError, UsageError
from tamiyo_train.checkpoint import load_run, save_run
from tamiyo_train.config import Episode, Limits, Teaching, TrainConfig, adapted
from tamiyo_train.data import data_of, scaled
from tamiyo_train.evaluation import evaluate
from tamiyo_train.experiment import train
from tamiyo_train.handover import pieces
from tamiyo_train.hosts import hosts
from tamiyo_train.preflight import check
from tamiyo_train.run import RunRecord
from tamiyo_train.schedule import ScheduledDecision
from tamiyo_train.seeding import initialising
from tamiyo_train.static import committed, train_static

FINAL = Episode(
    steps=216,
    decisions=18,
    consolidation_steps=16,
    batch=48,
    nested_slots=4,
    utilisation=None,
    confidence=-100.0,  # whatever blends in stays: here it counts that seeds stay, not that they are good
    limits=Limits(drift_hold=1.9, drift_critical=2.1),
)
CONFIG = TrainConfig(
    task="moons",
    host="mlp-skip",
    width=3,
    seed=1,
    profile=None,
    growth="schedule",
    episodes=0,
    evaluation_episodes=1,
    collect=Episode(steps=16, decisions=8, consolidation_steps=4, batch=32),
    final=FINAL,
    teaching=Teaching(steps=5, batch=32, running_samples=64),
)


def life(slot, blueprint, window):
    """A seed's three decisions."""
    return (
        ScheduledDecision(operation="germinate", slot=slot, window=window, blueprint=blueprint, intensity=1.0),
        ScheduledDecision(operation="advance", slot=slot, window=window),
        ScheduledDecision(operation="fossilise", slot=slot, window=window),
    )


SCHEDULE = (*life(2, "nested", 0), *life(3, "nested", 3), *life(4, "bottleneck", 6))
"""Slots 0 to 2 are the host's; 3 and 4 are the two that open inside the seed of slot 2."""


@pytest.fixture(scope="module")
def run():
    return train(replace(CONFIG, schedule=SCHEDULE))


def new_host():
    with initialising(0):
        return hosts.get("mlp-skip")(shape=(2,), classes=2, width=8)


def logits(network, x):
    with torch.no_grad():
        return network(x)


def test_the_record_tells_what_grew_inside_a_seed(run):
    record = run.record
    assert record.topology == {2: "nested"}
    assert record.inner_topology == {"2.0": "nested", "2.1": "bottleneck"}
    assert record.slots == 3
    assert record.results["grown"].params == record.results["twin"].params
    own = sum(seed.params for seed in (*record.seeds, *record.inner_seeds))
    assert record.results["grown"].params == record.results["ungrown"].params + own


def test_a_run_with_inner_seeds_comes_back_bit_by_bit(run, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    again = load_run(tmp_path / "run")
    assert again.record == run.record
    network, x = again.grown_network(), data_of("moons").test.x
    assert network.alphas() == (0.0, 0.0, 1.0, 1.0, 1.0)
    assert torch.equal(logits(network, x), logits(run.grown_network(), x))
    accuracy = float((logits(network, x).argmax(1) == data_of("moons").test.y).double().mean())
    assert accuracy == run.record.results["grown"].test_accuracy
    assert evaluate(again) == run.record.configurations


def test_what_grows_inside_a_seed_is_switched_with_it(run):
    bare, full = run.record.configurations
    assert (bare.gates, full.gates) == ((False, False, False), (False, False, True))
    assert bare.params == run.record.results["ungrown"].params
    assert full.params == run.record.results["grown"].params
    assert full.test_accuracy == run.record.results["grown"].test_accuracy


def test_the_handover_hands_over_a_seed_with_its_children(run):
    parts = pieces(run)
    x = scaled(parts.test_inputs, parts.input)
    ((slot, name, module),) = parts.seeds
    assert (slot, name) == (2, "nested")
    with torch.no_grad():
        y = parts.trunk[2](parts.trunk[1](parts.trunk[0](x)))
        assert torch.allclose(parts.trunk[3](module(y)), run.grown_network()(x), atol=1e-6)
        assert not torch.equal(parts.trunk[3](y), run.grown_network()(x))
    assert sum(param.numel() for param in module.parameters()) == sum(
        seed.params for seed in (*run.record.seeds, *run.record.inner_seeds)
    )
    with torch.no_grad():  # what the policy is checked with is what it reads: the slots of the host
        policy = parts.policy
        assert policy is not None
        assert policy.module(torch.from_numpy(policy.samples)).shape[0] == len(policy.samples)


def test_a_twin_three_deep_trains_every_seed_and_is_rebuilt_from_its_paths():
    inner = {"0.1": "nested", "0.1.0": "bottleneck", "0.0": "residual-mlp"}
    episode = Episode(steps=8, decisions=4, consolidation_steps=2, batch=16)
    before = committed(new_host(), {0: "nested", 1: "bottleneck"}, inner=inner, seed=5).state_dict()
    trained = train_static(new_host(), {0: "nested", 1: "bottleneck"}, data_of("moons"), episode, inner=inner, seed=5)
    named = [group["name"] for group in trained.optimiser.param_groups]
    assert sorted(named) == ["host", "seed_0", "seed_1", "seed_3", "seed_4", "seed_5"]
    after = trained.network.state_dict()
    for name in ("seed_0.up.weight", "seed_0.child_1.up.weight", "seed_0.child_0.up.weight"):
        assert not torch.equal(before[name], after[name])
    again = committed(new_host(), {0: "nested", 1: "bottleneck"}, inner=inner, seed=0)
    again.load_state_dict(after)
    assert [life.path for life in again.lives] == ["0", "1", "2", "0.0", "0.1", "0.1.0"]
    again.eval()
    trained.network.eval()
    x = data_of("moons").test.x
    assert torch.equal(logits(again, x), logits(trained.network, x))


@pytest.mark.parametrize("inner", [{"1.0": "bottleneck"}, {"0.2": "bottleneck"}, {"2.0": "bottleneck"}])
def test_a_path_that_leads_nowhere_is_refused(inner):
    with pytest.raises(IncompatibleError, match="there is no slot"):
        committed(new_host(), {0: "nested", 1: "bottleneck"}, inner=inner, seed=0)


def test_a_record_whose_inner_seeds_hang_in_the_air_is_refused_and_one_without_any_is_read(run):
    document = dump(run.record)
    with pytest.raises(SchemaError, match="no seed holds a slot"):
        load(RunRecord, {**document, "seeds": []})
    with pytest.raises(SchemaError, match="one a slot"):
        load(RunRecord, {**document, "inner_seeds": document["inner_seeds"] + document["inner_seeds"][:1]})
    document.pop("inner_seeds")
    assert load(RunRecord, document).inner_topology == {}


def test_a_policy_is_not_asked_about_slots_inside_seeds():
    with pytest.raises(UsageError, match="a policy decides over the slots of the host"):
        check(adapted(replace(CONFIG, growth="policy"), nested=2))
    with pytest.raises(UsageError, match="no slots inside seeds"):
        check(replace(CONFIG, growth="kasmina", collect=replace(CONFIG.collect, nested_slots=1)))
    check(adapted(replace(CONFIG, growth="kasmina"), nested=2))


def test_a_schedule_reaches_no_further_than_the_slots_that_can_open():
    with pytest.raises(SchemaError, match="there is no slot 4; the host has 0 to 2, inside seeds there are up to 1"):
        check(adapted(replace(CONFIG, schedule=SCHEDULE), nested=1))
