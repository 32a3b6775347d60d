"""The public data of an epoch that every spender needs, as stored and as fetched.

docs/protocol/07 §13.3 (stored forms), docs/protocol/09 §4 (fetched forms). Whoever fetches them compares
epoch and date with what was asked for, and calls `verify`: one bad server would spoil every ticket.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar

from zknym.bincode import Reader, byte_string, varint, vector
from zknym.coin_signatures import CoinIndexSignature, verify_coin_indices
from zknym.constants import TICKETS_PER_BOOK, VALIDITY_DAYS
from zknym.date_signatures import ExpirationDateSignature, verify_expiration_date
from zknym.dates import date_from_text, encode_date
from zknym.json_fields import Json, JsonObject, array, integer, member, text
from zknym.signer_keys import VerificationKey
from zknym.versioned import expect_revision


@dataclass(frozen=True, slots=True)
class EpochKey:
    """The master verification key of an epoch."""

    REVISION: ClassVar[int] = 2

    epoch_id: int
    key: VerificationKey

    def encode(self) -> bytes:
        """The stored form (bincode)."""
        return varint(self.epoch_id) + self.key.field()

    @classmethod
    def decode(cls, data: bytes, revision: int = REVISION) -> EpochKey:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        expect_revision("an epoch's key", revision, cls.REVISION)
        reader = Reader(data)
        epoch_key = cls(reader.varint(), VerificationKey.read(reader))
        reader.finish()
        return epoch_key

    @classmethod
    def decode_revision_1(cls, data: bytes, epoch_id: int) -> EpochKey:
        """Reads a row of an old database, where the epoch is another column. Raises `MalformedData`."""
        return cls(epoch_id, VerificationKey.decode(data))


@dataclass(frozen=True, slots=True)
class CoinSignatureSet:
    """The coin-index signatures of an epoch: one set serves all its books."""

    REVISION: ClassVar[int] = 2

    epoch_id: int
    signatures: tuple[CoinIndexSignature, ...]

    def verify(self, master: VerificationKey, *, key: VerificationKey | None = None) -> None:
        """Checks the set; `key` is the signer's when it is a share. Raises as `verify_coin_indices`."""
        verify_coin_indices(self.signatures, master, key=key)

    def encode(self) -> bytes:
        """The stored form (bincode)."""
        return varint(self.epoch_id) + vector(self.signatures, CoinIndexSignature.field)

    @classmethod
    def decode(cls, data: bytes, revision: int = REVISION) -> CoinSignatureSet:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        expect_revision("coin-index signatures", revision, cls.REVISION)
        reader = Reader(data)
        signatures = cls(reader.varint(), _coin_signatures(reader))
        reader.finish()
        return signatures

    @classmethod
    def decode_revision_1(cls, data: bytes, epoch_id: int) -> CoinSignatureSet:
        """Reads a row of an old database, where the epoch is another column. Raises `MalformedData`."""
        reader = Reader(data)
        signatures = _coin_signatures(reader)
        reader.finish()
        return cls(epoch_id, signatures)

    def to_json(self) -> JsonObject:
        """The body a signer answers with."""
        return {"epoch_id": self.epoch_id, "signatures": [item.to_json() for item in self.signatures]}

    @classmethod
    def from_json(cls, value: Json) -> CoinSignatureSet:
        """The inverse of `to_json`. Raises `MalformedData`."""
        items = array(member(value, "signatures"), TICKETS_PER_BOOK)
        return cls(
            integer(member(value, "epoch_id")), tuple(CoinIndexSignature.from_json(item) for item in items)
        )


@dataclass(frozen=True, slots=True)
class DateSignatureSet:
    """The seven date signatures of an epoch for one expiration date."""

    REVISION: ClassVar[int] = 2

    epoch_id: int
    expiration: date
    signatures: tuple[ExpirationDateSignature, ...]

    def verify(self, key: VerificationKey) -> None:
        """Checks the set under the master (or a signer's) key. Raises as `verify_expiration_date`."""
        verify_expiration_date(self.signatures, encode_date(self.expiration), key)

    def encode(self) -> bytes:
        """The stored form (bincode)."""
        return (
            varint(self.epoch_id)
            + byte_string(self.expiration.isoformat().encode())
            + vector(self.signatures, ExpirationDateSignature.field)
        )

    @classmethod
    def decode(cls, data: bytes, revision: int = REVISION) -> DateSignatureSet:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        expect_revision("expiration-date signatures", revision, cls.REVISION)
        reader = Reader(data)
        signatures = cls(reader.varint(), date_from_text(reader.text()), _date_signatures(reader))
        reader.finish()
        return signatures

    @classmethod
    def decode_revision_1(cls, data: bytes, epoch_id: int, expiration: date) -> DateSignatureSet:
        """Reads a row of an old database; epoch and date are other columns. Raises `MalformedData`."""
        reader = Reader(data)
        signatures = _date_signatures(reader)
        reader.finish()
        return cls(epoch_id, expiration, signatures)

    def to_json(self) -> JsonObject:
        """The body a signer answers with."""
        return {
            "epoch_id": self.epoch_id,
            "expiration_date": self.expiration.isoformat(),
            "signatures": [item.to_json() for item in self.signatures],
        }

    @classmethod
    def from_json(cls, value: Json) -> DateSignatureSet:
        """The inverse of `to_json`. Raises `MalformedData`."""
        items = array(member(value, "signatures"), VALIDITY_DAYS)
        return cls(
            integer(member(value, "epoch_id")),
            date_from_text(text(member(value, "expiration_date"))),
            tuple(ExpirationDateSignature.from_json(item) for item in items),
        )


def _coin_signatures(reader: Reader) -> tuple[CoinIndexSignature, ...]:
    return reader.vector(lambda: CoinIndexSignature.read(reader), TICKETS_PER_BOOK)


def _date_signatures(reader: Reader) -> tuple[ExpirationDateSignature, ...]:
    return reader.vector(lambda: ExpirationDateSignature.read(reader), VALIDITY_DAYS)
