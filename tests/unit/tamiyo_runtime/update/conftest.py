"""Three releases of the tiny bundle, and a device on which the first was applied."""

from __future__ import annotations

import pytest

from tests.power import CuttingDisk
from tests.unit.tamiyo_runtime.update.agents import Releases, disk_with
from tests.updates import release


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Releases:
    folder = tmp_path_factory.mktemp("releases")
    return {version: release(folder, version) for version in (1, 2, 3)}


@pytest.fixture
def disk(releases: Releases) -> CuttingDisk:
    return disk_with(releases[1])
