"""The repository of tables: its commits, branches, tags, copies and merges.

Frozen: written out, not taken from ``schema.py``, which moves on with later migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "repository_tables",
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False, server_default="[]"),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "repository_commits",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("parents", sa.Text, nullable=False),
        sa.Column("tree", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False, server_default="{}"),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "repository_refs",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("commit_id", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("protected", sa.Integer, nullable=False, server_default="0"),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "repository_clones",
        sa.Column("branch_id", sa.Text, primary_key=True),
        sa.Column("uri", sa.Text, primary_key=True),
        sa.Column("place", sa.Text, nullable=False),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_table(
        "repository_merges",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("dest", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("onto", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False, server_default=""),
        sa.Column("created", sa.Float, nullable=False),
    )
    op.create_index("ix_repository_merges_status", "repository_merges", ["status"])
