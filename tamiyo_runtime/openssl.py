"""Checks Ed25519 signatures by the OpenSSL that the interpreter has loaded for its own hashes and TLS.

The library ``cryptography`` does it with an OpenSSL of its own, which stays in memory with 8 MiB for a check of a tenth
of a millisecond. It remains what makes keys and signatures, and what checks them where the interpreter's OpenSSL is not
within reach, as when it is linked in statically. Before it is believed, this one must accept a signature that is known
to be good and refuse one that is known to be bad. It signs nothing, and no secret passes through it.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

_ED25519 = 1087  # NID_ED25519, openssl/obj_mac.h
_PUBLIC_BYTES = 32
# RFC 8032, section 7.1, test 3
_KNOWN_KEY = bytes.fromhex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
_KNOWN_MESSAGE = bytes.fromhex("af82")
_KNOWN_SIGNATURE = bytes.fromhex(
    "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
    "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool | None:
    """Whether the key, 32 bytes, made that signature; None where another library has to be asked."""
    library = _checked()
    return None if library is None else library.verifies(public, signature, message)


@dataclass(frozen=True, slots=True)
class _Library:
    """The functions of libcrypto that it takes, OpenSSL 1.1.1 and later, with their types declared."""

    functions: Any

    def verifies(self, public: bytes, signature: bytes, message: bytes) -> bool | None:
        lib = self.functions
        if len(public) != _PUBLIC_BYTES:
            return None
        key = lib.EVP_PKEY_new_raw_public_key(_ED25519, None, public, len(public))
        context = lib.EVP_MD_CTX_new()
        try:
            if not key or not context or lib.EVP_DigestVerifyInit(context, None, None, None, key) != 1:
                return None
            answer = lib.EVP_DigestVerify(context, signature, len(signature), message, len(message))
            return bool(answer == 1) if answer in {0, 1} else None
        finally:  # both take NULL; errors left in the thread's queue would be taken for those of a TLS connection
            lib.EVP_MD_CTX_free(context)
            lib.EVP_PKEY_free(key)
            lib.ERR_clear_error()


@functools.cache
def _checked() -> _Library | None:
    """The library, if it is there and answers rightly what is known."""
    library = _load()
    if library is None:
        return None
    good = library.verifies(_KNOWN_KEY, _KNOWN_SIGNATURE, _KNOWN_MESSAGE)
    bad = library.verifies(_KNOWN_KEY, _KNOWN_SIGNATURE, _KNOWN_MESSAGE + b"\0")
    return library if good is True and bad is False else None


def _load() -> _Library | None:
    """Find the library through the module that is linked to it: no name is guessed, and nothing new is loaded."""
    pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
    signatures = {
        "EVP_PKEY_new_raw_public_key": (pointer, (ctypes.c_int, pointer, text, size)),
        "EVP_PKEY_free": (None, (pointer,)),
        "EVP_MD_CTX_new": (pointer, ()),
        "EVP_MD_CTX_free": (None, (pointer,)),
        "EVP_DigestVerifyInit": (ctypes.c_int, (pointer, pointer, pointer, pointer, pointer)),
        "EVP_DigestVerify": (ctypes.c_int, (pointer, text, size, text, size)),
        "ERR_clear_error": (None, ()),
    }
    try:
        import _hashlib

        functions = ctypes.CDLL(_hashlib.__file__)
        for name, (result, arguments) in signatures.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except (ImportError, AttributeError, OSError):  # no OpenSSL, linked in statically, or too old
        return None
    return _Library(functions)
