"""What signers answer to those who want tickets: shares, keys and public signatures (docs/protocol/09 §2–§4).

The request of blind-sign is `zknym.SignRequest`; the answers here hold the types of zknym. Whoever fetched them
compares epoch and date with what was asked for, and verifies.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nym_credentials.signers.wire import Body, WireReader, byte_string, varint
from zknym import (
    BlindedSignature,
    CoinIndexSignature,
    CoinSignatureSet,
    DateSignatureSet,
    ExpirationDateSignature,
    Signature,
    VerificationKey,
)
from zknym.bincode import g1_field
from zknym.constants import MAX_U32, TICKETS_PER_BOOK, VALIDITY_DAYS
from zknym.dates import date_from_text
from zknym.json_fields import Json, JsonObject, member


@dataclass(frozen=True, slots=True)
class BlindSignAnswer(Body):
    """A signer's share of a book, blinded."""

    blinded: BlindedSignature = field(repr=False)

    def to_json(self) -> JsonObject:
        return {"blinded_signature": self.blinded.to_json()}

    @classmethod
    def from_json(cls, value: Json) -> BlindSignAnswer:
        return cls(BlindedSignature.from_json(member(value, "blinded_signature")))

    def to_bincode(self) -> bytes:
        return g1_field(self.blinded.h) + g1_field(self.blinded.c)

    @classmethod
    def read(cls, reader: WireReader) -> BlindSignAnswer:
        return cls(BlindedSignature(reader.g1(), reader.g1()))


@dataclass(frozen=True, slots=True)
class MasterKeyAnswer(Body):
    """The key that verifies the tickets of an epoch. It does not say which epoch."""

    key: VerificationKey

    def to_json(self) -> JsonObject:
        return {"key": self.key.to_json()}

    @classmethod
    def from_json(cls, value: Json) -> MasterKeyAnswer:
        return cls(VerificationKey.from_json(member(value, "key")))

    def to_bincode(self) -> bytes:
        return self.key.field()

    @classmethod
    def read(cls, reader: WireReader) -> MasterKeyAnswer:
        return cls(VerificationKey.read(reader))


@dataclass(frozen=True, slots=True)
class CoinSignaturesAnswer(Body):
    """The coin-index signatures of an epoch, one signer's or all signers' together."""

    signatures: CoinSignatureSet

    def to_json(self) -> JsonObject:
        return self.signatures.to_json()

    @classmethod
    def from_json(cls, value: Json) -> CoinSignaturesAnswer:
        return cls(CoinSignatureSet.from_json(value))

    def to_bincode(self) -> bytes:
        items = self.signatures.signatures
        return (
            varint(self.signatures.epoch_id)
            + varint(len(items))
            + b"".join(item.signature.field() + varint(item.index) for item in items)
        )

    @classmethod
    def read(cls, reader: WireReader) -> CoinSignaturesAnswer:
        epoch_id = reader.varint()
        items = reader.vector(
            lambda: CoinIndexSignature(Signature.read(reader), reader.varint()), TICKETS_PER_BOOK
        )
        return cls(CoinSignatureSet(epoch_id, items))


@dataclass(frozen=True, slots=True)
class DateSignaturesAnswer(Body):
    """The date signatures of an epoch for one expiration date, one signer's or all signers' together."""

    signatures: DateSignatureSet

    def to_json(self) -> JsonObject:
        return self.signatures.to_json()

    @classmethod
    def from_json(cls, value: Json) -> DateSignaturesAnswer:
        return cls(DateSignatureSet.from_json(value))

    def to_bincode(self) -> bytes:
        items = self.signatures.signatures
        return (
            varint(self.signatures.epoch_id)
            + byte_string(self.signatures.expiration.isoformat())
            + varint(len(items))
            + b"".join(
                item.signature.field() + varint(item.expiration) + varint(item.spend_date) for item in items
            )
        )

    @classmethod
    def read(cls, reader: WireReader) -> DateSignaturesAnswer:
        epoch_id, expiration = reader.varint(), date_from_text(reader.text())
        items = reader.vector(
            lambda: ExpirationDateSignature(
                Signature.read(reader), reader.varint(MAX_U32), reader.varint(MAX_U32)
            ),
            VALIDITY_DAYS,
        )
        return cls(DateSignatureSet(epoch_id, expiration, items))
