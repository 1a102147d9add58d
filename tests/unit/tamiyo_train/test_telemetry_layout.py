"""The layout that growing and running share, and that runs of another one are refused."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.contracts.errors import IncompatibleError, SchemaError
from tamiyo_runtime.contracts.features import GLOBAL, SLOT, Feature
from tamiyo_runtime.contracts.observation import (
    GLOBAL_FEATURES,
    OBSERVATION,
    SLOT_FEATURES,
    check_layout,
    observation_size,
    observe,
)
from tamiyo_runtime.contracts.running import RunningState, running_features
from tamiyo_train import telemetry
from tamiyo_train.blueprints import OFFERED, Domain
from tamiyo_train.config import TrainConfig
from tamiyo_train.policy.actions import WAIT
from tamiyo_train.preflight import check
from tamiyo_train.run import SCHEMA, Run, RunRecord
from tamiyo_train.telemetry.page import PAGE, page
from tests.unit.tamiyo_train.helpers import germinate, slot_of


class TestLayout:
    def test_the_page_is_current(self):
        assert PAGE.read_text() == page(), "run: python -m tamiyo_train.telemetry.page"

    def test_every_field_is_on_the_page_with_its_unit(self):
        text = page()
        for feature in (*GLOBAL, *SLOT):
            assert f"| `{feature.name}` | {feature.unit} |" in text
            assert feature.definition in text

    def test_names_are_unique_and_the_tuples_are_those_of_the_tables(self):
        assert tuple(feature.name for feature in GLOBAL) == GLOBAL_FEATURES
        assert tuple(feature.name for feature in SLOT) == SLOT_FEATURES
        names = [*GLOBAL_FEATURES, *SLOT_FEATURES]
        assert len(names) == len(set(names))

    def test_the_tables_say_truly_what_is_known_while_growing(self, make_env):
        env = make_env(profile="raspberry-pi-4")
        for action in (germinate(2, blueprint=4), WAIT, WAIT):
            env.act(action)
        reading, cost = telemetry.read(env.network, env.trainer), env.pricer.price(env.network.graphs())
        known = telemetry.global_features(reading, env._curve, cost, env.budget, steps_left=0.5) | dict(
            env.pricer.features
        )
        assert {f.name for f in GLOBAL if f.growing and f.name != "running"} <= known.keys()
        assert not {f.name for f in GLOBAL if not f.growing} & known.keys()
        slot = slot_of(env, 2, latency=0.5)
        flags = {name for name in SLOT_FEATURES if name.startswith("is_")}
        assert slot.keys() - flags == {f.name for f in SLOT if f.growing} - flags
        assert len(slot.keys() & flags) == 1

    def test_the_tables_say_truly_what_is_known_while_running(self):
        state = RunningState(
            present=(True,),
            on=(True,),
            contributions=(0.1,),
            relative_params=(1.0,),
            relative_macs=(1.0,),
            seed_latency_ms=(1.0,),
            host_latency_ms=1.0,
            full_latency_ms=2.0,
            current_latency_ms=2.0,
            deadline_ms=10.0,
            accuracy=0.9,
            profile={f.name: 1.0 for f in GLOBAL if f.name.startswith("profile_")},
        )
        features, (slot,) = running_features(state)
        assert features.keys() == {f.name for f in GLOBAL if f.running}
        assert slot.keys() == {f.name for f in SLOT if f.running} - {"is_free"}

    @given(st.floats(allow_nan=False), st.sampled_from([*GLOBAL]))
    def test_whatever_is_measured_the_vector_stays_within_the_stated_ranges(self, value, feature):
        vector = observe({feature.name: value}, [])
        assert len(vector) == observation_size(0)
        assert feature.low <= vector[GLOBAL_FEATURES.index(feature.name)] <= feature.high

    def test_what_is_no_number_is_refused_by_name(self):
        with pytest.raises(SchemaError, match=r"slot 1.*'drift' is not a number"):
            observe({}, [{}, {"drift": math.nan}])

    def test_a_field_needs_a_range_and_a_phase(self):
        good = Feature(name="x", unit="1", low=0, high=1, definition="x", growing="always")
        with pytest.raises(SchemaError, match="range"):
            replace(good, high=0)
        with pytest.raises(SchemaError, match="never known"):
            replace(good, growing="")

    def test_the_layout_before_this_one_is_refused_by_name(self):
        assert OBSERVATION == "tamiyo.observation/2"
        with pytest.raises(IncompatibleError, match=r"the run's policy.*tamiyo\.observation/1") as caught:
            check_layout("the run's policy", observation="tamiyo.observation/1", heads="tamiyo.heads/1")
        assert "train and export again" in str(caught.value.hint)


def run_of(observation: str) -> Run:
    """A run whose policy reads that layout; what else it holds does not matter here."""
    record = RunRecord(
        schema=SCHEMA,
        task="digits",
        task_sha256="",
        host="dsconv",
        width=4,
        input_shape=(1, 8, 8),
        classes=10,
        slots=4,
        seed=0,
        growth="policy",
        blueprints=OFFERED[Domain.IMAGE],
        seeds=(),
        history=(),
        audit=(),
        configurations=(),
        results={},
        methods={},
        lesson={},
        config={},
        versions={},
        observation=observation,
    )
    return Run(record=record, network={}, policy={}, observations=torch.zeros(1, 1))


def test_a_run_with_a_policy_of_the_layout_before_is_refused_before_any_work():
    old = run_of("tamiyo.observation/1")
    for ask in (old.policy_network, lambda: check(TrainConfig(), policy_from=old)):
        with pytest.raises(IncompatibleError, match=r"run's policy uses observation layout 'tamiyo\.observation/1'"):
            ask()
    check(TrainConfig(), policy_from=run_of(OBSERVATION))
