"""Coin-index signatures: one per ticket number, the same for all books of an epoch (docs/protocol/07 §7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zknym.bincode import Reader, varint
from zknym.constants import MAX_U64, TICKETS_PER_BOOK, TYPE_COIN_INDEX
from zknym.curve import G1, native
from zknym.errors import CoinIndicesSignatureVerification, KeyTooShort
from zknym.hashing import hash_to_g1
from zknym.json_fields import Json, JsonObject, integer, member
from zknym.public_sets import combine, verify_line
from zknym.signatures import Signature
from zknym.signer_keys import SignerSecretKey, VerificationKey
from zknym.threshold import lagrange_at_origin

_KEY_LENGTH = 3
_INDEX_BYTES = 8


@dataclass(frozen=True, slots=True)
class CoinIndexSignature:
    """The signature of ticket number `index`."""

    signature: Signature
    index: int

    def to_json(self) -> JsonObject:
        """{"signature", "index"}."""
        return {"signature": self.signature.to_json(), "index": self.index}

    @classmethod
    def from_json(cls, value: Json) -> CoinIndexSignature:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(Signature.from_json(member(value, "signature")), integer(member(value, "index")))

    def field(self) -> bytes:
        """The form inside of bincode structures."""
        return self.signature.field() + varint(self.index)

    @classmethod
    def read(cls, reader: Reader) -> CoinIndexSignature:
        """The inverse of `field`. Raises `MalformedBincode`."""
        return cls(Signature.read(reader), reader.varint(MAX_U64))


def sign_coin_indices(
    secret: SignerSecretKey, master: VerificationKey, *, tickets: int = TICKETS_PER_BOOK
) -> tuple[CoinIndexSignature, ...]:
    """A signer's share of the set for the epoch of `master`. Raises `KeyTooShort`."""
    if len(secret.ys) < _KEY_LENGTH:
        raise KeyTooShort(f"signing coin indices needs {_KEY_LENGTH} y values, this key has {len(secret.ys)}")
    constant = secret.x + (secret.ys[1] + secret.ys[2]) * TYPE_COIN_INDEX
    return tuple(
        CoinIndexSignature(Signature(h, h * native(constant + secret.ys[0] * index)), index)
        for index, h in enumerate(_hashes(master, tickets))
    )


def verify_coin_indices(
    signatures: Sequence[CoinIndexSignature],
    master: VerificationKey,
    *,
    key: VerificationKey | None = None,
    tickets: int = TICKETS_PER_BOOK,
) -> None:
    """Checks a whole set: complete, in order, and valid under `key` (a signer's; default: `master`).

    Raises `CoinIndicesSignatureVerification`, `VerificationKeyTooShort`.
    """
    _verify(signatures, _hashes(master, tickets), key or master)


def aggregate_coin_indices(
    shares: Sequence[tuple[int, VerificationKey, Sequence[CoinIndexSignature]]],
    master: VerificationKey,
    *,
    tickets: int = TICKETS_PER_BOOK,
) -> tuple[CoinIndexSignature, ...]:
    """The epoch's set out of (signer index, signer key, share) of a threshold of signers.

    Every share and the result are verified. Raises `CoinIndicesSignatureVerification` and the errors of
    `lagrange_at_origin`.
    """
    indices = [index for index, _, _ in shares]
    lagrange_at_origin(indices)
    hashes = _hashes(master, tickets)
    for _, key, share in shares:
        _verify(share, hashes, key)
    combined = combine(indices, hashes, [[item.signature for item in share] for _, _, share in shares])
    result = tuple(CoinIndexSignature(signature, index) for index, signature in enumerate(combined))
    _verify(result, hashes, master)
    return result


def _hashes(master: VerificationKey, tickets: int) -> list[G1]:
    prefix = master.encode()
    return [hash_to_g1(prefix + index.to_bytes(_INDEX_BYTES, "little")) for index in range(tickets)]


def _verify(signatures: Sequence[CoinIndexSignature], hashes: list[G1], key: VerificationKey) -> None:
    if [item.index for item in signatures] != list(range(len(hashes))):
        raise CoinIndicesSignatureVerification(
            f"not {len(hashes)} coin-index signatures in order: fetch the set from another signer"
        )
    constant = key.alpha + key.prepared.coin_shift
    bare = [item.signature for item in signatures]
    if not verify_line(hashes, bare, constant, key.beta_g2[0], range(len(hashes))):
        raise CoinIndicesSignatureVerification(
            "the coin-index signatures do not verify: wrong epoch, or fetch the set from another signer"
        )
