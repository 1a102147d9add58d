"""Certificates, keys and passwords for a broker: what is refused before anything is sent, and what is never told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tamiyo_runtime.cli.broker_options import alive
from tamiyo_runtime.contracts.errors import InputError, UsageError
from tamiyo_runtime.transport.access import Access, BrokerAddress, check_handshake
from tests.pki import Authority
from tests.unit.tamiyo_runtime.cli.conftest import Tamiyo, tamiyo  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "user"),
    [
        ("mqtt://hub", "hub", 1883, False, None),
        ("mqtts://hub", "hub", 8883, True, None),
        ("mqtts://me@[::1]:42", "::1", 42, True, "me"),
    ],
)
def test_an_address_says_host_port_and_whether_tls(url: str, host: str, port: int, tls: bool, user: str | None) -> None:
    assert BrokerAddress.parse(url) == BrokerAddress(host=host, port=port, tls=tls, user=user)


@pytest.mark.parametrize("url", ["mqtts://me:s3cret@hub", "mqtt://me:s3cret@hub:port", "mqtt://:s3cret@hub/x"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str, tamiyo: Tamiyo, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(InputError) as caught:
        BrokerAddress.parse(url)
    assert "s3cret" not in f"{caught.value} {caught.value.hint}"
    for command in (["collect", "--store", tmp_path / "s.db"], ["run", tmp_path / "none.tamiyo"]):
        outcome = tamiyo(*command, "--broker", url)
        assert outcome.code == 2
        assert "broker" in outcome.err
        assert "s3cret" not in outcome.out + outcome.err


def test_a_password_comes_from_a_file_or_the_environment_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    from_file = Access.of(environment={"TAMIYO_BROKER_PASSWORD_FILE": str(tmp_path / "password")})
    direct = Access.of(environment={"TAMIYO_BROKER_PASSWORD": "s3cret", "TAMIYO_BROKER_USER": "me"})
    assert from_file.password == direct.password == "s3cret"
    assert direct.user == "me"
    assert "s3cret" not in repr(direct)
    with pytest.raises(InputError, match="file with the broker's password not found"):
        Access.of(environment={"TAMIYO_BROKER_PASSWORD_FILE": str(tmp_path / "no")})


def test_each_file_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    ours, others = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    good, other, old = ours.issue("board"), others.issue("board"), ours.issue("old", days=-1)
    (tmp_path / "text").write_text("no PEM")
    good.context()
    for wrong, words in [
        (Access(ca=tmp_path / "none"), "certificate authority of the broker not found"),
        (Access(ca=tmp_path / "text"), "holds no certificate"),
        (Access(cert=tmp_path / "none", key=good.key), "client certificate not found"),
        (Access(cert=good.cert, key=tmp_path / "none"), "key of the client certificate not found"),
        (Access(cert=tmp_path / "text", key=good.key), "cannot be used"),
        (Access(cert=good.cert, key=other.key), "are not of one pair"),
        (old, "old.pem expired on"),
    ]:
        with pytest.raises(InputError, match=words):
            wrong.context()


def test_an_encrypted_key_is_refused_instead_of_asking_a_terminal(tmp_path: Path) -> None:
    access = Authority(tmp_path).issue("board")
    assert access.key is not None
    key = serialization.load_pem_private_key(access.key.read_bytes(), None)
    form, locked = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    access.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))
    with pytest.raises(InputError, match="is encrypted"):
        access.context()


def test_options_that_do_not_fit_are_usage_errors(tmp_path: Path, tamiyo: Tamiyo) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="of no use alone") as caught:
        Access.of(cert=tmp_path / "c.pem", environment={})
    assert "--broker-key" in str(caught.value.hint)
    outcome = tamiyo("collect", "--store", tmp_path / "s.db", "--broker", "mqtt://h", "--broker-ca", "ca.pem")
    assert outcome.code == 2
    assert "mqtts://HOST:PORT" in outcome.err
    missing = tamiyo("run", "x.tamiyo", "--broker", "mqtts://h", "--broker-ca", tmp_path / "ca.pem")
    assert missing.code == 2
    assert "certificate authority of the broker not found" in missing.err


def test_a_broker_that_cannot_be_reached_is_no_reason_to_stop(tmp_path: Path) -> None:
    check_handshake("mqtts://127.0.0.1:1", Access(), timeout_s=1.0)
    check_handshake("mqtts://a..b:1", Access(), timeout_s=1.0)


def test_a_time_of_silence_is_for_a_broker_by_its_address(tamiyo: Tamiyo, tmp_path: Path) -> None:  # noqa: F811
    assert alive(Access(user="me"), 45) == Access(user="me", keepalive_s=45)
    assert alive(Access(user="me"), None) == Access(user="me")
    for broker, words in (("none", "for a broker that is there"), ("auto", "for a broker that is there")):
        outcome = tamiyo("run", tmp_path / "none.tamiyo", "--broker", broker, "--broker-keep-alive", "45")
        assert outcome.code == 2
        assert words in outcome.err
    outcome = tamiyo("run", tmp_path / "none.tamiyo", "--broker", "mqtt://h", "--broker-keep-alive", "1")
    assert outcome.code == 2
    assert "--broker-keep-alive" in outcome.err
