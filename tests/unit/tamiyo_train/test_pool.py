"""Jobs on a crew: what they give, what they raise, and what becomes of a worker that is killed."""

from __future__ import annotations

import operator
import os
import pickle
from concurrent.futures import Future
from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import InputError, SchemaError, TamiyoError, UnknownNameError
from tamiyo_train.config import TrainConfig
from tamiyo_train.jobs import heads_of
from tamiyo_train.pool import crew_of
from tamiyo_train.work import Work, keeping


@pytest.mark.parametrize(
    "error",
    [
        InputError("no such file", hint="look for it"),
        SchemaError("plan.segments[2].name", "is missing"),
        UnknownNameError("host", "dsconf", ["dsconv", "mlp"]),
    ],
)
def test_an_error_is_the_same_after_it_has_come_from_another_process(error: TamiyoError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.slow
def test_what_a_job_raises_in_another_process_is_raised_here_and_the_others_go_on() -> None:
    with crew_of(2) as crew:
        wrong = crew.submit(heads_of, TrainConfig(host="dsconf"))
        right = crew.submit(operator.add, 2, 3)
        with pytest.raises(UnknownNameError, match="dsconf") as caught:
            crew.result(wrong)
        assert "dsconv" in caught.value.near
        assert crew.result(right) == 5


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_that_says_how_to_go_on() -> None:
    with pytest.raises(TamiyoError, match="killed") as caught, crew_of(2) as crew:
        list(crew.done([crew.submit(os._exit, 9)]))
    assert "--resume" in str(caught.value.hint)


def test_a_result_is_kept_by_the_time_it_is_given_and_an_error_keeps_nothing(tmp_path: Path) -> None:
    work = Work(tmp_path / "run")
    given, failed = Future[TrainConfig](), Future[TrainConfig]()
    kept, broken = keeping(given, work.path("given")), keeping(failed, work.path("failed"))
    assert not kept.done()
    given.set_result(TrainConfig(seed=4))
    assert kept.result(timeout=0) == work.kept("given", TrainConfig) == TrainConfig(seed=4)
    failed.set_exception(InputError("no such task"))
    with pytest.raises(InputError, match="no such task"):
        broken.result(timeout=0)
    assert not work.path("failed").exists()
    work.release()


def test_a_result_that_cannot_be_kept_is_an_error_not_a_wait(tmp_path: Path) -> None:
    given: Future[object] = Future()
    kept = keeping(given, tmp_path / "given.safetensors")
    given.set_result(object())
    with pytest.raises(TamiyoError, match="cannot be kept"):
        kept.result(timeout=0)
