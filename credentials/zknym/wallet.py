"""From signers' answers to a wallet (docs/protocol/07 §9.3, §9.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from zknym.bincode import Reader, scalar_field, varint
from zknym.constants import MAX_U32, MAX_U64, SCALAR_BYTES, SIGNED_ATTRIBUTES
from zknym.curve import G1_IDENTITY, decode_scalar, encode_scalar, g1_sum
from zknym.dates import EncodedDate
from zknym.errors import (
    AggregationVerification,
    IdentitySignature,
    InvalidArgument,
    IssuanceVerification,
    MalformedData,
    VerificationKeyTooShort,
    WrongLength,
)
from zknym.json_fields import Json, JsonObject, integer, member, scalar
from zknym.prepared_key import key_point
from zknym.signatures import SIGNATURE_BYTES, BlindedSignature, Signature
from zknym.signer_keys import VerificationKey
from zknym.threshold import lagrange_at_origin
from zknym.user_keys import UserSecretKey
from zknym.withdrawal import RequestInfo

_LARGEST_TYPE = 255
_DATE_BYTES = 4
_COUNTER_BYTES = 8
_PARTIAL_WALLET_BYTES = SIGNATURE_BYTES + 3 * SCALAR_BYTES + _COUNTER_BYTES
_WALLET_SIGNATURES_BYTES = SIGNATURE_BYTES + SCALAR_BYTES + _DATE_BYTES + 1


@dataclass(frozen=True, slots=True)
class PartialWallet:
    """One signer's unblinded, verified share of a book."""

    signature: Signature = field(repr=False)
    wallet_secret: int = field(repr=False)
    expiration: EncodedDate
    ticket_type: int
    index: int

    def encode(self) -> bytes:
        """200 bytes."""
        return (
            self.signature.encode()
            + encode_scalar(self.wallet_secret)
            + encode_scalar(self.expiration)
            + encode_scalar(self.ticket_type)
            + self.index.to_bytes(_COUNTER_BYTES, "little")
        )

    @classmethod
    def decode(cls, data: bytes) -> PartialWallet:
        """The inverse of `encode`. Raises `MalformedData`."""
        if len(data) != _PARTIAL_WALLET_BYTES:
            raise WrongLength(f"a partial wallet has {_PARTIAL_WALLET_BYTES} bytes, not {len(data)}")
        scalars = data[SIGNATURE_BYTES:-_COUNTER_BYTES]
        secret, expiration, ticket_type = (
            decode_scalar(scalars[start : start + SCALAR_BYTES])
            for start in range(0, len(scalars), SCALAR_BYTES)
        )
        if expiration > MAX_U32 or ticket_type > _LARGEST_TYPE:
            raise MalformedData("a partial wallet with an impossible date or ticket type")
        index = int.from_bytes(data[-_COUNTER_BYTES:], "little")
        return cls(Signature.decode(data[:SIGNATURE_BYTES]), secret, expiration, ticket_type, index)


@dataclass(frozen=True, slots=True)
class WalletSignatures:
    """A book: the signature of the epoch's key over the user's and the wallet's secret, date and type."""

    signature: Signature = field(repr=False)
    wallet_secret: int = field(repr=False)
    expiration: EncodedDate
    ticket_type: int

    def encode(self) -> bytes:
        """133 bytes."""
        return (
            self.signature.encode()
            + encode_scalar(self.wallet_secret)
            + self.expiration.to_bytes(_DATE_BYTES, "big")
            + bytes([self.ticket_type])
        )

    @classmethod
    def decode(cls, data: bytes) -> WalletSignatures:
        """The inverse of `encode`. Raises `MalformedData`."""
        if len(data) != _WALLET_SIGNATURES_BYTES:
            raise WrongLength(f"wallet signatures have {_WALLET_SIGNATURES_BYTES} bytes, not {len(data)}")
        middle = SIGNATURE_BYTES + SCALAR_BYTES
        return cls(
            Signature.decode(data[:SIGNATURE_BYTES]),
            decode_scalar(data[SIGNATURE_BYTES:middle]),
            int.from_bytes(data[middle:-1], "big"),
            data[-1],
        )

    def to_json(self) -> JsonObject:
        """The JSON form: the secret in clear."""
        return {
            "sig": self.signature.to_json(),
            "v": encode_scalar(self.wallet_secret).hex(),
            "expiration_date_timestamp": self.expiration,
            "t_type": self.ticket_type,
        }

    @classmethod
    def from_json(cls, value: Json) -> WalletSignatures:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            Signature.from_json(member(value, "sig")),
            scalar(member(value, "v")),
            integer(member(value, "expiration_date_timestamp"), MAX_U32),
            integer(member(value, "t_type"), _LARGEST_TYPE),
        )

    def field(self) -> bytes:
        """The form inside of stored structures (bincode), which differs from `encode`."""
        return (
            self.signature.field()
            + scalar_field(self.wallet_secret)
            + varint(self.expiration)
            + bytes([self.ticket_type])
        )

    @classmethod
    def read(cls, reader: Reader) -> WalletSignatures:
        """The inverse of `field`. Raises `MalformedBincode`."""
        return cls(Signature.read(reader), reader.scalar(), reader.varint(MAX_U32), reader.u8())


