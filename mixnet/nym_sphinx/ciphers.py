"""Stream cipher, header MAC and the LIONESS payload cipher (docs/protocol/01 §3, §7)."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from hmac import digest as hmac_digest
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR

from nym_sphinx.constants import KEYSTREAM_BYTES, MAC_BYTES

_ZERO_IV: Final = CTR(bytes(16))
_ZERO_NONCE: Final = bytes(16)
_KEYSTREAM_ZEROS: Final = bytes(KEYSTREAM_BYTES)


def aes_ctr(key: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode from counter 0; encrypts and decrypts."""
    return Cipher(AES128(key), _ZERO_IV).encryptor().update(data)


def aes_ctr_with_iv(key: bytes, iv: bytes, data: bytes) -> bytes:
    """AES-128 in counter mode from the 16-byte ``iv``."""
    return Cipher(AES128(key), CTR(iv)).encryptor().update(data)


def header_keystream(key: bytes) -> bytes:
    """The 360 bytes that hide a routing block."""
    return Cipher(AES128(key), _ZERO_IV).encryptor().update(_KEYSTREAM_ZEROS)


def header_mac(key: bytes, beta: bytes) -> bytes:
    """HMAC-SHA256 of the routing block, cut to 16 bytes."""
    return hmac_digest(key, beta, "sha256")[:MAC_BYTES]


def lioness_encrypt(keys: Iterable[bytes], block: bytes) -> bytes:
    """Put layers of LIONESS on ``block`` (at least 33 bytes): one for each 192-byte key, in this order."""
    # One loop for all layers: the left half stays an integer, the right half stays bytes.
    as_int = int.from_bytes
    left = as_int(block[:32], "little")
    right = block[32:]
    for key in keys:
        k1 = as_int(key[:32], "little")
        k3 = as_int(key[96:128], "little")
        right = _chacha20((left ^ k1).to_bytes(32, "little"), right)
        left ^= as_int(blake2b(right, key=key[32:96], digest_size=32).digest(), "little")
        right = _chacha20((left ^ k3).to_bytes(32, "little"), right)
        left ^= as_int(blake2b(right, key=key[128:192], digest_size=32).digest(), "little")
    return left.to_bytes(32, "little") + right


def lioness_decrypt(key: bytes, block: bytes) -> bytes:
    """Take one layer of LIONESS off ``block`` (at least 33 bytes)."""
    as_int = int.from_bytes
    left = as_int(block[:32], "little")
    right = block[32:]
    left ^= as_int(blake2b(right, key=key[128:192], digest_size=32).digest(), "little")
    right = _chacha20((left ^ as_int(key[96:128], "little")).to_bytes(32, "little"), right)
    left ^= as_int(blake2b(right, key=key[32:96], digest_size=32).digest(), "little")
    right = _chacha20((left ^ as_int(key[:32], "little")).to_bytes(32, "little"), right)
    return left.to_bytes(32, "little") + right


def _chacha20(key: bytes, data: bytes) -> bytes:
    return Cipher(ChaCha20(key, _ZERO_NONCE), None).encryptor().update(data)
