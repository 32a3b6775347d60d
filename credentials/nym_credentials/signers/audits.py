"""What signers publish for those who audit them: the `issued-…` family (docs/protocol/09 §2, §9).

A client that pays never asks for these. Counts come bare, everything else in a signed envelope.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Final

from nym_credentials.signers.envelope import Envelope
from zknym import IssuedRecord, MalformedJson, MerkleProof
from zknym.constants import MAX_U32
from zknym.dates import date_from_text
from zknym.json_fields import Json, JsonObject, array, hex_bytes, integer, member, text

_MOST_ROWS: Final = 65_536
"""More than a day's books; bounds what an answer can make its reader do."""
_ROOT_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class IssuedCount:
    """Books issued on one day that expire on one day. An answer about one of the two days leaves it out."""

    count: int
    issuance: date | None = None
    expiration: date | None = None

    def to_json(self) -> JsonObject:
        """{"issuanceDate", "expirationDate", "count"}, as far as they are set."""
        days = (("issuanceDate", self.issuance), ("expirationDate", self.expiration))
        return {name: day.isoformat() for name, day in days if day is not None} | {"count": self.count}

    @classmethod
    def from_json(cls, value: Json) -> IssuedCount:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            integer(member(value, "count")),
            _optional_day(value, "issuanceDate"),
            _optional_day(value, "expirationDate"),
        )


@dataclass(frozen=True, slots=True)
class IssuedCounts:
    """The answer of the counting routes: of all books, or of one issuance or expiration date with the sum."""

    issued: tuple[IssuedCount, ...]
    total: int | None = None
    issuance: date | None = None
    expiration: date | None = None

    def to_json(self) -> JsonObject:
        """The body of the answer."""
        days = (("issuanceDate", self.issuance), ("expirationDate", self.expiration))
        head: JsonObject = {name: day.isoformat() for name, day in days if day is not None}
        if self.total is not None:
            head["total"] = self.total
        return head | {"issued": [row.to_json() for row in self.issued]}

    @classmethod
    def from_json(cls, value: Json) -> IssuedCounts:
        """The inverse of `to_json`. Raises `MalformedData`."""
        rows = array(member(value, "issued"), _MOST_ROWS)
        return cls(
            tuple(IssuedCount.from_json(row) for row in rows),
            integer(value["total"]) if "total" in value else None,
            _optional_day(value, "issuanceDate"),
            _optional_day(value, "expirationDate"),
        )


@dataclass(frozen=True, slots=True)
class IssuedFor:
    """The deposits whose books expire on a day, with their places in the Merkle tree of that day."""

    expiration: date
    deposits: tuple[tuple[int, int], ...]
    """(deposit id, index of the leaf)."""
    root: bytes | None

    def to_json(self) -> JsonObject:
        """The body inside of the envelope."""
        return {
            "expirationDate": self.expiration.isoformat(),
            "deposits": [{"depositId": deposit, "merkleIndex": index} for deposit, index in self.deposits],
            "merkleRoot": None if self.root is None else self.root.hex(),
        }

    @classmethod
    def from_json(cls, value: Json) -> IssuedFor:
        """The inverse of `to_json`. Raises `MalformedData`."""
        deposits = array(member(value, "deposits"), _MOST_ROWS)
        root = member(value, "merkleRoot")
        raw = None if root is None else hex_bytes(root)
        if raw is not None and len(raw) != _ROOT_BYTES:
            raise MalformedJson(f"the root of a tree has {_ROOT_BYTES} bytes")
        return cls(
            date_from_text(text(member(value, "expirationDate"))),
            tuple(
                (integer(member(row, "depositId"), MAX_U32), integer(member(row, "merkleIndex")))
                for row in deposits
            ),
            raw,
        )


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """An auditor asks for the books of some deposits, or for the commitment to them."""

    expiration: date
    deposits: tuple[int, ...]

    def to_json(self) -> JsonObject:
        """The body inside of the envelope."""
        return {"expirationDate": self.expiration.isoformat(), "deposits": list(self.deposits)}

    @classmethod
    def from_json(cls, value: Json) -> AuditRequest:
        """The inverse of `to_json`. Raises `MalformedData`."""
        deposits = array(member(value, "deposits"), _MOST_ROWS)
        return cls(
            date_from_text(text(member(value, "expirationDate"))),
            tuple(integer(deposit, MAX_U32) for deposit in deposits),
        )


@dataclass(frozen=True, slots=True)
class ChallengeAnswer:
    """The commitment to the asked books: a proof that their leaves are in the tree of the day."""

    expiration: date
    request: Envelope[AuditRequest]
    most_books: int
    """As many the signer gives out at a time."""
    proof: MerkleProof

    def to_json(self) -> JsonObject:
        """The body inside of the envelope."""
        return {
            "expirationDate": self.expiration.isoformat(),
            "originalRequest": self.request.to_json(),
            "maxDataResponseSize": self.most_books,
            "merkleProof": self.proof.to_json(),
        }

    @classmethod
    def from_json(cls, value: Json) -> ChallengeAnswer:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(
            date_from_text(text(member(value, "expirationDate"))),
            _original(value),
            integer(member(value, "maxDataResponseSize")),
            MerkleProof.from_json(member(value, "merkleProof")),
        )


@dataclass(frozen=True, slots=True)
class DataAnswer:
    """The asked books themselves, by deposit."""

    expiration: date
    books: tuple[IssuedRecord, ...]
    request: Envelope[AuditRequest]

    def to_json(self) -> JsonObject:
        """The body inside of the envelope."""
        return {
            "expirationDate": self.expiration.isoformat(),
            "partialTicketbooks": {str(book.deposit_id): book.to_json() for book in self.books},
            "originalRequest": self.request.to_json(),
        }

    @classmethod
    def from_json(cls, value: Json) -> DataAnswer:
        """The inverse of `to_json`. Raises `MalformedData`."""
        books = member(value, "partialTicketbooks")
        if not isinstance(books, dict) or len(books) > _MOST_ROWS:
            raise MalformedJson("an object of books by deposit expected")
        records = {name: IssuedRecord.from_json(book) for name, book in books.items()}
        if any(str(record.deposit_id) != name for name, record in records.items()):
            raise MalformedJson("a book stands under another deposit than its own")
        return cls(
            date_from_text(text(member(value, "expirationDate"))), tuple(records.values()), _original(value)
        )


def _original(value: Json) -> Envelope[AuditRequest]:
    return Envelope.from_json(member(value, "originalRequest"), AuditRequest.from_json)


def _optional_day(value: Json, name: str) -> date | None:
    if not isinstance(value, dict):
        raise MalformedJson("an object expected")
    return date_from_text(text(value[name])) if name in value else None
