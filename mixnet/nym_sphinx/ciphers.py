"""Stream ciphers, header MAC and the LIONESS payload cipher (docs/protocol/01 §3, §7).

A packet needs some thirty short keystreams under as many keys, and setting a cipher up costs more than
running it. So each call here makes one cipher object and gives it key after key. The objects are never
shared: two users of one would mix up keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from hmac import digest as hmac_digest
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB

from nym_sphinx.constants import KEYSTREAM_BYTES, MAC_BYTES

_AES_BLOCK_BYTES: Final = 16
_ACK_KEYS_REMEMBERED: Final = 16
_ZERO_NONCE: Final = bytes(16)
_ZERO_IV: Final = CTR(_ZERO_NONCE)
_ANY_AES_KEY: Final = bytes(16)
_ANY_CHACHA20_KEY: Final = bytes(32)
_KEYSTREAM_ZEROS: Final = bytes(KEYSTREAM_BYTES)

KeyedStream: TypeAlias = Callable[[bytes, bytes], bytes]
"""``stream(key, data)`` is the data under the keystream of that key."""


def _fresh_aes_ctr() -> KeyedStream:
    def stream(key: bytes, data: bytes) -> bytes:
        return Cipher(AES128(key), _ZERO_IV).encryptor().update(data)

    return stream


def _rekeyed_aes_ctr() -> KeyedStream:
    algorithm = AES128(_ANY_AES_KEY)
    cipher = Cipher(algorithm, _ZERO_IV)

    def stream(key: bytes, data: bytes) -> bytes:
        algorithm.key = key
        return cipher.encryptor().update(data)

    return stream


def _fresh_chacha20() -> KeyedStream:
    def stream(key: bytes, data: bytes) -> bytes:
        return Cipher(ChaCha20(key, _ZERO_NONCE), None).encryptor().update(data)

    return stream


def _rekeyed_chacha20() -> KeyedStream:
    algorithm = ChaCha20(_ANY_CHACHA20_KEY, _ZERO_NONCE)
    cipher = Cipher(algorithm, None)

    def stream(key: bytes, data: bytes) -> bytes:
        algorithm.key = key
        return cipher.encryptor().update(data)

    return stream


def _pick(
    rekeyed: Callable[[], KeyedStream], fresh: Callable[[], KeyedStream], key: bytes
) -> Callable[[], KeyedStream]:
    """The quick kind if the installed library lets an algorithm's key be replaced, else the plain kind.

    Asked once, when this module is loaded: a key that was quietly not replaced would mean encrypting under a
    known one.
    """
    try:
        follows = rekeyed()(key, _ZERO_NONCE) == fresh()(key, _ZERO_NONCE)
    except AttributeError:
        follows = False
    return rekeyed if follows else fresh


_new_aes_ctr: Final = _pick(_rekeyed_aes_ctr, _fresh_aes_ctr, b"\x01" * len(_ANY_AES_KEY))
_new_chacha20: Final = _pick(_rekeyed_chacha20, _fresh_chacha20, b"\x01" * len(_ANY_CHACHA20_KEY))

aes_ctr: Final = _fresh_aes_ctr()
"""``aes_ctr(key, data)``: AES-128 in counter mode from counter 0; encrypts and decrypts."""


def aes_block(key: bytes, block: bytes) -> bytes:
    """AES-128 of one block of 16 bytes. For long-term keys: the expanded key is kept."""
    return _aes_ecb(key).update(block)


@lru_cache(maxsize=_ACK_KEYS_REMEMBERED)
def _aes_ecb(key: bytes) -> CipherContext:
    # Fed with whole blocks this context has no state.
    return Cipher(AES128(key), ECB()).encryptor()  # noqa: S305  one block is no mode of operation


def header_keystreams(keys: Iterable[bytes]) -> list[bytes]:
    """For each key the 360 bytes that hide a routing block."""
    stream = _new_aes_ctr()
    return [stream(key, _KEYSTREAM_ZEROS) for key in keys]


def header_mac(key: bytes, beta: bytes) -> bytes:
    """HMAC-SHA256 of the routing block, cut to 16 bytes."""
    return hmac_digest(key, beta, "sha256")[:MAC_BYTES]


def lioness_encrypt(keys: Iterable[bytes], block: bytes) -> bytes:
    """Put layers of LIONESS on ``block`` (at least 33 bytes): one for each 192-byte key, in this order."""
    # One loop for all layers: the left half stays an integer, the right half stays bytes.
    as_int = int.from_bytes
    chacha20 = _new_chacha20()
    left = as_int(block[:32], "little")
    right = block[32:]
    for key in keys:
        right = chacha20((left ^ as_int(key[:32], "little")).to_bytes(32, "little"), right)
        left ^= as_int(blake2b(right, key=key[32:96], digest_size=32).digest(), "little")
        right = chacha20((left ^ as_int(key[96:128], "little")).to_bytes(32, "little"), right)
        left ^= as_int(blake2b(right, key=key[128:192], digest_size=32).digest(), "little")
    return left.to_bytes(32, "little") + right


def lioness_decrypt(key: bytes, block: bytes) -> bytes:
    """Take one layer of LIONESS off ``block`` (at least 33 bytes)."""
    as_int = int.from_bytes
    chacha20 = _new_chacha20()
    left = as_int(block[:32], "little")
    right = block[32:]
    left ^= as_int(blake2b(right, key=key[128:192], digest_size=32).digest(), "little")
    right = chacha20((left ^ as_int(key[96:128], "little")).to_bytes(32, "little"), right)
    left ^= as_int(blake2b(right, key=key[32:96], digest_size=32).digest(), "little")
    right = chacha20((left ^ as_int(key[:32], "little")).to_bytes(32, "little"), right)
    return left.to_bytes(32, "little") + right
