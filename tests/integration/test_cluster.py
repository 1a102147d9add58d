"""Work on a real Ray cluster of two nodes: the same bits as here, whatever is lost, and nothing left behind."""

from __future__ import annotations

import operator
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tamiyo_runtime.contracts.document import dump
from tamiyo_runtime.contracts.errors import TamiyoError, UnknownNameError
from tamiyo_train.cluster import ATTEMPTS, connected
from tamiyo_train.config import Episode, Teaching, TrainConfig, smoke
from tamiyo_train.experiment import train
from tamiyo_train.faults.campaign import run_campaign
from tamiyo_train.jobs import heads_of
from tamiyo_train.pool import RAY, Crew, crew_of
from tests.clusters import cluster_of, count_slowly, node_id, ray_or_skip, slow_node_id

ray = ray_or_skip()
pytestmark = pytest.mark.slow

SMALL = replace(
    smoke(TrainConfig(task="spirals", seed=3, width=8, host="mlp")),
    final=Episode(steps=96, decisions=8, consolidation_steps=16, batch=64),
    evaluation_episodes=1,
    teaching=Teaching(steps=40, batch=32, running_samples=300),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each."""
    with cluster_of(1, 1) as made:
        yield made


@pytest.fixture(scope="module")
def standing(cluster: Any) -> Iterator[None]:
    """Connected to the cluster, so that its workers stay from test to test."""
    with connected(RAY):
        yield


@pytest.fixture
def crew(standing: None) -> Iterator[Crew]:
    with crew_of(RAY, jobs=4) as made:
        yield made


def test_a_run_on_two_nodes_is_the_same_bit_by_bit_and_its_progress_is_told(standing: None) -> None:
    seen: dict[str, list[int]] = {}
    here = train(SMALL, workers=1)
    there = train(SMALL, workers=RAY, on_progress=lambda phase, done, *_: seen.setdefault(phase, []).append(done))
    assert dump(here.record) == dump(there.record)
    for one, other in ((here.network, there.network), (here.policy, there.policy)):
        assert all(one[name].equal(other[name]) for name in one)
    assert list(seen) == ["collect", "teach", "grow"]
    assert all(dones == sorted(dones) for dones in seen.values())


@pytest.mark.long
def test_a_fault_campaign_is_the_same_on_the_cluster(standing: None) -> None:
    there, here = (
        run_campaign(faults=10, seed=1, task="moons", chosen=("nan-weights", "budget-breach"), processes=workers)
        for workers in (RAY, 1)
    )
    assert there == here


def test_jobs_go_to_every_node_and_what_writes_files_stays_here(crew: Crew) -> None:
    futures = [crew.submit(slow_node_id, 1.0) for _ in range(4)]
    assert {crew.result(future) for future in futures} == {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    assert crew.result(crew.submit_here(node_id)) is None


def test_how_far_a_job_has_come_is_seen_while_it_runs(crew: Crew) -> None:
    counter, seen = crew.counter(), []
    crew.on_count = lambda: seen.append(crew.count(counter))
    assert crew.result(crew.submit(count_slowly, counter, steps=40, seconds=4.0)) == 40
    assert len(set(seen)) >= 3, "nothing was seen on the way"
    assert seen == sorted(seen)


def test_what_a_job_raises_there_is_raised_here(crew: Crew) -> None:
    with pytest.raises(UnknownNameError, match="dsconf") as caught:
        crew.result(crew.submit(heads_of, TrainConfig(host="dsconf")))
    assert "dsconv" in caught.value.near
    assert crew.result(crew.submit(operator.add, 2, 3)) == 5


@pytest.mark.long
def test_a_job_that_kills_every_worker_is_an_error_that_says_how_to_go_on(crew: Crew) -> None:
    with pytest.raises(TamiyoError, match=f"lost {ATTEMPTS} times") as caught:
        crew.result(crew.submit(os._exit, 9))
    assert "--resume" in str(caught.value.hint)


@pytest.mark.long
def test_a_job_whose_node_is_lost_is_done_again_on_another(cluster: Any, crew: Crew) -> None:
    doomed = cluster.add_node(num_cpus=1)
    futures = [crew.submit(slow_node_id, 4.0) for _ in range(3)]
    time.sleep(2.0)
    cluster.remove_node(doomed, allow_graceful=False)
    assert doomed.node_id not in {crew.result(future) for future in futures}


@pytest.mark.long
def test_a_crew_that_is_left_by_an_interrupt_leaves_no_job_running(standing: None) -> None:
    with pytest.raises(KeyboardInterrupt), crew_of(RAY) as made:
        futures = [made.submit(time.sleep, 600.0) for _ in range(2)]
        time.sleep(2.0)
        raise KeyboardInterrupt
    assert not any(future.done() for future in futures)
    began_s = time.monotonic()
    with crew_of(RAY) as after:
        assert {after.result(after.submit(operator.add, 1, 1)) for _ in range(2)} == {2}
    assert time.monotonic() - began_s < 60.0
