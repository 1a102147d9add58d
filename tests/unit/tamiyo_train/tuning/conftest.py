"""One small study for all tests that look at one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tamiyo_runtime.contracts.errors import ExitCode
from tests.unit.tamiyo_train.tuning.helpers import tune


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    folder = tmp_path_factory.mktemp("runs") / "reward"
    assert tune(folder) == ExitCode.OK
    return folder
