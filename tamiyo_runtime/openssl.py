"""What a device needs of the OpenSSL that Python itself is linked to, and no module of Python offers.

``cryptography`` brings an OpenSSL of its own, which takes 8 MiB of a board's memory for good once it is loaded. Where
Python's cannot be reached, being linked into the interpreter or older than 1.1.1, answers are None, and who asks has to
ask ``cryptography``.
"""

from __future__ import annotations

import ctypes
import functools
from datetime import UTC, datetime
from typing import Any

_ED25519 = 1087  # EVP_PKEY_ED25519
_POINTER, _INT, _SIZE, _BYTES = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "EVP_PKEY_new_raw_public_key": (_POINTER, [_INT, _POINTER, _BYTES, _SIZE]),
    "EVP_PKEY_free": (None, [_POINTER]),
    "EVP_MD_CTX_new": (_POINTER, []),
    "EVP_MD_CTX_free": (None, [_POINTER]),
    "EVP_DigestVerifyInit": (_INT, [_POINTER, _POINTER, _POINTER, _POINTER, _POINTER]),
    "EVP_DigestVerify": (_INT, [_POINTER, _BYTES, _SIZE, _BYTES, _SIZE]),
    "BIO_new_mem_buf": (_POINTER, [_BYTES, _INT]),
    "BIO_free": (_INT, [_POINTER]),
    "PEM_read_bio_X509": (_POINTER, [_POINTER, _POINTER, _POINTER, _POINTER]),
    "X509_free": (None, [_POINTER]),
    "X509_get0_notAfter": (_POINTER, [_POINTER]),
    "ASN1_TIME_to_tm": (_INT, [_POINTER, _POINTER]),
    "ERR_clear_error": (None, []),
}
"""Result and arguments as OpenSSL's manual has them; all are there since 1.1.1."""


def ed25519_verifies(key: bytes, signature: bytes, message: bytes) -> bool | None:
    """Whether the owner of an Ed25519 public key, 32 bytes, signed a message; None when that cannot be told here."""
    library = _library()
    if library is None:
        return None
    public = library.EVP_PKEY_new_raw_public_key(_ED25519, None, key, len(key))
    context = library.EVP_MD_CTX_new()
    try:
        if not public or not context or library.EVP_DigestVerifyInit(context, None, None, None, public) != 1:
            return None
        return bool(library.EVP_DigestVerify(context, signature, len(signature), message, len(message)) == 1)
    finally:
        library.EVP_MD_CTX_free(context)
        library.EVP_PKEY_free(public)
        library.ERR_clear_error()  # a refusal left there would be taken for one of the next handshake


def valid_until(pem: bytes) -> datetime | None:
    """When the first certificate of a PEM file ends, UTC; None when that cannot be told here."""
    library = _library()
    if library is None:
        return None
    source = library.BIO_new_mem_buf(pem, len(pem))
    certificate = library.PEM_read_bio_X509(source, None, None, b"") if source else None  # b"": asks for no password
    fields = (_INT * 16)()  # a struct tm, which begins with nine ints, and room for what C libraries add to it
    try:
        if not certificate or library.ASN1_TIME_to_tm(library.X509_get0_notAfter(certificate), fields) != 1:
            return None
        second, minute, hour, day, month, year = fields[:6]
        return datetime(1900 + year, 1 + month, day, hour, minute, second, tzinfo=UTC)
    finally:
        library.X509_free(certificate)
        library.BIO_free(source)
        library.ERR_clear_error()


@functools.cache
def _library() -> Any:
    """OpenSSL as the module behind `hashlib` found it, with types; None where it does not show itself."""
    try:
        import _hashlib

        library = ctypes.CDLL(_hashlib.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except (ImportError, AttributeError, OSError):
        return None
    return library
