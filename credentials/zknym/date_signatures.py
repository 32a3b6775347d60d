"""Expiration-date signatures: one per day on which a book can be spent (docs/protocol/07 §8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zknym.bincode import Reader, varint
from zknym.constants import MAX_U32, SECONDS_PER_DAY, TYPE_EXPIRATION, VALIDITY_DAYS
from zknym.curve import G1, encode_scalar, native
from zknym.dates import EncodedDate, spend_dates
from zknym.errors import ExpirationDateSignatureVerification, KeyTooShort
from zknym.hashing import hash_to_g1
from zknym.json_fields import Json, JsonObject, integer, member
from zknym.public_sets import combine, verify_line
from zknym.signatures import Signature
from zknym.signer_keys import SignerSecretKey, VerificationKey
from zknym.threshold import lagrange_at_origin

_KEY_LENGTH = 3


@dataclass(frozen=True, slots=True)
class ExpirationDateSignature:
    """Permits to spend on `spend_date` a book that expires on `expiration` (both encoded dates)."""

    signature: Signature
    expiration: EncodedDate
    spend_date: EncodedDate

    def to_json(self) -> JsonObject:
        """{"signature", "expiration_timestamp", "spending_timestamp"}."""
        return {
            "signature": self.signature.to_json(),
            "expiration_timestamp": self.expiration,
            "spending_timestamp": self.spend_date,
        }

    @classmethod
    def from_json(cls, value: Json) -> ExpirationDateSignature:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            Signature.from_json(member(value, "signature")),
            integer(member(value, "expiration_timestamp"), MAX_U32),
            integer(member(value, "spending_timestamp"), MAX_U32),
        )

    def field(self) -> bytes:
        """The form inside of bincode structures."""
        return self.signature.field() + varint(self.expiration) + varint(self.spend_date)

    @classmethod
    def read(cls, reader: Reader) -> ExpirationDateSignature:
        """The inverse of `field`. Raises `MalformedBincode`."""
        return cls(Signature.read(reader), reader.varint(MAX_U32), reader.varint(MAX_U32))


def sign_expiration_date(
    secret: SignerSecretKey, expiration: EncodedDate
) -> tuple[ExpirationDateSignature, ...]:
    """A signer's share of the seven signatures for `expiration`. Raises `KeyTooShort`."""
    if len(secret.ys) < _KEY_LENGTH:
        raise KeyTooShort(f"signing dates needs {_KEY_LENGTH} y values, this key has {len(secret.ys)}")
    constant = secret.x + secret.ys[0] * expiration + secret.ys[2] * TYPE_EXPIRATION
    return tuple(
        ExpirationDateSignature(Signature(h, h * native(constant + secret.ys[1] * day)), expiration, day)
        for day, h in zip(spend_dates(expiration), _hashes(expiration), strict=True)
    )


def verify_expiration_date(
    signatures: Sequence[ExpirationDateSignature], expiration: EncodedDate, key: VerificationKey
) -> None:
    """Checks a whole set: all seven days of `expiration`, in order, valid under a signer's or the master key.

    Raises `ExpirationDateSignatureVerification`, `VerificationKeyTooShort`.
    """
    _verify(signatures, expiration, _hashes(expiration), key)


def aggregate_expiration_date(
    shares: Sequence[tuple[int, VerificationKey, Sequence[ExpirationDateSignature]]],
    expiration: EncodedDate,
    master: VerificationKey,
) -> tuple[ExpirationDateSignature, ...]:
    """The epoch's set for one date out of (signer index, signer key, share) of a threshold of signers.

    Every share and the result are verified. Raises `ExpirationDateSignatureVerification` and the errors
    of `lagrange_at_origin`.
    """
    indices = [index for index, _, _ in shares]
    lagrange_at_origin(indices)
    hashes = _hashes(expiration)
    for _, key, share in shares:
        _verify(share, expiration, hashes, key)
    combined = combine(indices, hashes, [[item.signature for item in share] for _, _, share in shares])
    result = tuple(
        ExpirationDateSignature(signature, expiration, day)
        for day, signature in zip(spend_dates(expiration), combined, strict=True)
    )
    _verify(result, expiration, hashes, master)
    return result


def _hashes(expiration: EncodedDate) -> list[G1]:
    prefix = encode_scalar(expiration)
    return [hash_to_g1(prefix + encode_scalar(day)) for day in spend_dates(expiration)]


def _verify(
    signatures: Sequence[ExpirationDateSignature],
    expiration: EncodedDate,
    hashes: list[G1],
    key: VerificationKey,
) -> None:
    days = spend_dates(expiration)
    if [(item.expiration, item.spend_date) for item in signatures] != [(expiration, day) for day in days]:
        raise ExpirationDateSignatureVerification(
            f"not the {VALIDITY_DAYS} date signatures of the wanted date in order: ask another signer"
        )
    first_day = key.prepared.spend_date_point(days[0])
    constant = key.alpha + key.beta_g2[0] * native(expiration) + first_day
    slope = key.beta_g2[1] * native(SECONDS_PER_DAY)
    bare = [item.signature for item in signatures]
    if not verify_line(hashes, bare, constant, slope, range(VALIDITY_DAYS)):
        raise ExpirationDateSignatureVerification(
            "the date signatures do not verify: wrong epoch or date, or ask another signer"
        )
