"""Until when a certificate is valid, read from its DER: the one thing that `ssl` does not tell of one's own.

``cryptography`` would read it too, and stay in memory with some megabytes. Nothing is verified here; that is TLS's.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import re

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_MOMENT = re.compile(r"[0-9]{14}Z")
_SEQUENCE, _VERSION, _UTC_TIME, _GENERALIZED_TIME = 0x30, 0xA0, 0x17, 0x18
_CENTURY_PIVOT = 50  # RFC 5280, 4.1.2.5.1: a year of two digits is 19xx from here on


def valid_until(pem: bytes) -> datetime.datetime | None:
    """When the file's first certificate expires, in UTC; None when there is none or it cannot be read."""
    found = _PEM.search(pem)
    if found is None:
        return None
    try:
        der = base64.b64decode(found[1])
        certificate, _ = _value(der, _SEQUENCE)
        body, _ = _value(certificate, _SEQUENCE)
        if body[:1] == bytes([_VERSION]):
            _, body = _value(body)
        for _ in ("serial number", "signature algorithm", "issuer"):
            _, body = _value(body)
        validity, _ = _value(body, _SEQUENCE)
        _, end = _value(validity)
        text, _ = _value(end)
        return _time(end[0], text.decode("ascii"))
    except (ValueError, binascii.Error):
        return None


def _value(data: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """The contents of the first DER element, of that tag if one is given, and what follows it; raises ValueError."""
    if len(data) < 2 or (tag is not None and data[0] != tag):
        raise ValueError("not the element expected")
    length, start = data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("cut off")
    return data[start : start + length], data[start + length :]


def _time(tag: int, text: str) -> datetime.datetime:
    """A time as RFC 5280 has them: to the second, in UTC."""
    if tag == _UTC_TIME:
        text = ("19" if int(text[:2]) >= _CENTURY_PIVOT else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("no time")
    if not _MOMENT.fullmatch(text):
        raise ValueError("no time")
    day, clock = (int(text[:4]), int(text[4:6]), int(text[6:8])), (int(text[8:10]), int(text[10:12]), int(text[12:14]))
    return datetime.datetime(*day, *clock, tzinfo=datetime.UTC)
