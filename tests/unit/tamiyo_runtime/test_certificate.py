"""Until when a certificate is valid: as ``cryptography`` reads it, and nothing of what is no certificate."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from tamiyo_runtime.transport.certificate import valid_until
from tests.pki import Authority

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BORN = datetime.datetime(1950, 1, 1, tzinfo=datetime.UTC)
MOMENTS = st.integers(1, 1049 * 365 * 86_400).map(lambda seconds: BORN + datetime.timedelta(seconds=seconds))


def certificate(name: str, until: datetime.datetime, serial: int = 7) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(subject, subject, KEY.public_key(), serial, BORN, until).sign(KEY, None)
    return made.public_bytes(serialization.Encoding.PEM)


@given(MOMENTS, st.text("abc -ü", min_size=1, max_size=60), st.integers(1, 2**159))
def test_it_is_what_cryptography_reads(until: datetime.datetime, name: str, serial: int) -> None:
    pem = certificate(name, until, serial)
    assert valid_until(pem) == x509.load_pem_x509_certificate(pem).not_valid_after_utc == until
    assert valid_until(b"text before\n" + pem.replace(b"\n", b"\r\n") + certificate("other", BORN)) == until


def test_it_reads_the_certificates_of_a_real_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    for file in (
        authority.issue("board", days=-3).cert,
        authority.issue("broker", host=True).cert,
        tmp_path / "ca.pem",
    ):
        assert file is not None
        pem = file.read_bytes()
        assert valid_until(pem) == x509.load_pem_x509_certificate(pem).not_valid_after_utc


@given(st.binary(max_size=80), st.integers(0, 400), st.integers(0, 255))
def test_of_what_is_no_certificate_it_says_nothing(junk: bytes, at: int, byte: int) -> None:
    assert valid_until(junk) is None
    assert valid_until(b"-----BEGIN CERTIFICATE-----" + junk + b"-----END CERTIFICATE-----") is None
    pem = bytearray(certificate("board", BORN + datetime.timedelta(days=9)))
    pem[at % len(pem)] = byte
    assert isinstance(valid_until(bytes(pem)), datetime.datetime | None)
