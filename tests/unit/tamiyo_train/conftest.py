"""Small real parts: the digits, and short episodes on them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tamiyo_train.config import Episode
from tamiyo_train.data import Tensors, data_of
from tamiyo_train.env import GrowthEnv
from tamiyo_train.jobs import offered
from tamiyo_train.pricing import Pricer
from tamiyo_train.seeding import one_thread
from tests.unit.tamiyo_train.helpers import SHORT, new_host


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
