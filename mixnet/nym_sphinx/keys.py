"""X25519 key pairs and the other secrets that a client or node holds."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from nym_sphinx.acks import ACK_KEY_BYTES
from nym_sphinx.constants import KEY_BYTES
from nym_sphinx.curve import x25519_base
from nym_sphinx.errors import BadKey
from nym_sphinx.messages import SENDER_TAG_BYTES
from nym_sphinx.rng import SYSTEM_RNG


@dataclass(frozen=True, slots=True)
class X25519KeyPair:
    """A Sphinx key of a node, or the encryption key of a client. The private half stays out of ``repr``."""

    private: bytes = field(repr=False)
    public: bytes

    @classmethod
    def from_private(cls, private: bytes) -> X25519KeyPair:
        """The pair of a private key of 32 bytes."""
        return cls(private, x25519_public(private))

    @classmethod
    def generate(cls, rng: random.Random = SYSTEM_RNG) -> X25519KeyPair:
        """A fresh pair."""
        return cls.from_private(rng.randbytes(KEY_BYTES))


def x25519_public(private: bytes) -> bytes:
    """The public key of a private key, 32 bytes each. Raises ``BadKey``."""
    if len(private) != KEY_BYTES:
        raise BadKey(f"a private key has {KEY_BYTES} bytes, not {len(private)}")
    return x25519_base(private)


def generate_ack_key(rng: random.Random = SYSTEM_RNG) -> bytes:
    """A client's long-term secret for its acknowledgements."""
    return rng.randbytes(ACK_KEY_BYTES)


def generate_sender_tag(rng: random.Random = SYSTEM_RNG) -> bytes:
    """What a client is known by to one recipient of its repliable messages."""
    return rng.randbytes(SENDER_TAG_BYTES)
