"""Settings for every test: deterministic property tests, no thread pools, a home of its own for keys."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tamiyo_runtime.files import folder_in_memory

EXPORTING = (
    *("test_bad_input.py", "test_faults.py", "test_torch_free.py", "test_wheel.py", "test_whole_path.py"),
    *("test_blueprint_exports.py", "test_blueprints_command.py", "test_domains.py"),
)
"""Files of tests that use one trained run and its bundles, or convert networks, as all under EXPORTERS do."""
EXPORTERS = "tests/unit/exporters/"

# One thread a process, set before torch or a BLAS is imported: tests run beside brokers and child processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Seeded, and blind to how fast the machine is today: a test says what is right, a benchmark what is fast.
settings.register_profile("tamiyo", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tamiyo")


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A new folder for each test, counted here: `mktemp` lists all that there are before it makes the next one."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def tamiyo_home(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keys, trust and state of a test never touch the user's own."""
    folder = next(homes)
    for name, variable in (("home", "TAMIYO_HOME"), ("state", "XDG_STATE_HOME")):
        (folder / name).mkdir(parents=True)
        monkeypatch.setenv(variable, str(folder / name))
    return folder / "home"


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in memory where the machine has one, for hours on a virtual clock with a commit every second."""
    with tempfile.TemporaryDirectory(prefix="tamiyo-test-", dir=folder_in_memory()) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what all processes of this session share; of more than one, each has a base of its own in it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tools_that_remember() -> Iterator[None]:
    """Converters that are asked the same again answer from memory, from here to the end of the session."""
    from tests.remembering import remembering

    with remembering():
        yield


class _ByFile(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """A file is run by one process, in the order of collection, so that what its tests share is made once.

    Tests that export share a trained run and its bundles, conversions that are remembered, and tools that take long to
    load: those files stay together, and first.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "exporting" if file.startswith(EXPORTERS) or file.rpartition("/")[2] in EXPORTING else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes, none should begin a long file when the others have nothing left to do."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScopeScheduling:
    """Used by `pytest --numprocesses`; alone, the tests run one after the other as ever."""
    config.option.loadscopereorder = False
    return _ByFile(config, log)
