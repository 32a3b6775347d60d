"""The key that client and gateway share, and how it comes about (docs/protocol/03 §3).

AES-256-GCM-SIV with a fresh 12-byte nonce per message and no associated data; the key is
HKDF-BLAKE3 (RFC 5869 over ordinary HMAC with BLAKE3, block size 64) of an X25519 exchange.
"""

from __future__ import annotations

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from nym_mixnet.errors import MalformedGatewayMessage

SESSION_KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
KDF_SALT_BYTES = 16

_HMAC_BLOCK_BYTES = 64
_OUTER = bytes(b ^ 0x5C for b in range(256))
_INNER = bytes(b ^ 0x36 for b in range(256))

_UNDECRYPTABLE = "failed to either encrypt or decrypt provided message"
_BAD_NONCE = "the provided nonce (or legacy IV) did not have the expected length"


def hmac_blake3(key: bytes, data: bytes) -> bytes:
    """HMAC with BLAKE3 as the hash (not BLAKE3's own keyed mode). `key` has at most 64 bytes here."""
    block = key.ljust(_HMAC_BLOCK_BYTES, b"\0")
    inner = blake3(block.translate(_INNER) + data).digest()
    return blake3(block.translate(_OUTER) + inner).digest()


def derive_session_key(exchange: bytes, salt: bytes) -> SessionKey:
    """The session key of a registration from its X25519 result and the client's salt."""
    return SessionKey(hmac_blake3(hmac_blake3(salt, exchange), b"\x01"))


class SessionKey:
    """The shared key. Its bytes are in `raw` and nowhere else, least of all in `repr`."""

    __slots__ = ("_cipher", "raw")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != SESSION_KEY_BYTES:
            raise ValueError(f"a session key has {SESSION_KEY_BYTES} bytes, not {len(raw)}")
        self.raw = raw
        self._cipher = AESGCMSIV(raw)

    def seal(self, plaintext: bytes, nonce: bytes) -> bytes:
        """Ciphertext with the 16-byte tag at its end."""
        return self._cipher.encrypt(nonce, plaintext, None)

    def open(self, ciphertext: bytes, nonce: bytes) -> bytes:
        """The plaintext; `MalformedGatewayMessage` for a wrong nonce length, key, tag or length."""
        if len(nonce) != NONCE_BYTES:
            raise MalformedGatewayMessage(_BAD_NONCE)
        try:
            return self._cipher.decrypt(nonce, ciphertext, None)
        except (InvalidTag, ValueError):
            raise MalformedGatewayMessage(_UNDECRYPTABLE) from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionKey) and other.raw == self.raw

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return "SessionKey(…)"
