"""Alembic's entry: it gets the connection, already in a transaction, from store/migrate.py."""

from alembic import context

from killdeer_coordinator.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
