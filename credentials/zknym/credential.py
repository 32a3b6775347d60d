"""What a client sends to a gateway: a payment and what verifies it (docs/protocol/07 §13.2)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from zknym.base58 import Base58Text
from zknym.bincode import Reader, byte_string, varint
from zknym.constants import MAX_U64, PAY_INFO_BYTES
from zknym.dates import (
    date_field,
    date_from_json,
    date_to_json,
    from_julian_day,
    julian_day,
    midnight,
    read_date,
)
from zknym.errors import WrongLength
from zknym.json_fields import Json, JsonObject, integer, member
from zknym.pay_info import PayInfo
from zknym.payment import Payment
from zknym.signer_keys import VerificationKey
from zknym.ticket_types import TicketType
from zknym.verification import check_single_ticket, verify_payment

_LENGTH_BYTES = 4
_DATE_BYTES = 4
_EPOCH_BYTES = 8
_TAIL_BYTES = PAY_INFO_BYTES + _DATE_BYTES + _EPOCH_BYTES


@dataclass(frozen=True, slots=True)
class SpendingCredential(Base58Text):
    """A payment, its pay-info, its day and the epoch whose master key verifies it."""

    payment: Payment
    pay_info: PayInfo
    spend_date: date
    epoch_id: int

    def encode(self) -> bytes:
        """1245 bytes for one ticket."""
        payment = self.payment.encode()
        return (
            len(payment).to_bytes(_LENGTH_BYTES, "big")
            + payment
            + self.pay_info.encode()
            + julian_day(self.spend_date).to_bytes(_DATE_BYTES, "big", signed=True)
            + self.epoch_id.to_bytes(_EPOCH_BYTES, "big")
        )

    @classmethod
    def decode(cls, data: bytes) -> SpendingCredential:
        """The inverse of `encode`. Raises `MalformedData`."""
        end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "big")
        if len(data) != end + _TAIL_BYTES:
            raise WrongLength("a credential whose length does not fit that of its payment")
        tail = data[end:]
        return cls(
            Payment.decode(data[_LENGTH_BYTES:end]),
            PayInfo.decode(tail[:PAY_INFO_BYTES]),
            from_julian_day(int.from_bytes(tail[PAY_INFO_BYTES:-_EPOCH_BYTES], "big", signed=True)),
            int.from_bytes(tail[-_EPOCH_BYTES:], "big"),
        )

    def to_bincode(self) -> bytes:
        """The form of the same fields as a bincode structure."""
        return (
            self.payment.encode()
            + byte_string(self.pay_info.encode())
            + date_field(self.spend_date)
            + varint(self.epoch_id)
        )

    @classmethod
    def from_bincode(cls, data: bytes) -> SpendingCredential:
        """The inverse of `to_bincode`. Raises `MalformedData`."""
        reader = Reader(data)
        credential = cls(
            Payment.read(reader),
            PayInfo.decode(reader.byte_string()),
            read_date(reader),
            reader.varint(MAX_U64),
        )
        reader.finish()
        return credential

    def to_json(self) -> JsonObject:
        """The form in a gateway's request to a signer."""
        return {
            "payment": self.payment.to_json(),
            "pay_info": self.pay_info.to_json(),
            "spend_date": date_to_json(self.spend_date),
            "epoch_id": self.epoch_id,
        }

    @classmethod
    def from_json(cls, value: Json) -> SpendingCredential:
        """The inverse of `to_json`; the date may also be written YYYY-MM-DD. Raises `MalformedData`."""
        return cls(
            Payment.from_json(member(value, "payment")),
            PayInfo.from_json(member(value, "pay_info")),
            date_from_json(member(value, "spend_date")),
            integer(member(value, "epoch_id")),
        )

    def check_at_gateway(self, gateway_identity: bytes, now_unix: float, today: date) -> TicketType:
        """The checks of a gateway that need no key, cheapest first; returns what the ticket buys.

        Raises `UnknownTicketType`, `MultipleTickets`, `SpendDateNotToday`, `PayInfoRejected`. Whether
        serial number and pay-info are new is for the gateway to know; then comes `verify`.
        """
        ticket_type = TicketType.from_code(self.payment.ticket_type)
        check_single_ticket(self.payment, self.spend_date, today)
        self.pay_info.check(gateway_identity, now_unix)
        return ticket_type

    def verify(self, master: VerificationKey) -> None:
        """Accepts the payment by returning. Raises `PaymentRejected`, `InvalidArgument`."""
        verify_payment(self.payment, self.pay_info, midnight(self.spend_date), master)
