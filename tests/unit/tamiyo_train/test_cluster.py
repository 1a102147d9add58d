"""What a worker of a cluster does, and how a cluster is named; the cluster itself is an integration test."""

from __future__ import annotations

import operator
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tamiyo_runtime.contracts.errors import IncompatibleError, InputError, MissingExtraError, UsageError
from tamiyo_train.cluster import Board, Told, connected, do
from tamiyo_train.config import TrainConfig
from tamiyo_train.fingerprint import fingerprint
from tamiyo_train.jobs import heads_of
from tamiyo_train.pool import Counter, workers_of
from tests.clusters import count_slowly, ray_or_skip


@pytest.fixture
def board() -> Any:
    """A board as a worker sees it: what it tells goes through ``remote``."""
    board = Board()
    return SimpleNamespace(tell=SimpleNamespace(remote=board.tell), read=board.read)


def done(board: Any, function: Any, *args: Any, expected: dict[str, str] | None = None, **kwargs: Any) -> Any:
    return pickle.loads(do(pickle.dumps((function, args, kwargs)), expected or fingerprint(), board))


def test_a_job_gives_its_result_and_tells_its_first_count_at_once(board: Any) -> None:
    assert done(board, operator.add, 2, 3) == (5, None)
    assert done(board, count_slowly, Counter(7), steps=3, seconds=0.0) == (3, None)
    assert board.read() == {7: 1}


def test_what_a_job_raises_is_handed_on(board: Any) -> None:
    result, error = done(board, heads_of, TrainConfig(host="dsconf"))
    assert result is None
    assert "dsconv" in error.near


@pytest.mark.parametrize("name", ["torch", "files of tamiyo", "instructions"])
def test_a_machine_that_would_add_up_differently_does_no_job(board: Any, name: str) -> None:
    result, error = done(board, operator.add, 2, 3, expected={**fingerprint(), name: "other"})
    assert result is None
    assert isinstance(error, IncompatibleError)
    assert f"{name} {fingerprint()[name]}, not other" in error.message


def test_counts_are_told_twice_a_second_at_most() -> None:
    board, now_s = Board(), [10.0]
    told = Told(board.tell, clock=lambda: now_s[0])
    for step in range(1, 13):
        told[3] = step
        now_s[0] += 0.125
    assert board.read() == {3: 9}


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", "", "rai", "http://head:8265"])
def test_workers_that_are_neither_a_number_nor_a_cluster_are_refused_with_what_is_legal(text: str) -> None:
    with pytest.raises(UsageError, match="--workers") as caught:
        workers_of(text)
    assert "ray://HOST:10001" in str(caught.value.hint)


def test_a_number_and_with_ray_installed_a_cluster_are_workers() -> None:
    assert workers_of("3") == 3
    ray_or_skip()
    assert workers_of("ray") == "ray"
    assert workers_of("ray://head:10001") == "ray://head:10001"


def test_without_ray_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError) as caught:
        workers_of("ray")
    assert "tamiyo-edge[ray]" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "ray://[::1]:1", "ray://127.0.0.1:port"])
def test_where_no_cluster_answers_that_is_said_at_once(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    ray_or_skip()
    monkeypatch.setenv("RAY_ADDRESS", address)
    workers = address if address.startswith("ray://") else "ray"
    with pytest.raises(InputError, match="no Ray cluster answers"), connected(workers):
        pytest.fail("connected to nothing")
