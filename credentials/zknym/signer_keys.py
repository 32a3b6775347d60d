"""Keys of signers, with every form they are stored and sent in (docs/protocol/07 §4.1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from zknym.base58 import Base58Text
from zknym.bincode import Reader, g1_field, g2_field, vector
from zknym.constants import G1_BYTES, G2_BYTES, SCALAR_BYTES
from zknym.curve import (
    G1,
    G2,
    decode_g1,
    decode_g2,
    decode_scalar,
    encode_g1,
    encode_g2,
    encode_scalar,
)
from zknym.errors import InvalidArgument, MalformedData, WrongLength
from zknym.generators import BASE_G1, BASE_G2
from zknym.json_fields import Json, JsonObject, array, g1, g2, member
from zknym.pem import SIGNER_SECRET_TAG, VERIFICATION_KEY_TAG, from_pem, to_pem
from zknym.prepared_key import PreparedKey

_COUNT_BYTES: Final = 8
_MOST_ATTRIBUTES: Final = 64
"""More y values than any key will have; bounds the work that a decoder can be made to do."""


@dataclass(frozen=True, slots=True)
class SignerSecretKey:
    """A signer's x and y values. On the network there are 4 y values, in trusted-party keys 5."""

    x: int = field(repr=False)
    ys: tuple[int, ...] = field(repr=False)

    def verification_key(self) -> VerificationKey:
        """The public half."""
        return VerificationKey(
            alpha=BASE_G2.times(self.x),
            beta_g1=tuple(BASE_G1.times(y) for y in self.ys),
            beta_g2=tuple(BASE_G2.times(y) for y in self.ys),
        )

    def encode(self) -> bytes:
        """x ‖ count ‖ y…: 168 bytes for 4 values."""
        return encode_scalar(self.x) + _count(self.ys) + b"".join(encode_scalar(y) for y in self.ys)

    @classmethod
    def decode(cls, data: bytes) -> SignerSecretKey:
        """The inverse of `encode`. Raises `WrongLength`, `MalformedScalar`."""
        count = _read_count(data, SCALAR_BYTES, SCALAR_BYTES)
        x, *ys = _slices(data[:SCALAR_BYTES] + data[SCALAR_BYTES + _COUNT_BYTES :], SCALAR_BYTES)
        assert len(ys) == count
        return cls(decode_scalar(x), tuple(decode_scalar(y) for y in ys))

    def to_pem(self) -> str:
        """A PEM file as the reference writes it."""
        return to_pem(SIGNER_SECRET_TAG, self.encode())

    @classmethod
    def from_pem(cls, text: str) -> SignerSecretKey:
        """The inverse of `to_pem`. Raises `MalformedData`."""
        return cls.decode(from_pem(SIGNER_SECRET_TAG, text))


@dataclass(frozen=True, slots=True)
class VerificationKey(Base58Text):
    """A signer's public key, or the master key of an epoch.

    The bytes of a key are hashed into proofs: whatever number of y values it has, it keeps.
    """

    alpha: G2
    beta_g1: tuple[G1, ...] = field(repr=False)
    beta_g2: tuple[G2, ...] = field(repr=False)
    _encoded: bytes | None = field(default=None, init=False, repr=False, compare=False)
    _prepared: PreparedKey | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.beta_g1 or len(self.beta_g1) != len(self.beta_g2):
            raise InvalidArgument("a verification key needs as many β in G1 as in G2, and at least one")

    @property
    def prepared(self) -> PreparedKey:
        """Tables for spending and verifying under this key, made at the first use and kept.

        Raises `VerificationKeyTooShort` for fewer than 4 y values.
        """
        if self._prepared is None:
            object.__setattr__(self, "_prepared", PreparedKey(self.alpha, self.beta_g2))
        assert self._prepared is not None
        return self._prepared

    def encode(self) -> bytes:
        """α ‖ count ‖ β1… ‖ β2…: 680 bytes for 4 values, 824 for 5."""
        if self._encoded is None:
            encoded = (
                encode_g2(self.alpha)
                + _count(self.beta_g1)
                + b"".join(encode_g1(point) for point in self.beta_g1)
                + b"".join(encode_g2(point) for point in self.beta_g2)
            )
            object.__setattr__(self, "_encoded", encoded)
        assert self._encoded is not None
        return self._encoded

    @classmethod
    def decode(cls, data: bytes) -> VerificationKey:
        """The inverse of `encode`. Raises `WrongLength`, `MalformedPoint`."""
        count = _read_count(data, G2_BYTES, G1_BYTES + G2_BYTES)
        start = G2_BYTES + _COUNT_BYTES
        middle = start + count * G1_BYTES
        return cls(
            alpha=decode_g2(data[:G2_BYTES]),
            beta_g1=tuple(decode_g1(part) for part in _slices(data[start:middle], G1_BYTES)),
            beta_g2=tuple(decode_g2(part) for part in _slices(data[middle:], G2_BYTES)),
        )

    def to_pem(self) -> str:
        """A PEM file as the reference writes it."""
        return to_pem(VERIFICATION_KEY_TAG, self.encode())

    @classmethod
    def from_pem(cls, text: str) -> VerificationKey:
        """The inverse of `to_pem`. Raises `MalformedData`."""
        return cls.decode(from_pem(VERIFICATION_KEY_TAG, text))

    def to_json(self) -> JsonObject:
        """{"alpha", "beta_g1", "beta_g2"}."""
        return {
            "alpha": encode_g2(self.alpha).hex(),
            "beta_g1": [encode_g1(point).hex() for point in self.beta_g1],
            "beta_g2": [encode_g2(point).hex() for point in self.beta_g2],
        }

    @classmethod
    def from_json(cls, value: Json) -> VerificationKey:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return _checked_key(
            g2(member(value, "alpha")),
            tuple(g1(point) for point in array(member(value, "beta_g1"), _MOST_ATTRIBUTES)),
            tuple(g2(point) for point in array(member(value, "beta_g2"), _MOST_ATTRIBUTES)),
        )

    def field(self) -> bytes:
        """The form inside of stored structures (bincode), which differs from `encode`."""
        return g2_field(self.alpha) + vector(self.beta_g1, g1_field) + vector(self.beta_g2, g2_field)

    @classmethod
    def read(cls, reader: Reader) -> VerificationKey:
        """The inverse of `field`. Raises `MalformedData`."""
        return _checked_key(
            reader.g2(),
            reader.vector(reader.g1, _MOST_ATTRIBUTES),
            reader.vector(reader.g2, _MOST_ATTRIBUTES),
        )


def _checked_key(alpha: G2, beta_g1: tuple[G1, ...], beta_g2: tuple[G2, ...]) -> VerificationKey:
    try:
        return VerificationKey(alpha, beta_g1, beta_g2)
    except InvalidArgument as error:
        raise MalformedData(str(error)) from error


def _count(values: tuple[object, ...]) -> bytes:
    return len(values).to_bytes(_COUNT_BYTES, "little")


def _read_count(data: bytes, head: int, size: int) -> int:
    """The count that follows `head` bytes, checked against what is there: `size` bytes per value."""
    count = int.from_bytes(data[head : head + _COUNT_BYTES], "little")
    if not 0 < count <= _MOST_ATTRIBUTES or len(data) != head + _COUNT_BYTES + count * size:
        raise WrongLength("a signer's key whose length does not fit its number of y values")
    return count


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
