"""Several replicas on one store: claims, leases, and what purchases cost in the clear.

Of PostgreSQL also a sequence: the generation rises there without one replica waiting for another.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_SEQUENCE = "store_generation"


def upgrade() -> None:
    """Adds them. The spendings of older purchases are filled in when the store is opened: records are sealed."""
    with op.batch_alter_table("tickets") as tickets:
        tickets.add_column(sa.Column("claim", sa.String(36), nullable=True))
        tickets.create_index("ix_tickets_claim", ["claim"])
    op.create_table(
        "replicas",
        sa.Column("session", sa.String(36), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("joined_unix", sa.BigInteger, nullable=False),
        sa.Column("lease_until_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("session", name="pk_replicas"),
    )
    op.create_table(
        "spendings",
        sa.Column("purchase_id", sa.String(36), nullable=False),
        sa.Column("network", sa.String(100), nullable=False),
        sa.Column("account", sa.String(120), nullable=False),
        sa.Column("ticket_type", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("fee", sa.BigInteger, nullable=False),
        sa.Column("denom", sa.String(40), nullable=False),
        sa.Column("tx_hash", sa.String(64), nullable=True),
        sa.Column("height", sa.BigInteger, nullable=True),
        sa.Column("deposit_id", sa.BigInteger, nullable=True),
        sa.Column("begun_unix", sa.BigInteger, nullable=False),
        sa.Column("paid_unix", sa.BigInteger, nullable=True),
        sa.Column("changed_unix", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("purchase_id", name="pk_spendings"),
        sa.ForeignKeyConstraint(["purchase_id"], ["purchases.id"], name="fk_spendings_purchase_id"),
    )
    op.create_index("ix_spendings_begun_unix", "spendings", ["begun_unix"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE SEQUENCE {_SEQUENCE} MINVALUE 0 START 0")
        op.execute(
            f"SELECT setval('{_SEQUENCE}', coalesce("  # noqa: S608  (a constant)
            "(SELECT convert_from(value, 'UTF8')::bigint FROM meta WHERE name = 'generation'), 0))"
        )


def downgrade() -> None:
    """Takes them away. For a store that nobody has open: tickets reserved for a call were never sent."""
    op.execute(
        "UPDATE tickets SET state = 'reverted', settlement = 'unsent', settled_unix = taken_unix"
        " WHERE state = 'reserved'"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"UPDATE meta SET value = convert_to((nextval('{_SEQUENCE}'))::text, 'UTF8')"  # noqa: S608
            " WHERE name = 'generation'"
        )
        op.execute(f"DROP SEQUENCE {_SEQUENCE}")
    op.drop_index("ix_spendings_begun_unix", "spendings")
    op.drop_table("spendings")
    op.drop_table("replicas")
    op.execute("DELETE FROM meta WHERE name = 'spendings_filled'")
    with op.batch_alter_table("tickets") as tickets:
        tickets.drop_index("ix_tickets_claim")
        tickets.drop_column("claim")
