"""The safeguards hold on what is shipped, and each is told when what it attacks gives way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tamiyo_runtime import safeguards
from tamiyo_runtime.safeguards import check_safeguards
from tamiyo_runtime.signing import MANIFEST_TYPE, PublicKey, SigningKey, Trust


def held() -> dict[str, bool]:
    return {one.name: one.held for one in check_safeguards()}


def test_every_safeguard_holds_here() -> None:
    found = check_safeguards()
    assert [one.rule for one in found] == [f"164.312{rule}" for rule in ("(a)(1)", "(b)", "(c)(1)", "(d)", "(e)(1)")]
    assert all(one.held for one in found), found


def test_a_key_that_others_may_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(path: Path, *, overwrite: bool = False) -> SigningKey:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"key")
        return SigningKey.generate()

    monkeypatch.setattr(SigningKey, "create", careless)
    (access, *_) = check_safeguards()
    assert not access.held
    assert access.told == "others may read device.key: mode 666"


def test_an_audit_log_without_a_chain_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safeguards, "read_log", lambda folder: ())
    assert held() == {**dict.fromkeys(held(), True), "audit controls": False}


def test_signatures_that_nobody_checks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(self: Trust, envelope: bytes, *, payload_type: str = MANIFEST_TYPE) -> tuple[bytes, PublicKey]:
        return b"", SigningKey.generate().public

    monkeypatch.setattr(Trust, "verify", trusting)
    found = held()
    assert (found["integrity"], found["authentication"], found["transmission"]) == (False, False, True)


def test_a_connection_that_falls_back_to_plain_text_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safeguards, "check_handshake", lambda url, access, timeout_s: None)
    monkeypatch.setattr(safeguards, "_TIMEOUT_S", 0.1)  # nobody comes
    assert not held()["transmission"]


def test_the_command_shows_them_and_says_that_it_certifies_nothing(tamiyo: Any) -> None:
    outcome = tamiyo("doctor", "--safeguards")
    assert outcome.code == 0
    assert "self-check" in outcome.out
    assert "164.312(e)(1)" in outcome.out
    rows = json.loads(tamiyo("doctor", "--safeguards", "--json").out)["safeguards"]
    assert [row["held"] for row in rows] == [True] * 5


def test_the_command_fails_when_one_does_not_hold(tamiyo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safeguards, "read_log", lambda folder: ())
    outcome = tamiyo("doctor", "--safeguards")
    assert outcome.code == 6
    assert "audit controls" in outcome.err
