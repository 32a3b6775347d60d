"""Asking signers for a ticketbook without showing them what is in it (docs/protocol/07 §9.1, §9.2).

The request commits to the user's secret and to the secret of the new wallet, and proves that it does.
Signers answer by deposit: a retry must repeat the very same request. So store the request *and* its
`RequestInfo` before either is used; without the latter no answer can be unblinded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zknym.base58 import Base58Text
from zknym.bincode import Reader, g1_field, scalar_field, vector
from zknym.constants import GROUP_ORDER, MAX_U32
from zknym.curve import G1, G1_IDENTITY, encode_g1, encode_scalar, g1_sum, native
from zknym.dates import EncodedDate
from zknym.errors import IdentityCommitmentHash, MalformedData, WithdrawalRequestVerification
from zknym.generators import BASE_G1, ENCODED_BASE_G1, ENCODED_GAMMAS, GAMMA
from zknym.hashing import challenge, hash_to_g1
from zknym.json_fields import Json, JsonObject, array, g1, member, scalar
from zknym.randomness import Draw, random_scalar
from zknym.user_keys import UserPublicKey, UserSecretKey

_PRIVATE_ATTRIBUTES = 2
_LARGEST_TYPE = 255


@dataclass(frozen=True, slots=True)
class WithdrawalProof:
    """Proof of knowledge of everything inside the commitments of a request."""

    challenge: int
    response_opening: int
    response_openings: tuple[int, int]
    response_attributes: tuple[int, int]

    def field(self) -> bytes:
        """The form inside of bincode structures."""
        return (
            scalar_field(self.challenge)
            + scalar_field(self.response_opening)
            + vector(self.response_openings, scalar_field)
            + vector(self.response_attributes, scalar_field)
        )

    @classmethod
    def read(cls, reader: Reader) -> WithdrawalProof:
        """The inverse of `field`. Raises `MalformedBincode`."""
        return cls(reader.scalar(), reader.scalar(), _scalar_pair(reader), _scalar_pair(reader))


@dataclass(frozen=True, slots=True)
class WithdrawalRequest(Base58Text):
    """What a signer sees: all commitments are blinded."""

    commitment_hash: G1
    commitment: G1
    attribute_commitments: tuple[G1, G1]
    proof: WithdrawalProof

    def encode(self) -> bytes:
        """397 bytes (bincode)."""
        return (
            g1_field(self.commitment_hash)
            + g1_field(self.commitment)
            + vector(self.attribute_commitments, g1_field)
            + self.proof.field()
        )

    @classmethod
    def read(cls, reader: Reader) -> WithdrawalRequest:
        """Reads the `encode`d form out of a larger structure. Raises `MalformedBincode`."""
        commitment_hash, commitment = reader.g1(), reader.g1()
        first, second = reader.vector(reader.g1, _PRIVATE_ATTRIBUTES, _PRIVATE_ATTRIBUTES)
        return cls(commitment_hash, commitment, (first, second), WithdrawalProof.read(reader))

    @classmethod
    def decode(cls, data: bytes) -> WithdrawalRequest:
        """The inverse of `encode`. Raises `MalformedBincode`."""
        reader = Reader(data)
        request = cls.read(reader)
        reader.finish()
        return request

    def to_json(self) -> JsonObject:
        """The member `inner_sign_request` of a signing request."""
        proof = self.proof
        return {
            "joined_commitment_hash": encode_g1(self.commitment_hash).hex(),
            "joined_commitment": encode_g1(self.commitment).hex(),
            "private_attributes_commitments": [encode_g1(c).hex() for c in self.attribute_commitments],
            "zk_proof": {
                "challenge": encode_scalar(proof.challenge).hex(),
                "response_opening": encode_scalar(proof.response_opening).hex(),
                "response_openings": [encode_scalar(z).hex() for z in proof.response_openings],
                "response_attributes": [encode_scalar(z).hex() for z in proof.response_attributes],
            },
        }

    @classmethod
    def from_json(cls, value: Json) -> WithdrawalRequest:
        """The inverse of `to_json`. Raises `MalformedData`."""
        first, second = _pair(member(value, "private_attributes_commitments"))
        proof = member(value, "zk_proof")
        return cls(
            g1(member(value, "joined_commitment_hash")),
            g1(member(value, "joined_commitment")),
            (g1(first), g1(second)),
            WithdrawalProof(
                scalar(member(proof, "challenge")),
                scalar(member(proof, "response_opening")),
                _json_scalar_pair(member(proof, "response_openings")),
                _json_scalar_pair(member(proof, "response_attributes")),
            ),
        )

    def verify(self, user: UserPublicKey, expiration: EncodedDate, ticket_type: int) -> None:
        """What a signer checks before it signs.

        Raises `IdentityCommitmentHash`, `WithdrawalRequestVerification`.
        """
        h, com, proof = self.commitment_hash, self.commitment, self.proof
        if h == G1_IDENTITY:
            raise IdentityCommitmentHash("the commitment hash is the point at infinity: refuse the request")
        if user.point == G1_IDENTITY:
            raise WithdrawalRequestVerification(
                "the user's key is the point at infinity: nobody could be held to account"
            )
        if _commitment_hash(com, expiration, ticket_type) != h:
            raise WithdrawalRequestVerification(
                "the commitment hash does not fit: the request is for another date or ticket type"
            )
        c, (w1, w2) = proof.challenge, proof.response_attributes
        openings = zip(
            self.attribute_commitments, proof.response_openings, proof.response_attributes, strict=True
        )
        expected = _challenge(
            h,
            com,
            self.attribute_commitments,
            user,
            [
                com * native(c)
                + BASE_G1.times(proof.response_opening)
                + GAMMA[0].times(w1)
                + GAMMA[1].times(w2),
                *(g1_sum([(point, c), (h, w)]) + BASE_G1.times(z) for point, z, w in openings),
                user.point * native(c) + BASE_G1.times(w1),
            ],
        )
        if expected != c:
            raise WithdrawalRequestVerification(
                "the proof is wrong: the request was altered or belongs to another user"
            )


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The secrets of one request. Whoever has them and the answers has the book."""

    commitment_hash: G1
    opening: int = field(repr=False)
    openings: tuple[int, int] = field(repr=False)
    wallet_secret: int = field(repr=False)
    expiration: EncodedDate
    ticket_type: int

    def encode(self) -> bytes:
        """248 bytes (bincode)."""
        return (
            g1_field(self.commitment_hash)
            + scalar_field(self.opening)
            + vector(self.openings, scalar_field)
            + scalar_field(self.wallet_secret)
            + scalar_field(self.expiration)
            + scalar_field(self.ticket_type)
        )

    @classmethod
    def decode(cls, data: bytes) -> RequestInfo:
        """The inverse of `encode`. Raises `MalformedData`."""
        reader = Reader(data)
        info = cls(
            reader.g1(),
            reader.scalar(),
            _scalar_pair(reader),
            reader.scalar(),
            _at_most(reader.scalar(), MAX_U32),
            _at_most(reader.scalar(), _LARGEST_TYPE),
        )
        reader.finish()
        return info

    def to_json(self) -> JsonObject:
        """The JSON form: the secrets in clear."""
        return {
            "joined_commitment_hash": encode_g1(self.commitment_hash).hex(),
            "joined_commitment_opening": encode_scalar(self.opening).hex(),
            "private_attributes_openings": [encode_scalar(o).hex() for o in self.openings],
            "wallet_secret": encode_scalar(self.wallet_secret).hex(),
            "expiration_date": encode_scalar(self.expiration).hex(),
            "t_type": encode_scalar(self.ticket_type).hex(),
        }

    @classmethod
    def from_json(cls, value: Json) -> RequestInfo:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            g1(member(value, "joined_commitment_hash")),
            scalar(member(value, "joined_commitment_opening")),
            _json_scalar_pair(member(value, "private_attributes_openings")),
            scalar(member(value, "wallet_secret")),
            _at_most(scalar(member(value, "expiration_date")), MAX_U32),
            _at_most(scalar(member(value, "t_type")), _LARGEST_TYPE),
        )


