"""Ray clusters of this machine for tests, and jobs for their workers, which import this module."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tamiyo_train.pool import Counter

ROOT = Path(__file__).parents[1]
_ENVIRONMENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}


def ray_or_skip() -> Any:
    """Ray; whoever has not installed it skips the test, but not in CI."""
    return importlib.import_module("ray") if "CI" in os.environ else pytest.importorskip("ray")


@contextmanager
def cluster_of(*processors: int, head: dict[str, Any] | None = None, **environment: str) -> Iterator[Any]:
    """Nodes of so many processors each, told to no one, reached as ``ray`` from here and from child processes."""
    from ray.cluster_utils import Cluster

    first, *others = processors
    arguments = {"num_cpus": first, "include_dashboard": False, **(head or {})}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**_ENVIRONMENT, **environment}.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args=arguments)
        try:
            for count in others:
                made.add_node(num_cpus=count)
            patch.setenv("RAY_ADDRESS", made.address)
            yield made
        finally:
            made.shutdown()


def node_id() -> str | None:
    """The node of the cluster this runs on; None outside."""
    import ray

    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else None


def slow_node_id(seconds: float) -> str | None:
    """The same, after a while."""
    time.sleep(seconds)
    return node_id()


def count_slowly(counter: Counter, *, steps: int, seconds: float) -> int:
    """Count to ``steps``, evenly."""
    for done in range(1, steps + 1):
        time.sleep(seconds / steps)
        counter(done)
    return steps
