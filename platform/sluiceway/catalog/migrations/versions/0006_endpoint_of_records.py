"""A request id is one endpoint's own: callers choose them, and may use the same one at two.

Feedback had no endpoint: it is given that of its prediction. What finds none belongs to no endpoint any more.

Frozen: written out, not taken from ``schema.py``, which moves on with later migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PREDICTION = """request_id, time, endpoint, generation, arm, version, key_hash, score, champion_version, champion_score,
    decision, champion_decision"""


def upgrade() -> None:
    """Make both tables anew, since SQLite changes no primary key."""
    for index, table in (("predictions_by_generation", "predictions"), ("feedback_by_time", "feedback")):
        op.drop_index(index, table)
        op.rename_table(table, f"{table}_before")
    _create()
    op.execute(f"INSERT INTO predictions ({PREDICTION}) SELECT {PREDICTION} FROM predictions_before")
    op.execute(
        "INSERT INTO feedback (endpoint, request_id, outcome, time, received) "
        "SELECT coalesce(p.endpoint, ''), f.request_id, f.outcome, f.time, f.received "
        "FROM feedback_before f LEFT JOIN predictions_before p ON p.request_id = f.request_id"
    )
    for table in ("predictions", "feedback"):
        op.drop_table(f"{table}_before")
    op.create_index("predictions_by_generation", "predictions", ["endpoint", "generation", "arm"])
    op.create_index("feedback_by_time", "feedback", ["endpoint", "received"])


def _create() -> None:
    op.create_table(
        "predictions",
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("key_hash", sa.Text, nullable=False, server_default=""),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("champion_version", sa.Text),
        sa.Column("champion_score", sa.Float),
        sa.Column("decision", sa.Float, nullable=False),
        sa.Column("champion_decision", sa.Float),
        sa.PrimaryKeyConstraint("endpoint", "request_id", name="predictions_by_request"),
    )
    op.create_table(
        "feedback",
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("outcome", sa.Float, nullable=False),
        sa.Column("time", sa.Float, nullable=False),
        sa.Column("received", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("endpoint", "request_id", name="feedback_by_request"),
    )
