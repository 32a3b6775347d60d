"""The body a client posts to every signer, and the deposit's signature on it (docs/protocol/09 §3).

The deposit's Ed25519 key signs the withdrawal request and the deposit id. Date, type and user key are
bound by the proof inside of the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from zknym.bincode import Reader, byte_string, g1_field, varint
from zknym.constants import MAX_U32
from zknym.dates import date_from_text, midnight
from zknym.errors import DepositSignatureInvalid, MalformedBincode
from zknym.json_fields import Json, JsonObject, byte_array, integer, member, text
from zknym.ticket_types import TicketType
from zknym.user_keys import UserPublicKey
from zknym.withdrawal import WithdrawalRequest

_DEPOSIT_ID_BYTES = 4
_SIGNATURE_BYTES = 64


def request_plaintext(request: WithdrawalRequest, deposit_id: int) -> bytes:
    """What the deposit's key signs: 401 bytes."""
    return request.encode() + deposit_id.to_bytes(_DEPOSIT_ID_BYTES, "big")


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A signed withdrawal request with everything a signer needs to answer it."""

    request: WithdrawalRequest
    deposit_id: int
    signature: bytes
    user: UserPublicKey
    expiration: date
    ticket_type: TicketType

    def verify(self, deposit_key: bytes) -> None:
        """A signer's cryptographic checks; `deposit_key` is the Ed25519 key the deposit names (32 bytes).

        Raises `DepositSignatureInvalid`, `IdentityCommitmentHash`, `WithdrawalRequestVerification`.
        """
        try:
            Ed25519PublicKey.from_public_bytes(deposit_key).verify(
                self.signature, request_plaintext(self.request, self.deposit_id)
            )
        except (InvalidSignature, ValueError) as error:
            raise DepositSignatureInvalid("the request is not signed by the key of its deposit") from error
        self.request.verify(self.user, midnight(self.expiration), self.ticket_type)

    def to_json(self) -> JsonObject:
        """The body of a blind-sign request."""
        return {
            "inner_sign_request": self.request.to_json(),
            "deposit_id": self.deposit_id,
            "signature": list(self.signature),
            "ecash_pubkey": self.user.to_json(),
            "expiration_date": self.expiration.isoformat(),
            "ticketbook_type": self.ticket_type.label,
        }

    @classmethod
    def from_json(cls, value: Json) -> SignRequest:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            WithdrawalRequest.from_json(member(value, "inner_sign_request")),
            integer(member(value, "deposit_id"), MAX_U32),
            byte_array(member(value, "signature"), _SIGNATURE_BYTES),
            UserPublicKey.from_json(member(value, "ecash_pubkey")),
            date_from_text(text(member(value, "expiration_date"))),
            TicketType.from_label(text(member(value, "ticketbook_type"))),
        )

    def to_bincode(self) -> bytes:
        """The same fields as a bincode structure."""
        return (
            self.request.encode()
            + varint(self.deposit_id)
            + byte_string(self.signature)
            + g1_field(self.user.point)
            + byte_string(self.expiration.isoformat().encode())
            + varint(self.ticket_type)
        )

    @classmethod
    def from_bincode(cls, data: bytes) -> SignRequest:
        """The inverse of `to_bincode`. Raises `MalformedData`."""
        reader = Reader(data)
        request = WithdrawalRequest.read(reader)
        deposit_id = reader.varint(MAX_U32)
        signature = reader.byte_string()
        if len(signature) != _SIGNATURE_BYTES:
            raise MalformedBincode(f"an Ed25519 signature has {_SIGNATURE_BYTES} bytes, not {len(signature)}")
        body = cls(
            request,
            deposit_id,
            signature,
            UserPublicKey(reader.g1()),
            date_from_text(reader.text()),
            TicketType.from_code(reader.varint(MAX_U32)),
        )
        reader.finish()
        return body
