"""Small real parts: the digits, and short episodes on them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tamiyo_runtime.files import write_atomic
from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors, data_of
from tamiyo_train.env import GrowthEnv
from tamiyo_train.jobs import offered
from tamiyo_train.pricing import Pricer
from tamiyo_train.seeding import one_thread
from tamiyo_train.tasks import Task, stages
from tests.unit.tamiyo_train.helpers import SHORT, new_host

SLOW_TASKS = ("captions", "digits-c", "ecg")
"""Their samples take seconds to draw. Tests of how they are drawn call the functions that do it."""


def made_once(make: Callable[[], Task], path: Path) -> Callable[[], Task]:
    """What ``make`` gives, a copy each time, from a file once anybody has asked."""

    def made() -> Task:
        if not path.exists():
            write_atomic(path, pickle.dumps(make()), overwrite=True)
        found: Task = pickle.loads(path.read_bytes())
        return found

    return made


@pytest.fixture(scope="session", autouse=True)
def slow_tasks_made_once(shared: Path) -> Iterator[None]:
    """Once for all processes of the session, and however often a test has a process forget what it loaded."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SLOW_TASKS:
            patch.setitem(stages._items, name, made_once(stages.get(name), shared / f"{name}.task"))
        yield


@pytest.fixture(autouse=True)
def single_thread():
    """Runs are bit-equal on the same number of threads only."""
    with one_thread():
        yield


@pytest.fixture(scope="session")
def data() -> Tensors:
    """The digits as tensors."""
    return data_of("digits")


@pytest.fixture
def make_env(data: Tensors) -> Callable[..., GrowthEnv]:
    """Environments on fresh hosts; the same arguments give the same one."""

    def make(config: Episode = SHORT, *, seed: int = 0, profile: str | None = None, budget=None) -> GrowthEnv:
        host, pricer = new_host(seed), Pricer(profile)
        return GrowthEnv(
            host=host,
            data=data,
            config=config,
            blueprints=offered(host),
            pricer=pricer,
            budget=budget or pricer.default_budget(host.layers),
            seed=seed,
        )

    return make
