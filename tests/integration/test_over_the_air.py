"""A device is updated over the air: a real process on the tiny bundle, mosquitto with the rights of docs/broker.md,
`tamiyo update push` as an operator types it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from collector.service import Collector
from tamiyo_runtime.contracts.budget import Budget
from tamiyo_runtime.contracts.records import Event
from tamiyo_runtime.signing import SigningKey
from tamiyo_runtime.transport.access import Access
from tamiyo_runtime.update.disk import LocalDisk
from tamiyo_runtime.update.states import SlotState
from tests.fleet import runnable
from tests.integration.test_secure_broker import MOSQUITTO, Fleet, eventually, run_broker
from tests.pki import Authority
from tests.updates import FACTORY, OFFICE, STRANGER, patient_release

ROOT = Path(__file__).parents[2]
PERIOD_S = 0.02
WINDOW = 60

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed; type: sudo apt-get install mosquitto"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("broker")
    yield from run_broker(folder, Authority(folder / "pki"))


@dataclass
class Site:
    """A device's state folder, its process, and an operator beside it."""

    folder: Path
    fleet: Fleet

    def __post_init__(self) -> None:
        for name, key in (("office", OFFICE), ("factory", FACTORY)):
            (self.folder / f"{name}.pub").write_bytes(key.public.to_pem())
        self.state = self.folder / "state"
        self.device, self.operator = self.fleet.authority.issue("pump-7"), self.fleet.authority.issue("operator")
        keys = ("--key", self.folder / "office.pub", "--bundle-key", self.folder / "factory.pub")
        assert self.tamiyo("update", "init", self.state, "--device", "pump-7", "--fleet", "test", *keys).returncode == 0
        assert self.tamiyo("update", "apply", self.state, patient_release(self.folder, 1)).returncode == 0

    def tamiyo(self, *arguments: object, timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._command(*arguments),
            cwd=ROOT,
            env=self._env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def run(self, *more: object) -> subprocess.Popen[str]:
        """The device, until it is stopped."""
        arguments = ("run", self.state, "--samples", 1_000_000, "--period-ms", PERIOD_S * 1e3, "--json")
        to = ("--broker", self.fleet.url, *tls(self.device))
        command = self._command(*arguments, "--trial-window", WINDOW, *to, *more)
        return subprocess.Popen(
            command, cwd=ROOT, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def push(self, *arguments: object, key: SigningKey = OFFICE) -> tuple[int, dict[str, Any]]:
        """What an operator's command ends with, and what it says of the device."""
        path = self.folder / "signing.key"
        path.unlink(missing_ok=True)
        private_key(path, key)
        to = ("--broker", self.fleet.url, *tls(self.operator), "--fleet", "test", "--device", "pump-7")
        ended = self.tamiyo(
            "update", "push", "--key", path, *to, "--timeout", 90, "--settle-s", 0.3, "--json", *arguments
        )
        assert ended.stdout, ended.stderr
        data: dict[str, Any] = json.loads(ended.stdout)
        return ended.returncode, data["devices"]["pump-7"]

    @property
    def _env(self) -> dict[str, str]:
        return {**os.environ, "TAMIYO_HOME": str(self.folder / "home"), "OMP_NUM_THREADS": "1"}

    @staticmethod
    def _command(*arguments: object) -> list[str]:
        return [sys.executable, "-m", "tamiyo_runtime.cli.main", *map(str, arguments)]


def private_key(path: Path, key: SigningKey) -> None:
    from cryptography.hazmat.primitives import serialization

    pem = key._private().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(0o600)
    path.write_bytes(pem)


def tls(access: Access) -> list[str]:
    words = [("--broker-ca", access.ca), ("--broker-cert", access.cert), ("--broker-key", access.key)]
    return [str(word) for option, value in words if value for word in (option, value)]


def test_a_running_device_takes_one_bundle_leaves_another_and_refuses_a_forger_without_dropping_a_sample(
    fleet: Fleet, tmp_path: Path
) -> None:
    site = Site(tmp_path, fleet)
    with fleet.collector(tmp_path) as collector:
        process = site.run()
        try:
            assert site.push("--bundle", patient_release(tmp_path, 2)) == (
                0,
                {"phase": "confirmed", "version": 2, "received": 0, "chunks": 0, "remark": ""},
            )
            code, forged = site.push("--order", '{"policy": false}', key=STRANGER)
            assert (code, forged["phase"]) == (6, "refused")
            assert "not trusted" in forged["remark"]
            code, back = site.push("--bundle", patient_release(tmp_path, 3, latency_ms=1e-4))
            assert (code, back["phase"], back["version"]) == (3, "went back", 2)
            code, obeyed = site.push("--order", '{"budget": {"latency_ms": 4000}}')
            assert (code, obeyed["phase"]) == (0, "obeyed")
        finally:
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        result = json.loads(output)
        assert result["telemetry"]["delivered"], errors
        events = told(collector)
    assert result["lost"] == {}
    assert result["samples"] == pytest.approx(result["duration_s"] / PERIOD_S, abs=3)
    assert result["samples"] == result["inferences"] + result["skipped"]
    assert [value for event, value, _ in events if event is Event.RELOAD] == [2, 3, 2]
    assert [value > 0 for event, value, _ in events if event is Event.ORDER] == [True, False, True, True]
    steps = [detail for event, _, detail in events if event is Event.UPDATE]
    assert [step.split()[2] for step in steps] == ["receiving", "trial", "confirmed", "receiving", "trial", "rejected"]
    record = runnable(LocalDisk(site.state))
    assert record.slots[str(record.running)].version == 2
    assert record.budget == Budget(latency_ms=4000)
    again = site.tamiyo("run", site.state, "--samples", 5, "--period-ms", 0, "--json")
    assert json.loads(again.stdout)["inferences"] == 5, again.stderr


def told(collector: Collector) -> list[tuple[Event, int, str]]:
    """The events that the collector stored, in order."""
    found = collector.store.events(device="pump-7")
    return [(record.event, record.value, record.detail) for _, record in found]


@pytest.mark.long
def test_what_is_applied_by_hand_takes_over_in_the_running_process(fleet: Fleet, tmp_path: Path) -> None:
    site = Site(tmp_path, fleet)
    process = site.run()
    try:
        code, _ = site.push("--order", '{"policy": false}')  # when this is obeyed, the device is at work
        assert code == 0
        assert site.tamiyo("update", "apply", site.state, patient_release(tmp_path, 2)).returncode == 0
        beside = site.tamiyo("run", site.state)
        assert (beside.returncode, "another process runs" in beside.stderr) == (2, True), beside.stderr
        process.send_signal(signal.SIGHUP)
        eventually(lambda: confirmed(site) == 2, "it was not confirmed")
    finally:
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert json.loads(output)["lost"] == {}


def confirmed(site: Site) -> int | None:
    record = runnable(LocalDisk(site.state))
    slot = record.slots[str(record.running)]
    return slot.version if slot.state is SlotState.CONFIRMED else None


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_a_process_that_is_killed_while_it_is_updated_always_starts_again(
    fleet: Fleet, tmp_path: Path, seed: int
) -> None:
    """Real processes, a real disk and a real broker. Where a trial was started too often, the device went back."""
    site, draw = Site(tmp_path, fleet), random.Random(seed)
    answers: list[int] = []
    patient_release(tmp_path, 2)
    office = threading.Thread(target=lambda: answers.append(site.push("--bundle", tmp_path / "patient-2.tamiyo")[0]))
    office.start()
    kills = 0
    process = site.run()
    while kills < 8:
        try:
            process.wait(draw.uniform(0.5, 4.0))
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        errors = process.communicate()[1]
        assert process.returncode == -signal.SIGKILL, errors
        runnable(LocalDisk(site.state))
        process = site.run()
    office.join(120)
    process.kill()
    process.communicate()
    record = runnable(LocalDisk(site.state))
    assert answers == [0 if record.slots[str(record.running)].version == 2 else 3]
