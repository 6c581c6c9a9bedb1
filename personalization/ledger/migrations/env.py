"""Runs migrations on the connection, inside the transaction, that `personalization.ledger.migrate` hands over."""

from alembic import context

from personalization.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,  # true of SQLite as well, once the driver leaves transactions alone
)
with context.begin_transaction():
    context.run_migrations()
