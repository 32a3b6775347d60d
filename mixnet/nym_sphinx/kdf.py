"""Key derivations: from a hop's shared secret, from a payload-key seed, and from an end-to-end secret."""

from __future__ import annotations

from typing import Final

from blake3 import blake3
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from nym_sphinx.constants import PAYLOAD_KEY_BYTES

EXPANDED_BYTES: Final = 288
"""All that one hop derives; slices in docs/protocol/01 §4."""
STREAM_KEY: Final = slice(0, 16)
MAC_KEY: Final = slice(16, 32)
PAYLOAD_KEY: Final = slice(32, 224)
PAYLOAD_SEED: Final = slice(32, 48)
BLINDING: Final = slice(224, 256)
REPLAY_TAG: Final = slice(256, 288)

_SHA256: Final = SHA256()
_EXPAND_INFO: Final = (
    b"Dwste mou enan moxlo arketa makru kai ena upomoxlio gia na ton topothetisw kai tha kinisw thn gh."
)
_SEED_SALT: Final = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-SALT"
_SEED_INFO: Final = b"sphinx-payload-key-V01-CS01-HKDF:SHA256-INFO"

_INNER: Final = 0x36
_OUTER: Final = 0x5C
_TO_INNER: Final = bytes(byte ^ _INNER for byte in range(256))
_TO_OUTER: Final = bytes(byte ^ _OUTER for byte in range(256))
_INNER_BLOCK: Final = bytes([_INNER]) * 64
_OUTER_BLOCK: Final = bytes([_OUTER]) * 64
_INNER_REST: Final = _INNER_BLOCK[:32]
_OUTER_REST: Final = _OUTER_BLOCK[:32]


def expand_secret(shared_secret: bytes, length: int = EXPANDED_BYTES) -> bytes:
    """The first ``length`` bytes of a hop's key material (docs/protocol/01 §4).

    Ask for no more than is used.
    """
    return HKDF(_SHA256, length, None, _EXPAND_INFO).derive(shared_secret)


def payload_key_from_seed(seed: bytes) -> bytes:
    """The 192-byte payload key of a version-259 packet from its 16-byte seed (docs/protocol/01 §4)."""
    return HKDF(_SHA256, PAYLOAD_KEY_BYTES, _SEED_SALT, _SEED_INFO).derive(seed)


def envelope_key(dh: bytes) -> bytes:
    """The AES-128 key of one fragment from its Diffie-Hellman value (docs/protocol/02 §6).

    RFC 5869 without salt and info, over HMAC with plain BLAKE3 and blocks of 64 bytes.
    """
    prk = blake3(_OUTER_BLOCK + blake3(_INNER_BLOCK + dh).digest()).digest()
    inner = blake3(prk.translate(_TO_INNER) + _INNER_REST + b"\x01").digest()
    return blake3(prk.translate(_TO_OUTER) + _OUTER_REST + inner).digest()[:16]