@dataclass(frozen=True, slots=True)
class Wallet:
    """A book and how many of its tickets are gone. Store the new count *before* a payment leaves."""

    signatures: WalletSignatures
    tickets_spent: int = 0

    def encode(self) -> bytes:
        """141 bytes."""
        return self.signatures.encode() + self.tickets_spent.to_bytes(_COUNTER_BYTES, "big")

    @classmethod
    def decode(cls, data: bytes) -> Wallet:
        """The inverse of `encode`. Raises `MalformedData`."""
        spent = int.from_bytes(data[_WALLET_SIGNATURES_BYTES:], "big")
        if len(data) != _WALLET_SIGNATURES_BYTES + _COUNTER_BYTES:
            raise WrongLength(f"a wallet has {_WALLET_SIGNATURES_BYTES + _COUNTER_BYTES} bytes")
        return cls(WalletSignatures.decode(data[:_WALLET_SIGNATURES_BYTES]), spent)

    def to_json(self) -> JsonObject:
        """The JSON form: the secret in clear."""
        return {"signatures": self.signatures.to_json(), "tickets_spent": self.tickets_spent}

    @classmethod
    def from_json(cls, value: Json) -> Wallet:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            WalletSignatures.from_json(member(value, "signatures")),
            integer(member(value, "tickets_spent"), MAX_U64),
        )


def unblind(
    blinded: BlindedSignature, info: RequestInfo, user: UserSecretKey, key: VerificationKey, index: int
) -> PartialWallet:
    """Takes the blinding off the answer of signer number `index` and verifies it under that signer's `key`.

    Raises `IssuanceVerification`, `IdentitySignature`, `VerificationKeyTooShort`: drop this share, the
    others are not touched by it.
    """
    if blinded.h != info.commitment_hash:
        raise IssuanceVerification(
            "the signer answered another request: it keeps its first answer to a deposit, so repeat that one"
        )
    if blinded.h == G1_IDENTITY:
        raise IdentitySignature("the signer's answer is the point at infinity")
    _need_long_key(key)
    blinding = g1_sum(list(zip(key.beta_g1[:2], info.openings, strict=True)))
    signature = Signature(blinded.h, blinded.c - blinding)
    attributes = (user.scalar, info.wallet_secret, info.expiration, info.ticket_type)
    if not signature.verifies(key_point(key.alpha, key.beta_g2, attributes)):
        raise IssuanceVerification("the signer's share does not verify: wrong key, user or answer")
    return PartialWallet(signature, info.wallet_secret, info.expiration, info.ticket_type, index)


def aggregate_wallet(
    shares: Sequence[PartialWallet], user: UserSecretKey, master: VerificationKey
) -> WalletSignatures:
    """Combines the shares of a threshold of signers and verifies the result under the master key.

    More shares than the threshold are fine. Raises `IdentitySignature`, `AggregationVerification`,
    `InvalidArgument` for shares of different books, and the errors of `lagrange_at_origin`.
    """
    factors = lagrange_at_origin([share.index for share in shares])
    first = shares[0]
    book = (first.signature.h, first.wallet_secret, first.expiration, first.ticket_type)
    for share in shares:
        if share.signature.at_infinity:
            raise IdentitySignature("a share contains the point at infinity")
        if (share.signature.h, share.wallet_secret, share.expiration, share.ticket_type) != book:
            raise InvalidArgument("shares of different books cannot be combined")
    s = g1_sum([(share.signature.s, factor) for share, factor in zip(shares, factors, strict=True)])
    book_signature = Signature(first.signature.h, s)
    wallet = WalletSignatures(book_signature, first.wallet_secret, first.expiration, first.ticket_type)
    verify_wallet(wallet, user, master)
    return wallet


def verify_wallet(wallet: WalletSignatures, user: UserSecretKey, master: VerificationKey) -> None:
    """Whether a book is worth its tickets: worth asking of books that come from elsewhere.

    Raises `IdentitySignature`, `AggregationVerification`, `VerificationKeyTooShort`.
    """
    _need_long_key(master)
    if wallet.signature.at_infinity:
        raise IdentitySignature("the book's signature contains the point at infinity")
    attributes = (user.scalar, wallet.wallet_secret, wallet.expiration, wallet.ticket_type)
    if not wallet.signature.verifies(key_point(master.alpha, master.beta_g2, attributes)):
        raise AggregationVerification("too few shares, or a book that does not belong to this epoch's key")


def _need_long_key(key: VerificationKey) -> None:
    if len(key.beta_g2) < SIGNED_ATTRIBUTES:
        raise VerificationKeyTooShort(f"books need keys of {SIGNED_ATTRIBUTES} y values")
