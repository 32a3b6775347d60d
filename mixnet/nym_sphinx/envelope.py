"""End-to-end encryption of one fragment (docs/protocol/02 §6, §8).

For a recipient whose address is known, or for the unknown maker of a reply SURB.

There is no authentication at this level: the payload cipher guards against nodes, nothing guards against the
last gateway.
"""

from __future__ import annotations

import random
from typing import Final

from nym_sphinx.ciphers import aes_ctr
from nym_sphinx.constants import KEY_BYTES
from nym_sphinx.curve import CryptoError, x25519, x25519_base
from nym_sphinx.errors import BadKey, MalformedMessage, MalformedRecipient
from nym_sphinx.kdf import envelope_key
from nym_sphinx.rng import SYSTEM_RNG
from nym_sphinx.sizes import ENVELOPE_KEY_BYTES
from nym_sphinx.surb import REPLY_KEY_BYTES, reply_key_digest

DIGEST_BYTES: Final = ENVELOPE_KEY_BYTES
"""The head of a received message: the digest of a known reply key, otherwise an ephemeral public key."""


def seal_for(encryption_key: bytes, fragment: bytes, *, rng: random.Random = SYSTEM_RNG) -> bytes:
    """Encrypt for a recipient's X25519 key: ephemeral public key (32) and ciphertext.

    Raises ``MalformedRecipient``.
    """
    if len(encryption_key) != KEY_BYTES:
        raise MalformedRecipient(f"an encryption key has {KEY_BYTES} bytes, not {len(encryption_key)}")
    ephemeral = rng.randbytes(KEY_BYTES)
    try:
        dh = x25519(ephemeral, encryption_key)
    except CryptoError:
        raise MalformedRecipient("a recipient whose encryption key is a point of small order") from None
    return x25519_base(ephemeral) + aes_ctr(envelope_key(dh), fragment)


def decoy_envelope(fragment_bytes: int, *, rng: random.Random = SYSTEM_RNG) -> bytes:
    """What looks to everybody like ``seal_for`` of a fragment of that length, and holds nothing.

    Its maker tells it by its first 32 bytes, so that neither end needs a Diffie-Hellman call. They are made like
    every ephemeral key: random bytes would lie on the curve's twist every other time, which a gateway can see.
    """
    return x25519_base(rng.randbytes(KEY_BYTES)) + rng.randbytes(fragment_bytes)


def open_sealed(encryption_private: bytes, message: bytes) -> bytes:
    """Decrypt a message sealed for our X25519 key. Raises ``MalformedMessage``; a wrong key gives noise."""
    if len(message) < KEY_BYTES:
        raise MalformedMessage(f"{len(message)} bytes are too short for a message")
    if len(encryption_private) != KEY_BYTES:
        raise BadKey(f"a decryption key has {KEY_BYTES} bytes, not {len(encryption_private)}")
    try:
        dh = x25519(encryption_private, message[:KEY_BYTES])
    except CryptoError:
        raise MalformedMessage("a message whose key is a point of small order") from None
    return aes_ctr(envelope_key(dh), message[KEY_BYTES:])


def seal_reply(reply_key: bytes, fragment: bytes) -> bytes:
    """Encrypt with the key that came with a SURB: digest of the key (32) and ciphertext.

    Raises ``MalformedMessage``.
    """
    _check_reply_key(reply_key)
    return reply_key_digest(reply_key) + aes_ctr(reply_key, fragment)


def open_reply(reply_key: bytes, ciphertext: bytes) -> bytes:
    """Decrypt what stands behind the digest. Raises ``BadKey``."""
    _check_reply_key(reply_key)
    return aes_ctr(reply_key, ciphertext)


def _check_reply_key(reply_key: bytes) -> None:
    if len(reply_key) != REPLY_KEY_BYTES:
        raise BadKey(f"a reply key has {REPLY_KEY_BYTES} bytes, not {len(reply_key)}")
