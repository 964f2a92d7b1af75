"""Alembic's entry: runs the migrations on the connection that :mod:`sluiceway.catalog.engine` hands over."""

from alembic import context

from sluiceway.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="sluiceway_schema",
    transactional_ddl=True,  # SQLite can, once its driver is told to leave transactions alone (engine.py)
)
with context.begin_transaction():
    context.run_migrations()
