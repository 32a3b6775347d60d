"""Whom and when a payment is for: the 72 bytes that tie a payment to one gateway and moment.

docs/protocol/07 §11.1, §13.2.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from zknym.base58 import Base58Text
from zknym.constants import PAY_INFO_BYTES, PAY_INFO_TOLERANCE_SECONDS
from zknym.errors import PayInfoRejected, WrongLength
from zknym.hashing import hash_to_scalar
from zknym.json_fields import Json, byte_array

_RANDOM_BYTES = 32
_TIME_BYTES = 8
_INDEX_BYTES = 8


@dataclass(frozen=True, slots=True)
class PayInfo(Base58Text):
    """32 random bytes, unix time in seconds, Ed25519 identity key of the gateway (32 bytes)."""

    random: bytes
    timestamp: int
    gateway_identity: bytes

    @classmethod
    def create(cls, gateway_identity: bytes, now_unix: float) -> PayInfo:
        """For a payment to that gateway now."""
        return cls(secrets.token_bytes(_RANDOM_BYTES), int(now_unix), gateway_identity)

    def encode(self) -> bytes:
        """72 bytes."""
        return self.random + self.timestamp.to_bytes(_TIME_BYTES, "big", signed=True) + self.gateway_identity

    @classmethod
    def decode(cls, data: bytes) -> PayInfo:
        """The inverse of `encode`. Raises `WrongLength`."""
        if len(data) != PAY_INFO_BYTES:
            raise WrongLength(f"pay-info has {PAY_INFO_BYTES} bytes, not {len(data)}")
        middle = _RANDOM_BYTES + _TIME_BYTES
        timestamp = int.from_bytes(data[_RANDOM_BYTES:middle], "big", signed=True)
        return cls(data[:_RANDOM_BYTES], timestamp, data[middle:])

    def to_json(self) -> list[int]:
        """An array of 72 numbers."""
        return list(self.encode())

    @classmethod
    def from_json(cls, value: Json) -> PayInfo:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls.decode(byte_array(value, PAY_INFO_BYTES))

    def check(self, gateway_identity: bytes, now_unix: float) -> None:
        """A gateway's check; that it has not seen the same pay-info before is for it to remember.

        Raises `PayInfoRejected`.
        """
        if self.gateway_identity != gateway_identity:
            raise PayInfoRejected("the payment is made out to another gateway")
        if abs(self.timestamp - now_unix) > PAY_INFO_TOLERANCE_SECONDS:
            raise PayInfoRejected(
                f"the payment's time is more than {PAY_INFO_TOLERANCE_SECONDS} s off: check the clocks"
            )

    def factor(self, position: int) -> int:
        """R_k: ties the k-th ticket of a payment to this pay-info. Two of them reveal a double spender."""
        return hash_to_scalar(self.encode() + position.to_bytes(_INDEX_BYTES, "little"))
