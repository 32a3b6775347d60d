"""The payment a gateway receives, in all its forms (docs/protocol/07 §10.2, §13.1)."""

from __future__ import annotations

from dataclasses import dataclass

from zknym.base58 import Base58Text, b58encode
from zknym.bincode import Reader, g1_field, g2_field, scalar_field, varint, vector
from zknym.constants import MAX_U64, TICKETS_PER_BOOK
from zknym.curve import G1, G2, encode_g1, encode_g2, encode_scalar
from zknym.json_fields import Json, JsonObject, array, g1, g2, integer, member, scalar
from zknym.signatures import Signature

_LARGEST_TYPE = 255
_DISCLOSED_ATTRIBUTES = 3
"""Responses for the user's secret, the wallet's secret and the expiration date."""


@dataclass(frozen=True, slots=True, repr=False)
class SpendProof:
    """Challenge and responses of the zero-knowledge proof; `r`, `l`, `m` … as in the specification."""

    challenge: int
    response_r: int
    response_re: int
    responses_rk: tuple[int, ...]
    """Empty in every payment made by the reference; a verifier also takes one per ticket."""
    responses_l: tuple[int, ...]
    responses_oa: tuple[int, ...]
    response_oc: int
    responses_m: tuple[int, ...]
    responses_om: tuple[int, ...]
    responses_attributes: tuple[int, ...]

    def field(self) -> bytes:
        """The form inside of a payment (bincode)."""
        return (
            scalar_field(self.challenge)
            + scalar_field(self.response_r)
            + scalar_field(self.response_re)
            + vector(self.responses_rk, scalar_field)
            + vector(self.responses_l, scalar_field)
            + vector(self.responses_oa, scalar_field)
            + scalar_field(self.response_oc)
            + vector(self.responses_m, scalar_field)
            + vector(self.responses_om, scalar_field)
            + vector(self.responses_attributes, scalar_field)
        )

    @classmethod
    def read(cls, reader: Reader) -> SpendProof:
        """The inverse of `field`. Raises `MalformedBincode`."""

        def scalars(most: int = TICKETS_PER_BOOK) -> tuple[int, ...]:
            return reader.vector(reader.scalar, most)

        return cls(
            challenge=reader.scalar(),
            response_r=reader.scalar(),
            response_re=reader.scalar(),
            responses_rk=scalars(),
            responses_l=scalars(),
            responses_oa=scalars(),
            response_oc=reader.scalar(),
            responses_m=scalars(),
            responses_om=scalars(),
            responses_attributes=scalars(_DISCLOSED_ATTRIBUTES),
        )

    def to_json(self) -> JsonObject:
        """The member `zk_proof` of a payment."""
        return {
            "challenge": _hex(self.challenge),
            "response_r": _hex(self.response_r),
            "response_r_e": _hex(self.response_re),
            "responses_r_k": [_hex(z) for z in self.responses_rk],
            "responses_l": [_hex(z) for z in self.responses_l],
            "responses_o_a": [_hex(z) for z in self.responses_oa],
            "response_o_c": _hex(self.response_oc),
            "responses_mu": [_hex(z) for z in self.responses_m],
            "responses_o_mu": [_hex(z) for z in self.responses_om],
            "responses_attributes": [_hex(z) for z in self.responses_attributes],
        }

    @classmethod
    def from_json(cls, value: Json) -> SpendProof:
        """The inverse of `to_json`. Raises `MalformedData`."""

        def scalars(name: str, most: int = TICKETS_PER_BOOK) -> tuple[int, ...]:
            return tuple(scalar(item) for item in array(member(value, name), most))

        return cls(
            challenge=scalar(member(value, "challenge")),
            response_r=scalar(member(value, "response_r")),
            response_re=scalar(member(value, "response_r_e")),
            responses_rk=scalars("responses_r_k"),
            responses_l=scalars("responses_l"),
            responses_oa=scalars("responses_o_a"),
            response_oc=scalar(member(value, "response_o_c")),
            responses_m=scalars("responses_mu"),
            responses_om=scalars("responses_o_mu"),
            responses_attributes=scalars("responses_attributes", _DISCLOSED_ATTRIBUTES),
        )


