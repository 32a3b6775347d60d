"""Keys of users (docs/protocol/07 §4.2)."""

from __future__ import annotations

from dataclasses import dataclass, field

from zknym.base58 import Base58Text
from zknym.constants import SCALAR_BYTES
from zknym.curve import G1, decode_g1, decode_scalar, encode_g1, encode_scalar
from zknym.errors import MalformedData
from zknym.generators import BASE_G1
from zknym.hashing import hash_to_scalar
from zknym.json_fields import Json, JsonObject, g1, member, scalar
from zknym.randomness import Draw, random_scalar


@dataclass(frozen=True, slots=True)
class UserPublicKey(Base58Text):
    """g1·sk: what a double spender reveals."""

    point: G1

    def encode(self) -> bytes:
        """48 bytes."""
        return encode_g1(self.point)

    @classmethod
    def decode(cls, data: bytes) -> UserPublicKey:
        """The inverse of `encode`. Raises `MalformedPoint`."""
        return cls(decode_g1(data))

    def to_json(self) -> JsonObject:
        """{"pk"}."""
        return {"pk": self.encode().hex()}

    @classmethod
    def from_json(cls, value: Json) -> UserPublicKey:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(g1(member(value, "pk")))


@dataclass(frozen=True, slots=True)
class UserSecretKey:
    """The secret behind all books of one client. It may have any number of books."""

    scalar: int = field(repr=False)

    @classmethod
    def generate(cls, *, draw: Draw = random_scalar) -> UserSecretKey:
        """A fresh key."""
        return cls(draw())

    @classmethod
    def from_seed(cls, seed: bytes) -> UserSecretKey:
        """The key of a client known by `seed`: the reference passes the client's private identity key."""
        return cls(hash_to_scalar(seed))

    def public_key(self) -> UserPublicKey:
        """The public half."""
        return UserPublicKey(BASE_G1.times(self.scalar))

    def encode(self) -> bytes:
        """32 bytes."""
        return encode_scalar(self.scalar)

    @classmethod
    def decode(cls, data: bytes) -> UserSecretKey:
        """The inverse of `encode`. Raises `MalformedScalar`."""
        return cls(decode_scalar(data))

    def to_json(self) -> JsonObject:
        """{"sk"}: the secret in clear."""
        return {"sk": self.encode().hex()}

    @classmethod
    def from_json(cls, value: Json) -> UserSecretKey:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(scalar(member(value, "sk")))

    def encode_pair(self) -> bytes:
        """Secret and public key, 80 bytes."""
        return self.encode() + self.public_key().encode()

    @classmethod
    def decode_pair(cls, data: bytes) -> UserSecretKey:
        """The inverse of `encode_pair`. Raises `MalformedData`, also for halves that do not match."""
        secret = cls.decode(data[:SCALAR_BYTES])
        if secret.public_key() != UserPublicKey.decode(data[SCALAR_BYTES:]):
            raise MalformedData("a key pair whose halves do not belong together")
        return secret
