"""The first schema: books and their tickets, purchases, public data, gateways, secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Creates everything."""
    op.create_table(
        "meta",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )
    for name in ("epoch_keys", "coin_signatures"):
        op.create_table(
            name,
            sa.Column("epoch_id", sa.BigInteger, nullable=False, autoincrement=False),
            sa.Column("revision", sa.Integer, nullable=False),
            sa.Column("data", sa.LargeBinary, nullable=False),
            sa.PrimaryKeyConstraint("epoch_id", name=f"pk_{name}"),
        )
    op.create_table(
        "date_signatures",
        sa.Column("epoch_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("expiration", sa.Date, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("epoch_id", "expiration", name="pk_date_signatures"),
    )
    op.create_table(
        "purchases",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("serial", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("suspect", sa.Boolean, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("created_unix", sa.BigInteger, nullable=False),
        sa.Column("changed_unix", sa.BigInteger, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_purchases"),
        sa.UniqueConstraint("serial", name="uq_purchases_serial"),
    )
    op.create_table(
        "books",
        sa.Column("id", _BIG_ID, nullable=False, autoincrement=True),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("ticket_type", sa.String(40), nullable=False),
        sa.Column("expiration", sa.Date, nullable=False),
        sa.Column("epoch_id", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("source", sa.String(20), nullable=False),
        sa.Column("first_ticket", sa.Integer, nullable=False),
        sa.Column("next_ticket", sa.Integer, nullable=False),
        sa.Column("end_ticket", sa.Integer, nullable=False),
        sa.Column("spent_answers", sa.Integer, nullable=False),
        sa.Column("added_unix", sa.BigInteger, nullable=False),
        sa.Column("purchase_id", sa.String(36), nullable=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_books"),
        sa.UniqueConstraint("fingerprint", name="uq_books_fingerprint"),
        sa.UniqueConstraint("purchase_id", name="uq_books_purchase_id"),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name="fk_books_purchase_id"),
    )
    op.create_index("ix_books_choice", "books", ["ticket_type", "state", "expiration"])
    op.create_table(
        "tickets",
        sa.Column("book_id", _BIG_ID, nullable=False),
        sa.Column("ticket_index", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("settlement", sa.String(20), nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("session", sa.String(36), nullable=False),
        sa.Column("gateway", sa.LargeBinary(32), nullable=True),
        sa.Column("taken_unix", sa.BigInteger, nullable=False),
        sa.Column("settled_unix", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("book_id", "ticket_index", name="pk_tickets"),
        sa.ForeignKeyConstraint(["book_id"], ["books.id"], name="fk_tickets_book_id"),
    )
    op.create_index("ix_tickets_state", "tickets", ["state"])
    op.create_table(
        "gateways",
        sa.Column("gateway", sa.LargeBinary(32), nullable=False),
        sa.Column("allowance", sa.BigInteger, nullable=True),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("refusals", sa.Integer, nullable=False),
        sa.Column("paused_until_unix", sa.BigInteger, nullable=False),
        sa.Column("changed_unix", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("gateway", name="pk_gateways"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(60), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )
