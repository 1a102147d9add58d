"""What commands leave in a device's audit log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime.audit import AuditLog, Auditor, Happened, read_log
from tamiyo_runtime.audited import Audited
from tamiyo_runtime.bundle import Bundle, write_bundle
from tamiyo_runtime.cli.field import FieldRun
from tamiyo_runtime.cli.field_terms import FieldRequest
from tamiyo_runtime.contracts.records import Event, EventRecord
from tamiyo_runtime.reporter import Silent
from tamiyo_runtime.session import Plan
from tamiyo_runtime.signing import SigningKey
from tests import tiny

FREE = ("--period-ms", 0, "--latency-ms", 0)  # however busy this machine is, no deadline is missed and no mode changes


def told(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    return [(record.kind, dict(record.data)) for record in read_log(folder)]


def release(folder: Path, version: int) -> Path:
    made, path = tiny.make(variants=("float",), policy=False), folder / f"tiny-{version}.tamiyo"
    write_bundle(path, replace(made.manifest, version=version), made.files, SigningKey.default(), overwrite=True)
    return path


def test_a_run_tells_when_it_began_with_what_and_how_it_ended(tamiyo: Any, own_bundle: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        assert tamiyo("run", own_bundle, "--samples", 3, *FREE, "--state-dir", state).code == 0
    bundle = Bundle.open(own_bundle)
    start = {
        "bundle": "tiny",
        "version": 1,
        "digest": bundle.digest,
        "signer": bundle.signer.short_id,
        "variant": "int8",
    }
    assert told(state) == [("start", start), ("stop", {"samples": 3, "mode": "normal"})] * 2


def test_an_older_version_that_was_let_in_is_told(tamiyo: Any, tmp_path: Path) -> None:
    state, options = tmp_path / "state", ("--samples", 1, *FREE, "--state-dir", tmp_path / "state")
    old, new = release(tmp_path, 1), release(tmp_path, 2)
    assert tamiyo("run", new, "--allow-downgrade", *options).code == 0  # nothing to let in
    assert tamiyo("run", old, *options).code == 6
    assert tamiyo("run", old, "--allow-downgrade", *options).code == 0
    assert [kind for kind, _ in told(state)] == ["start", "stop", "downgrade", "start", "stop"]
    assert "version 2 by the same signer ran on this device before" in told(state)[2][1]["why"]


def test_a_simulated_board_is_no_device_and_a_folder_in_the_way_no_reason_not_to_run(
    tamiyo: Any, own_bundle: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    assert tamiyo("run", own_bundle, "--samples", 2, "--device", "simulated", "--state-dir", state).code == 0
    assert not state.exists()
    state.write_text("in the way")
    outcome = tamiyo("run", own_bundle, "--samples", 2, *FREE, "--state-dir", state)
    assert outcome.code == 0
    assert outcome.err.count("warning: cannot write the audit log in") == 1


def test_the_next_start_reports_how_far_the_log_went(tamiyo: Any, own_bundle: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert tamiyo("run", own_bundle, "--samples", 1, *FREE, "--state-dir", state).code == 0
    kept = read_log(state)[-1].checkpoint
    request = FieldRequest(state_dir=state, plan=Plan(samples=1))
    with FieldRun(Bundle.open(own_bundle), request) as field:
        assert field._about()["audit"] == kept
    assert tamiyo("audit", "verify", state, "--checkpoint", kept).code == 0


@pytest.mark.parametrize(
    ("event", "detail", "value", "kind"),
    [
        (Event.MODE, "fault nothing runs", 0, "mode"),
        (Event.MODE, "safe", 0, "mode"),
        (Event.MODE, "rollback", 0, "mode"),
        (Event.MODE, "normal", 0, None),
        (Event.MODE, "degraded", 0, None),
        (Event.ORDER, "budget", 7, "order"),
        (Event.ORDER, "keys", 7, "key"),
        (Event.ORDER, "expired", 0, "refused"),
        (Event.UPDATE, "b trial", 0, "update"),
        (Event.RELOAD, "ab12", 2, "update"),
        (Event.THROTTLE, "", 1500, None),
    ],
)
def test_grave_modes_orders_and_updates_are_told_and_everything_is_passed_on(
    tmp_path: Path, event: Event, detail: str, value: int, kind: str | None
) -> None:
    passed: list[EventRecord] = []

    class Listening(Silent):
        def event(self, event: EventRecord) -> None:
            passed.append(event)

    auditor = Auditor(AuditLog(tmp_path))
    auditor.tell(Happened.START)
    record = EventRecord(t_ms=1, event=event, value=value, detail=detail)
    Audited(Listening(), auditor).event(record)
    auditor.close()
    assert passed == [record]
    assert [found for found, _ in told(tmp_path)[1:]] == ([] if kind is None else [kind])


def test_a_mode_that_comes_and_goes_is_told_once_a_minute_with_how_often(tmp_path: Path) -> None:
    auditor = Auditor(AuditLog(tmp_path))
    audited = Audited(Silent(), auditor)
    for second in range(130):
        for mode in ("safe", "normal", "fault"):
            audited.event(EventRecord(t_ms=second * 1000, event=Event.MODE, detail=mode))
    auditor.close()
    safe = [data for _, data in told(tmp_path) if data["detail"] == "safe"]
    assert safe == [{"detail": "safe"}, {"detail": "safe", "left_out": 59}, {"detail": "safe", "left_out": 59}]
    assert len(read_log(tmp_path)) == 6


def test_a_run_that_ends_by_an_error_tells_which(own_bundle: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        FieldRun(Bundle.open(own_bundle), FieldRequest(state_dir=tmp_path, plan=Plan(samples=1))),
    ):
        raise RuntimeError("the roof is on fire")
    assert told(tmp_path)[-1] == ("stop", {"why": "RuntimeError: the roof is on fire"})


def test_a_key_of_ones_own_is_trusted_and_told(tamiyo: Any, tamiyo_home: Path) -> None:
    assert tamiyo("key", "new").code == 0
    assert [(kind, data["name"]) for kind, data in told(tamiyo_home)] == [("trust", "dev")]


def test_trust_given_by_hand_is_told(tamiyo: Any, tmp_path: Path, tamiyo_home: Path) -> None:
    assert tamiyo("key", "new", tmp_path / "factory.key").code == 0
    assert tamiyo("key", "trust", tmp_path / "factory.pub").code == 0
    key = SigningKey.load(tmp_path / "factory.key").public
    assert told(tamiyo_home) == [("trust", {"name": "factory", "key": key.id})]


def test_the_steps_of_an_update_are_told_with_what_runs_after_each(tamiyo: Any, tmp_path: Path) -> None:
    state, key = tmp_path / "device", tmp_path / "dev.pub"
    first, second = release(tmp_path, 1), release(tmp_path, 2)
    key.write_bytes(SigningKey.default().public.to_pem())
    assert tamiyo("update", "init", state, "--device", "d", "--key", key).code == 0
    assert tamiyo("update", "apply", state, first).code == 0
    assert tamiyo("update", "apply", state, second).code == 0
    for _ in range(4):
        assert tamiyo("update", "start", state).code == 0
    found = [(kind, data.get("running"), data.get("why", "")[:12]) for kind, data in told(state)]
    assert found == [
        ("key", None, "made"),
        ("update", "a", "confirmed: t"),
        ("update", "b", "on trial"),
        ("rollback", "a", found[3][2]),
    ]
    order = tmp_path / "order.json"
    order.write_text("{}")
    assert tamiyo("update", "obey", state, order).code == 6
    assert told(state)[-1][0] == "refused"
    assert tamiyo("audit", "verify", state).code == 0
