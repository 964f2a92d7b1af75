"""How many requests of an arm have failed one after the other.

Frozen: written out, not taken from ``schema.py``, which moves on with later migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was counted before has no row of errors."""
    op.add_column("arm_counts", sa.Column("errors_in_row", sa.BigInteger, nullable=False, server_default="0"))
