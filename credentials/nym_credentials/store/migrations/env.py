"""What Alembic runs for each migration: on the connection that the store hands over."""

from __future__ import annotations

from alembic import context

from nym_credentials.store.tables_io import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,  # SQLite alters tables by copying them
    transactional_ddl=False,  # the caller's transaction is the transaction
)
context.run_migrations()
