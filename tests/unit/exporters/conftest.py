"""One request and one export a target for the whole session: converting takes seconds, reading the result does not."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest

from exporters.pipeline import StepEvent, export
from exporters.report import ExportReport
from exporters.request import ExportRequest
from tamiyo_runtime.bundle import Bundle
from tamiyo_runtime.signing import SigningKey, Trust
from tests.unit.exporters.tiny import tiny_request

KEY = SigningKey(bytes(range(32)))


@dataclass(frozen=True)
class Exported:
    path: Path
    report: ExportReport
    bundle: Bundle
    events: list[StepEvent]


@pytest.fixture(scope="session", autouse=True)
def remembering(tools_that_remember: None) -> None:
    """For every test here."""


@pytest.fixture(scope="session")
def request_() -> ExportRequest:
    return tiny_request()


def _export(request: ExportRequest, target: str, folder: Path) -> Exported:
    events: list[StepEvent] = []
    path = folder / f"{Path(target).stem}.tamiyo"
    report = export(request, target, path, key=KEY, on_step=events.append)
    return Exported(path, report, Bundle.open(path, trusted=Trust.of(KEY.public)), events)


@pytest.fixture(scope="session")
def pi(request_: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Segments in int8 and float, and the gated graph: by cost, so small a network would be compiled whole."""
    folder = tmp_path_factory.mktemp("pi")
    profile = folder / "raspberry-pi-4.toml"
    text = (files("device_profiles.data") / profile.name).read_text("utf-8")
    profile.write_text(text.replace('layout = "auto"', 'layout = "segments"'), "utf-8")
    return _export(request_, str(profile), folder)


@pytest.fixture(scope="session")
def tpu(request_: ExportRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Whole configurations in int8."""
    return _export(request_, "edge-tpu", tmp_path_factory.mktemp("tpu"))
