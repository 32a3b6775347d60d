"""The tables of the ticket store, for SQLite and PostgreSQL alike (docs/protocol/10 §4 has the reference's).

Columns named `sealed` hold secrets under `Sealer`; public data (keys and signatures that every spender shares) and
counts are in the clear. Times are Unix seconds. What changes here needs a migration in ``migrations/versions``.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import BigInteger, Boolean, Date, ForeignKey, Index, Integer, LargeBinary, MetaData, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_BIG_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up INTEGER keys only


class Table(DeclarativeBase):
    """Base of all tables. Constraints have names, so that later migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class MetaRow(Table):
    """Facts about the store itself, by name."""

    __tablename__ = "meta"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    value: Mapped[bytes] = mapped_column(LargeBinary)


class EpochKeyRow(Table):
    """The master verification key of an epoch."""

    __tablename__ = "epoch_keys"

    epoch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class CoinSignaturesRow(Table):
    """The coin-index signatures of an epoch."""

    __tablename__ = "coin_signatures"

    epoch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    revision: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class DateSignaturesRow(Table):
    """The signatures of an epoch for one expiration date."""

    __tablename__ = "date_signatures"

    epoch_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    expiration: Mapped[date] = mapped_column(Date, primary_key=True)
    revision: Mapped[int] = mapped_column(Integer)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class PurchaseRow(Table):
    """A purchase: the record is sealed, the columns beside it are there to be asked for."""

    __tablename__ = "purchases"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    serial: Mapped[int] = mapped_column(BigInteger, unique=True)
    """Order of arrival."""
    state: Mapped[str] = mapped_column(String(20))
    finished: Mapped[bool] = mapped_column(Boolean)
    suspect: Mapped[bool] = mapped_column(Boolean)
    """The record comes from an old backup: a book issued from it may have been spent already."""
    version: Mapped[int] = mapped_column(BigInteger)
    created_unix: Mapped[int] = mapped_column(BigInteger)
    changed_unix: Mapped[int] = mapped_column(BigInteger)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class BookRow(Table):
    """A book. Tickets `first` … `end` - 1 are ours; `next` has never been taken."""

    __tablename__ = "books"

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, autoincrement=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    ticket_type: Mapped[str] = mapped_column(String(40))
    expiration: Mapped[date] = mapped_column(Date)
    epoch_id: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(20))
    source: Mapped[str] = mapped_column(String(20))
    first_ticket: Mapped[int] = mapped_column(Integer)
    next_ticket: Mapped[int] = mapped_column(Integer)
    end_ticket: Mapped[int] = mapped_column(Integer)
    spent_answers: Mapped[int] = mapped_column(Integer)
    """Fresh tickets that a gateway called spent."""
    added_unix: Mapped[int] = mapped_column(BigInteger)
    purchase_id: Mapped[str | None] = mapped_column(String(36), ForeignKey("purchases.id"), unique=True)
    revision: Mapped[int] = mapped_column(Integer)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)

    __table_args__ = (Index("ix_books_choice", "ticket_type", "state", "expiration"),)


class TicketRow(Table):
    """A ticket that was taken at least once."""

    __tablename__ = "tickets"

    book_id: Mapped[int] = mapped_column(ForeignKey("books.id"), primary_key=True)
    ticket_index: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(20), index=True)
    settlement: Mapped[str | None] = mapped_column(String(20))
    attempts: Mapped[int] = mapped_column(Integer)
    """How often it was taken: more than once only after it was reverted."""
    session: Mapped[str] = mapped_column(String(36))
    """Of the process that took it."""
    claim: Mapped[str | None] = mapped_column(String(36), index=True)
    """Of the one call that took it: after a broken connection it tells whether the call has got its ticket."""
    gateway: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    taken_unix: Mapped[int] = mapped_column(BigInteger)
    settled_unix: Mapped[int | None] = mapped_column(BigInteger)


class ReplicaRow(Table):
    """A process that draws tickets from a shared store, for as long as its lease lasts."""

    __tablename__ = "replicas"

    session: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    """For people: machine and process."""
    joined_unix: Mapped[int] = mapped_column(BigInteger)
    lease_until_ms: Mapped[int] = mapped_column(BigInteger)
    """By the clock of the database, which all replicas share."""


class SpendingRow(Table):
    """What a purchase costs, in the clear: the sums of a budget are taken over these."""

    __tablename__ = "spendings"

    purchase_id: Mapped[str] = mapped_column(ForeignKey("purchases.id"), primary_key=True)
    network: Mapped[str] = mapped_column(String(100))
    account: Mapped[str] = mapped_column(String(120))
    ticket_type: Mapped[str] = mapped_column(String(40))
    state: Mapped[str] = mapped_column(String(20))
    price: Mapped[int] = mapped_column(BigInteger)
    """Base units of `denom`."""
    fee: Mapped[int] = mapped_column(BigInteger)
    denom: Mapped[str] = mapped_column(String(40))
    tx_hash: Mapped[str | None] = mapped_column(String(64))
    height: Mapped[int | None] = mapped_column(BigInteger)
    deposit_id: Mapped[int | None] = mapped_column(BigInteger)
    begun_unix: Mapped[int] = mapped_column(BigInteger, index=True)
    paid_unix: Mapped[int | None] = mapped_column(BigInteger)
    """When the deposit was first seen on the chain."""
    changed_unix: Mapped[int] = mapped_column(BigInteger)


class GatewayRow(Table):
    """What is remembered of a gateway, by a keyed hash of its identity."""

    __tablename__ = "gateways"

    gateway: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    allowance: Mapped[int | None] = mapped_column(BigInteger)
    accepted: Mapped[int] = mapped_column(BigInteger)
    refusals: Mapped[int] = mapped_column(Integer)
    paused_until_unix: Mapped[int] = mapped_column(BigInteger)
    changed_unix: Mapped[int] = mapped_column(BigInteger)


class SecretRow(Table):
    """A sealed value by name, such as the phrase of the account."""

    __tablename__ = "secrets"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
