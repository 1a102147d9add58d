"""The benchmark of run-time gates: what it measures, and that the shipped policy's card states what it found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench_mission import OnMission
from benchmarks.bench_running_policy import Decide, by_rule, fixed, on_card, play
from benchmarks.running_scenarios import BUDGETS, FAMILIES, scenario
from simulators.episodes.lanes import Lanes, Start
from tamiyo_train.policy import shipped
from tests.unit.tamiyo_train.helpers import quiet_links

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "running_policy.jsonl"
LANES, STEPS = 16, 40


def test_the_card_states_what_the_gates_of_these_very_weights_were_last_found_to_be_worth() -> None:
    known = shipped.card()
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    judged = [line for line in lines if not line["smoke"] and line.get("shipped_sha256") == known["weights_sha256"]]
    assert judged, "these weights were not judged: python benchmarks/bench_running_policy.py --card"
    last, stated = judged[-1], known["running"]
    assert set(stated["cells"]) == {f"{family} {limit:g}" for family in FAMILIES for limit in BUDGETS}
    assert stated["devices_a_cell"] == last["devices"] // len(BUDGETS)
    for name, row in on_card(last, last["cells"])["cells"].items():
        assert stated["cells"][name] == pytest.approx(row, abs=2e-4), name


@pytest.mark.parametrize("family", FAMILIES)
def test_the_rule_asks_for_the_most_accurate_option_and_is_never_overdrawn_or_late(family: str) -> None:
    made = scenario(family, lanes=LANES, slots=3, steps=STEPS, seed=9)
    tables = made.lanes.tables
    most = tables.accuracy.max(axis=1)
    played = play(made, by_rule, STEPS)
    assert (played.right <= most + 1e-12).all()
    assert played.right.max() > 0.5
    assert played.overdrawn.sum() == 0
    assert played.late.sum() <= 0.01 * played.granted.sum()


def test_a_share_is_of_all_samples_and_a_skipped_one_counts_as_wrong() -> None:
    """The bare host under no limit answers everything; with an account that pays for every other sample, half."""

    def bare(power: float) -> np.ndarray:
        made = scenario("socket", lanes=LANES, slots=3, steps=STEPS, seed=9)
        tables = made.lanes.tables
        period_ms = tables.period_s * 1e3
        host_uj = tables.energy_worst_uj[:, 0]
        bought = replace(
            tables,
            deadline_ms=np.full(LANES, np.inf),
            power_mw=power * tables.energy_uj[:, 0] / period_ms,
            burst_uj=2 * host_uj if power else np.full(LANES, np.inf),
        )
        lanes = Lanes(bought, made.lanes.boards, quiet_links(LANES), Start(bucket=0.0))
        right = play(replace(made, lanes=lanes), fixed(np.zeros(3, dtype=bool)), STEPS).right
        return np.asarray(right / tables.accuracy[:, 0])

    np.testing.assert_allclose(bare(0.0), 1.0)
    assert np.abs(bare(0.5) - 0.5).max() < 0.1


def test_on_a_mission_batteries_last_and_more_is_answered_than_by_rule_alone() -> None:
    def played(decide: Decide) -> tuple[float, float]:
        made = scenario("harvest", lanes=48, slots=3, steps=150, seed=9)
        found = play(made, decide, 150)
        rich = made.budget >= BUDGETS.index(1.0)  # short of nothing but charge
        return float(found.right[rich].mean()), float(found.died[rich].mean())

    alone, sent = played(by_rule), played(OnMission(by_rule, steps=150, gauge=True))
    assert sent[0] > alone[0]
    assert sent[1] < alone[1]
