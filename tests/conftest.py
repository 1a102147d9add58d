"""Settings for every test: deterministic property tests, no thread pools, a home of its own for keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# One thread a process, set before torch or a BLAS is imported: tests run beside brokers and child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seeded, and blind to how fast the machine is today: a test says what is right, a benchmark what is fast.
settings.register_profile("tamiyo", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tamiyo")


@pytest.fixture(autouse=True)
def tamiyo_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys and trust of a test never touch the user's own."""
    home = tmp_path_factory.mktemp("tamiyo-home")
    monkeypatch.setenv("TAMIYO_HOME", str(home))
    return home