def request_withdrawal(
    user: UserSecretKey, expiration: EncodedDate, ticket_type: int, *, draw: Draw = random_scalar
) -> tuple[WithdrawalRequest, RequestInfo]:
    """A request for one book, the same for all signers, and the secrets that belong to it."""
    wallet_secret = draw()
    hidden = GAMMA[0].times(user.scalar) + GAMMA[1].times(wallet_secret)
    h = G1_IDENTITY
    while h == G1_IDENTITY:
        opening = draw()
        com = BASE_G1.times(opening) + hidden
        h = _commitment_hash(com, expiration, ticket_type)
    attributes = (user.scalar, wallet_secret)
    openings = (draw(), draw())
    first, second = (
        BASE_G1.times(o) + h * native(attribute) for o, attribute in zip(openings, attributes, strict=True)
    )
    nonce, nonces, masks = draw(), (draw(), draw()), (draw(), draw())
    c = _challenge(
        h,
        com,
        (first, second),
        user.public_key(),
        [
            BASE_G1.times(nonce) + GAMMA[0].times(masks[0]) + GAMMA[1].times(masks[1]),
            *(BASE_G1.times(n) + h * native(m) for n, m in zip(nonces, masks, strict=True)),
            BASE_G1.times(masks[0]),
        ],
    )
    proof = WithdrawalProof(
        c,
        (nonce - c * opening) % GROUP_ORDER,
        _responses(c, nonces, openings),
        _responses(c, masks, attributes),
    )
    return (
        WithdrawalRequest(h, com, (first, second), proof),
        RequestInfo(h, opening, openings, wallet_secret, expiration, ticket_type),
    )


def _commitment_hash(commitment: G1, expiration: EncodedDate, ticket_type: int) -> G1:
    """The public attributes are no part of the commitment, but of what is hashed."""
    public = GAMMA[2].point * native(expiration) + GAMMA[3].point * native(ticket_type)
    return hash_to_g1(encode_g1(commitment + public))


def _challenge(
    h: G1, commitment: G1, commitments: tuple[G1, G1], user: UserPublicKey, masked: list[G1]
) -> int:
    statement = g1_field(commitment) + g1_field(h) + vector(commitments, g1_field) + g1_field(user.point)
    return challenge([ENCODED_BASE_G1, ENCODED_GAMMAS, statement, *map(encode_g1, masked)])


def _responses(c: int, nonces: tuple[int, int], witnesses: tuple[int, int]) -> tuple[int, int]:
    return (nonces[0] - c * witnesses[0]) % GROUP_ORDER, (nonces[1] - c * witnesses[1]) % GROUP_ORDER


def _scalar_pair(reader: Reader) -> tuple[int, int]:
    first, second = reader.vector(reader.scalar, _PRIVATE_ATTRIBUTES, _PRIVATE_ATTRIBUTES)
    return first, second


def _pair(value: Json) -> list[Json]:
    items = array(value, _PRIVATE_ATTRIBUTES)
    if len(items) != _PRIVATE_ATTRIBUTES:
        raise MalformedData("a list of a withdrawal request that does not have two elements")
    return items


def _json_scalar_pair(value: Json) -> tuple[int, int]:
    first, second = _pair(value)
    return scalar(first), scalar(second)


def _at_most(value: int, largest: int) -> int:
    if value > largest:
        raise MalformedData("a date or ticket type too large to be one")
    return value
