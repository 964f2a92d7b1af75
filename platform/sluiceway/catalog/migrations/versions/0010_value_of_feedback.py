"""What an answer was worth, beside what became of it.

Frozen: written out, not taken from ``schema.py``, which moves on with later migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; earlier outcomes have no value."""
    op.add_column("feedback", sa.Column("value", sa.Float))
