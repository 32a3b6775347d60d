"""Secrets at rest: AES-256-GCM under a data key that the store's key wraps.

The data key is drawn once, when the store is made, and kept in the database sealed under the key that the operator
holds: changing that key rewrites one row. Every sealed value is bound to its place (table and row), so that nobody
who can write to the database can swap two of them. Form: 1 byte version, 12 bytes nonce, ciphertext with tag.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16

RandomBytes = Callable[[int], bytes]


class SealBroken(ValueError):
    """A sealed value that this key does not open: another key, another place, or damage."""


class Sealer:
    """Seals, opens and hashes under one key of 32 bytes."""

    __slots__ = ("_aead", "_hash_key")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._aead = AESGCM(_derive(key, b"nymgate store seal 1"))
        self._hash_key = _derive(key, b"nymgate store hash 1")

    def seal(self, place: str, plaintext: bytes, random_bytes: RandomBytes = secrets.token_bytes) -> bytes:
        """`plaintext`, readable only under this key and at this place."""
        nonce = random_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, plaintext, place.encode())

    def open(self, place: str, sealed: bytes) -> bytes:
        """The inverse of `seal`. Raises `SealBroken`."""
        start = len(_VERSION)
        if sealed[:start] != _VERSION or len(sealed) < start + _NONCE_BYTES + _TAG_BYTES:
            raise SealBroken(f"the sealed value of {place} is damaged")
        nonce, ciphertext = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, place.encode())
        except InvalidTag:
            raise SealBroken(f"the sealed value of {place} does not open") from None

    def hash(self, purpose: str, value: bytes) -> bytes:
        """A keyed hash of 32 bytes: finds a row again without telling what it is about."""
        return hmac.digest(self._hash_key, purpose.encode() + b"\0" + value, hashlib.sha256)


def _derive(key: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)