@dataclass(frozen=True, slots=True, repr=False)
class Payment(Base58Text):
    """One or more tickets of one book. The lists have one element per ticket.

    κ and κe are the blinded key points of `signature` (the wallet's) and `date_signature`, κk those of
    `coin_signatures`; S are the serial numbers, T the identification tags, A and C commitments.
    """

    kappa: G2
    kappa_e: G2
    signature: Signature
    date_signature: Signature
    kappa_k: tuple[G2, ...]
    coin_signatures: tuple[Signature, ...]
    serial_numbers: tuple[G1, ...]
    tags: tuple[G1, ...]
    commitments_a: tuple[G1, ...]
    spend_value: int
    commitment_c: G1
    ticket_type: int
    proof: SpendProof

    def __repr__(self) -> str:
        return f"<Payment of {self.spend_value} of ticket type {self.ticket_type}>"

    def encode(self) -> bytes:
        """1157 bytes for one ticket, 474 more for each further one (bincode)."""
        return (
            g2_field(self.kappa)
            + g2_field(self.kappa_e)
            + self.signature.field()
            + self.date_signature.field()
            + vector(self.kappa_k, g2_field)
            + vector(self.coin_signatures, Signature.field)
            + vector(self.serial_numbers, g1_field)
            + vector(self.tags, g1_field)
            + vector(self.commitments_a, g1_field)
            + varint(self.spend_value)
            + g1_field(self.commitment_c)
            + bytes([self.ticket_type])
            + self.proof.field()
        )

    @classmethod
    def read(cls, reader: Reader) -> Payment:
        """Reads the `encode`d form out of a larger structure. Raises `MalformedBincode`."""
        return cls(
            kappa=reader.g2(),
            kappa_e=reader.g2(),
            signature=Signature.read(reader),
            date_signature=Signature.read(reader),
            kappa_k=reader.vector(reader.g2, TICKETS_PER_BOOK),
            coin_signatures=reader.vector(lambda: Signature.read(reader), TICKETS_PER_BOOK),
            serial_numbers=reader.vector(reader.g1, TICKETS_PER_BOOK),
            tags=reader.vector(reader.g1, TICKETS_PER_BOOK),
            commitments_a=reader.vector(reader.g1, TICKETS_PER_BOOK),
            spend_value=reader.varint(MAX_U64),
            commitment_c=reader.g1(),
            ticket_type=reader.u8(),
            proof=SpendProof.read(reader),
        )

    @classmethod
    def decode(cls, data: bytes) -> Payment:
        """The inverse of `encode`. Raises `MalformedBincode`. It says nothing about validity."""
        reader = Reader(data)
        payment = cls.read(reader)
        reader.finish()
        return payment

    def to_json(self) -> JsonObject:
        """The form in requests between gateways and signers."""
        return {
            "kappa": encode_g2(self.kappa).hex(),
            "kappa_e": encode_g2(self.kappa_e).hex(),
            "sig": self.signature.to_json(),
            "sig_exp": self.date_signature.to_json(),
            "kappa_k": [encode_g2(point).hex() for point in self.kappa_k],
            "omega": [signature.to_json() for signature in self.coin_signatures],
            "ss": [encode_g1(point).hex() for point in self.serial_numbers],
            "tt": [encode_g1(point).hex() for point in self.tags],
            "aa": [encode_g1(point).hex() for point in self.commitments_a],
            "spend_value": self.spend_value,
            "cc": encode_g1(self.commitment_c).hex(),
            "t_type": self.ticket_type,
            "zk_proof": self.proof.to_json(),
        }

    @classmethod
    def from_json(cls, value: Json) -> Payment:
        """The inverse of `to_json`. Raises `MalformedData`."""

        def items(name: str) -> list[Json]:
            return array(member(value, name), TICKETS_PER_BOOK)

        return cls(
            kappa=g2(member(value, "kappa")),
            kappa_e=g2(member(value, "kappa_e")),
            signature=Signature.from_json(member(value, "sig")),
            date_signature=Signature.from_json(member(value, "sig_exp")),
            kappa_k=tuple(g2(item) for item in items("kappa_k")),
            coin_signatures=tuple(Signature.from_json(item) for item in items("omega")),
            serial_numbers=tuple(g1(item) for item in items("ss")),
            tags=tuple(g1(item) for item in items("tt")),
            commitments_a=tuple(g1(item) for item in items("aa")),
            spend_value=integer(member(value, "spend_value")),
            commitment_c=g1(member(value, "cc")),
            ticket_type=integer(member(value, "t_type"), _LARGEST_TYPE),
            proof=SpendProof.from_json(member(value, "zk_proof")),
        )

    def encoded_serial_number(self) -> bytes:
        """48 bytes per ticket. The same ticket always has the same one, whoever it is paid to."""
        return b"".join(encode_g1(point) for point in self.serial_numbers)

    def serial_number_base58(self) -> str:
        """The text form of the serial number."""
        return b58encode(self.encoded_serial_number())


def _hex(value: int) -> str:
    return encode_scalar(value).hex()
