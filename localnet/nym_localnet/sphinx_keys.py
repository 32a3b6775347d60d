"""A node's long-term secrets and the Sphinx keys of its current and previous key rotation.

docs/protocol/02 §2.1: a frame says which parity of rotation its packet was made for. Odd and even choose
the key of that parity; *unknown* tries the primary key and, when the header does not authenticate, the
secondary one. A key that has been rotated out twice is gone, and packets for its parity are dropped.

All keys of a node derive from one seed, so that a network with a kept folder comes back with the same
identities and a worker process can be told to rotate by a number alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from nym_localnet.replay import ReplayFilter
from nym_mixnet.keys import ACK_KEY_BYTES, ClientKeys
from nym_sphinx import KeyRotation, x25519_public

SEED_BYTES: Final = 32


def derive(seed: bytes, purpose: str, number: int = 0) -> bytes:
    """32 bytes for one purpose; the same seed always gives the same bytes."""
    if len(seed) != SEED_BYTES:
        raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
    label = f"nym_localnet {purpose} {number}".encode()
    return hashlib.blake2b(label, key=seed, digest_size=32).digest()


def identity_private(seed: bytes) -> bytes:
    """The Ed25519 seed of the node's identity."""
    return derive(seed, "identity")


def sphinx_private(seed: bytes, rotation_id: int) -> bytes:
    """The node's X25519 private key for one key rotation."""
    return derive(seed, "sphinx", rotation_id)


@dataclass(frozen=True, slots=True)
class SphinxKey:
    """One private key with the tags of the packets that it has opened."""

    rotation_id: int
    private: bytes = field(repr=False)
    public: bytes
    replay: ReplayFilter = field(repr=False)

    @classmethod
    def for_rotation(cls, seed: bytes, rotation_id: int) -> SphinxKey:
        """The key that the node of this seed uses in that rotation."""
        private = sphinx_private(seed, rotation_id)
        return cls(rotation_id, private, x25519_public(private), ReplayFilter())


class KeyRing:
    """The primary key and the one before it."""

    __slots__ = ("_by_rotation", "_seed", "primary", "secondary")

    def __init__(self, seed: bytes, rotation_id: int) -> None:
        self._seed = seed
        self.primary = SphinxKey.for_rotation(seed, rotation_id)
        self.secondary: SphinxKey | None = None
        self._by_rotation: dict[KeyRotation, tuple[SphinxKey, ...]] = {}
        self._index()

    def candidates(self, rotation: KeyRotation) -> tuple[SphinxKey, ...]:
        """The keys to try for a frame with that rotation byte, in order; none for an expired parity."""
        return self._by_rotation[rotation]

    def rotate(self, rotation_id: int) -> None:
        """Make `rotation_id` current; the key that was current stays as secondary until the next rotation."""
        if rotation_id == self.primary.rotation_id:
            return
        self.secondary = self.primary
        self.primary = SphinxKey.for_rotation(self._seed, rotation_id)
        self._index()

    def _index(self) -> None:
        keys = (self.primary,) if self.secondary is None else (self.primary, self.secondary)
        self._by_rotation = {
            rotation: tuple(key for key in keys if KeyRotation.from_id(key.rotation_id) is rotation)
            for rotation in KeyRotation
        }
        self._by_rotation[KeyRotation.UNKNOWN] = keys


def exit_keys(seed: bytes) -> ClientKeys:
    """The keys of an exit, which is a client: its address is known before it starts."""
    ack_key = derive(seed, "acks")[:ACK_KEY_BYTES]
    return ClientKeys(derive(seed, "identity"), derive(seed, "encryption"), ack_key)
