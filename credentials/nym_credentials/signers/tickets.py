"""What gateways ask of signers: whether a ticket is good, and for their reward (docs/protocol/09 §7, §8)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from nym_credentials.signers.wire import Body, WireReader, boolean, byte_string, from_base64, to_base64
from zknym import MalformedBincode, MalformedData, MalformedJson, SpendingCredential, b58decode, b58encode
from zknym.constants import MAX_U64
from zknym.dates import date_from_text
from zknym.json_fields import Json, JsonObject, array, integer, member, text

_MOST_SERIAL_NUMBERS: Final = 65_535
"""A redemption counts its tickets in 16 bits."""


@dataclass(frozen=True, slots=True)
class VerifyTicketRequest:
    """A gateway shows a ticket that it was paid with."""

    credential: SpendingCredential
    gateway_address: str
    """The gateway's account, n1…"""

    def to_json(self) -> JsonObject:
        """The body of the request."""
        return {"credential": self.credential.to_json(), "gateway_cosmos_addr": self.gateway_address}

    @classmethod
    def from_json(cls, value: Json) -> VerifyTicketRequest:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            SpendingCredential.from_json(member(value, "credential")),
            text(member(value, "gateway_cosmos_addr")),
        )


class Rejection(StrEnum):
    """Why a signer does not want a ticket. The value is the reference's name."""

    INVALID_SPENT_DATE = "InvalidSpentDate"
    REPLAYED = "ReplayedTicket"
    DOUBLE_SPEND = "DoubleSpend"
    INVALID = "InvalidTicket"
    MULTIPLE = "MultipleTickets"


_CODES: Final = tuple(Rejection)
"""bincode numbers them in this order."""


@dataclass(frozen=True, slots=True)
class SpentDates:
    """What comes with `Rejection.INVALID_SPENT_DATE`."""

    today: date
    yesterday: date
    received: date

    def to_json(self) -> JsonObject:
        """{"today", "yesterday", "received"}."""
        return {
            "today": self.today.isoformat(),
            "yesterday": self.yesterday.isoformat(),
            "received": self.received.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class VerifyTicketAnswer(Body):
    """A signer's word on a ticket: good if there is no rejection."""

    rejection: Rejection | None = None
    dates: SpentDates | None = None
    """Given with `Rejection.INVALID_SPENT_DATE` only."""

    def __post_init__(self) -> None:
        if (self.dates is not None) != (self.rejection is Rejection.INVALID_SPENT_DATE):
            raise MalformedData("dates belong to the rejection of a date, and to no other")

    def to_json(self) -> JsonObject:
        if self.rejection is None:
            return {"verified": {"Ok": None}}
        name = self.rejection.value
        return {"verified": {"Err": name if self.dates is None else {name: self.dates.to_json()}}}

    @classmethod
    def from_json(cls, value: Json) -> VerifyTicketAnswer:
        match member(value, "verified"):
            case {"Ok": None, **rest} if not rest:
                return cls()
            case {"Err": str(name), **rest} if not rest:
                return cls(_rejection(name))
            case {"Err": {Rejection.INVALID_SPENT_DATE.value: dates}, **rest} if not rest:
                days = (date_from_text(text(member(dates, n))) for n in ("today", "yesterday", "received"))
                return cls(Rejection.INVALID_SPENT_DATE, SpentDates(*days))
        raise MalformedJson("neither a verified nor a rejected ticket")

    def to_bincode(self) -> bytes:
        if self.rejection is None:
            return b"\0"
        code = b"\1" + bytes([_CODES.index(self.rejection)])
        if self.dates is None:
            return code
        return code + b"".join(byte_string(day) for day in self.dates.to_json().values())

    @classmethod
    def read(cls, reader: WireReader) -> VerifyTicketAnswer:
        if not reader.boolean():
            return cls()
        code = reader.varint()
        if code >= len(_CODES):
            raise MalformedBincode(f"{code} is no rejection of a ticket")
        rejection = _CODES[code]
        if rejection is not Rejection.INVALID_SPENT_DATE:
            return cls(rejection)
        days = (date_from_text(reader.text()) for _ in range(3))
        return cls(rejection, SpentDates(*days))


def redemption_digest(serial_numbers: Sequence[bytes]) -> bytes:
    """What a gateway's proposal commits to: SHA-256 over the serial numbers in order."""
    return hashlib.sha256(b"".join(serial_numbers)).digest()


@dataclass(frozen=True, slots=True)
class BatchRedeemRequest:
    """An older gateway asks for the reward of many tickets."""

    digest: bytes
    serial_numbers: tuple[bytes, ...]
    proposal_id: int
    gateway_address: str

    @property
    def consistent(self) -> bool:
        """Whether the digest is that of the serial numbers."""
        return self.digest == redemption_digest(self.serial_numbers)

    def to_json(self) -> JsonObject:
        """The body of the request."""
        return {
            "digest": b58encode(self.digest),
            "included_serial_numbers": [b58encode(number) for number in self.serial_numbers],
            "proposal_id": self.proposal_id,
            "gateway_cosmos_addr": self.gateway_address,
        }

    @classmethod
    def from_json(cls, value: Json) -> BatchRedeemRequest:
        """The inverse of `to_json`. Raises `MalformedData`."""
        numbers = array(member(value, "included_serial_numbers"), _MOST_SERIAL_NUMBERS)
        return cls(
            b58decode(text(member(value, "digest"))),
            tuple(b58decode(text(number)) for number in numbers),
            integer(member(value, "proposal_id"), MAX_U64),
            text(member(value, "gateway_cosmos_addr")),
        )


@dataclass(frozen=True, slots=True)
class BatchRedeemAnswer(Body):
    """Whether the signer voted for the proposal."""

    accepted: bool

    def to_json(self) -> JsonObject:
        return {"proposal_accepted": self.accepted}

    @classmethod
    def from_json(cls, value: Json) -> BatchRedeemAnswer:
        return cls(boolean(member(value, "proposal_accepted")))

    def to_bincode(self) -> bytes:
        return bytes([self.accepted])

    @classmethod
    def read(cls, reader: WireReader) -> BatchRedeemAnswer:
        return cls(reader.boolean())


@dataclass(frozen=True, slots=True)
class SpentFilterAnswer(Body):
    """The filter of spent tickets that signers once published; today the route answers 410."""

    bitmap: bytes

    def to_json(self) -> JsonObject:
        return {"bitmap": to_base64(self.bitmap)}

    @classmethod
    def from_json(cls, value: Json) -> SpentFilterAnswer:
        return cls(from_base64(text(member(value, "bitmap"))))

    def to_bincode(self) -> bytes:
        return byte_string(to_base64(self.bitmap))

    @classmethod
    def read(cls, reader: WireReader) -> SpentFilterAnswer:
        return cls(from_base64(reader.text()))


def _rejection(name: str) -> Rejection:
    try:
        return Rejection(name)
    except ValueError:
        raise MalformedJson("an unknown rejection of a ticket") from None
