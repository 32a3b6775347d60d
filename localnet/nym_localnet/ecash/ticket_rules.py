"""What a gateway checks about a ticket, in its order, and the words in which it refuses (docs/protocol/03 §9.4, §9.5).

Pure. The serial number, the pay-infos seen and the keys of the epoch are looked up by the caller in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from nym_localnet.ecash.signer_rules import utc_day
from nym_localnet.errors import TicketRefused
from zknym import (
    PAY_INFO_BYTES,
    PAY_INFO_TOLERANCE_SECONDS,
    EcashError,
    ExpirationDateSignatureValidity,
    MalformedData,
    PayInfo,
    Payment,
    SpendingCredential,
    TicketType,
    UnknownTicketType,
    VerificationKey,
    verify_payment,
)
from zknym.curve import encode_g1
from zknym.dates import from_julian_day, midnight

MALFORMED: Final = "Provided binary request was malformed - the received encrypted data was malformed"
UNKNOWN_TYPE: Final = "provided unknown ticketbook type"
MULTIPLE_TICKETS: Final = (
    "the received payment contained more than a single ticket. that's currently not supported"
)
WRONG_DATE: Final = "the provided credential has an invalid spending date. got {} but expected {}"
NO_THRESHOLD: Final = (
    "the DKG threshold value for epoch {} is currently unavailable. we're probably mid-epoch transition"
)
UNVERIFIED_SHARE: Final = "the provided key share hasn't been verified"
WRONG_PROVIDER: Final = "provided payinfo's public key does not match provider's"
WRONG_TIME: Final = "provided payinfo's timestamp is invalid"
DUPLICATE_PAY_INFO: Final = "received payinfo is a duplicate"
NOT_VERIFIED: Final = "the provided ticket failed to get verified"
WRONG_DATE_SIGNATURES: Final = "failed to verify provided ticket due to invalid expiration date signatures"

LENGTH_BYTES: Final = 4
DATE_BYTES: Final = 4
EPOCH_BYTES: Final = 8
TENTHS_TO_REJECT: Final = 3
"""of all signers; as the reference, with its quorum of 0.7"""
TENTHS_TO_ACCEPT: Final = 7


@dataclass(frozen=True, slots=True)
class ReceivedTicket:
    """A credential taken apart. Its day may lie where no calendar goes, which is refused in so many words."""

    payment: Payment
    pay_info: PayInfo
    julian_day: int
    epoch_id: int

    @classmethod
    def decode(cls, data: bytes) -> ReceivedTicket:
        """Raises `TicketRefused` for bytes that are no credential."""
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "big")
        if len(data) != end + PAY_INFO_BYTES + DATE_BYTES + EPOCH_BYTES:
            raise TicketRefused(MALFORMED)
        day = end + PAY_INFO_BYTES
        try:
            payment = Payment.decode(data[LENGTH_BYTES:end])
            pay_info = PayInfo.decode(data[end:day])
        except MalformedData as error:
            raise TicketRefused(MALFORMED) from error
        return cls(
            payment,
            pay_info,
            int.from_bytes(data[day : day + DATE_BYTES], "big", signed=True),
            int.from_bytes(data[day + DATE_BYTES :], "big"),
        )

    @property
    def serial(self) -> bytes:
        """48 bytes. Only for payments of one ticket."""
        return encode_g1(self.payment.serial_numbers[0])

    def check_before_lookup(self, now_unix: float) -> TicketType:
        """Steps 2 to 4: a known type, one ticket, dated today."""
        try:
            ticket_type = TicketType.from_code(self.payment.ticket_type)
        except UnknownTicketType as error:
            raise TicketRefused(UNKNOWN_TYPE) from error
        if self.payment.spend_value != 1 or len(self.payment.serial_numbers) != 1:
            raise TicketRefused(MULTIPLE_TICKETS)
        today = utc_day(now_unix)
        if self.spend_date != today:
            raise TicketRefused(WRONG_DATE.format(shown_day(self.julian_day), today))
        return ticket_type

    @property
    def spend_date(self) -> date | None:
        """None for a day outside of the years 1 to 9999."""
        try:
            return from_julian_day(self.julian_day)
        except MalformedData:
            return None

    def check_pay_info(self, gateway_identity: bytes, now_unix: float) -> None:
        """Step 7, except that it is new."""
        if self.pay_info.gateway_identity != gateway_identity:
            raise TicketRefused(WRONG_PROVIDER)
        if abs(self.pay_info.timestamp - int(now_unix)) > PAY_INFO_TOLERANCE_SECONDS:
            raise TicketRefused(WRONG_TIME)

    def check_proof(self, master: VerificationKey) -> None:
        """Step 8. Takes tens of milliseconds."""
        spend_date = self.spend_date
        assert spend_date is not None
        try:
            verify_payment(self.payment, self.pay_info, midnight(spend_date), master)
        except ExpirationDateSignatureValidity as error:
            raise TicketRefused(WRONG_DATE_SIGNATURES) from error
        except EcashError as error:
            raise TicketRefused(NOT_VERIFIED) from error

    def credential(self) -> SpendingCredential:
        """What is sent to signers."""
        spend_date = self.spend_date
        assert spend_date is not None
        return SpendingCredential(self.payment, self.pay_info, spend_date, self.epoch_id)


def shown_day(julian_day: int) -> str:
    """A Julian day as the reference prints it, in the Gregorian calendar carried back before its time."""
    a = julian_day + 32_044
    b = (4 * a + 3) // 146_097
    c = a - 146_097 * b // 4
    d = (4 * c + 3) // 1461
    e = c - 1461 * d // 4
    m = (5 * e + 2) // 153
    day, month = e - (153 * m + 2) // 5 + 1, m + 3 - 12 * (m // 10)
    year = 100 * b + d - 4800 + m // 10
    return f"{'-' if year < 0 else ''}{abs(year):04d}-{month:02d}-{day:02d}"


class Standing(StrEnum):
    """How far the signers are with a ticket."""

    PENDING = "pending"
    VERIFIED = "verified"
    REJECTED = "rejected"


def standing(signers: int, accepted: int, rejected: int) -> Standing:
    """What so many answers of so many signers mean. With three signers one rejection is enough."""
    if signers and 10 * rejected >= TENTHS_TO_REJECT * signers:
        return Standing.REJECTED
    if signers and 10 * accepted >= TENTHS_TO_ACCEPT * signers:
        return Standing.VERIFIED
    return Standing.PENDING


class PayInfoWindow:
    """The pay-infos of the last minute. In memory only, as the reference's: a restart forgets them."""

    def __init__(self) -> None:
        self._seen: dict[bytes, float] = {}

    def add(self, pay_info: PayInfo, now_unix: float) -> None:
        """Raises `TicketRefused` for one that was there."""
        oldest = now_unix - 2 * PAY_INFO_TOLERANCE_SECONDS - 1
        for stale in [raw for raw, seen in self._seen.items() if seen < oldest]:
            del self._seen[stale]
        raw = pay_info.encode()
        if raw in self._seen:
            raise TicketRefused(DUPLICATE_PAY_INFO)
        self._seen[raw] = now_unix
