"""The first schema.

Frozen: written out, not taken from ``schema.py``, which moves on with later migrations.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, **kwargs: object) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **kwargs)  # type: ignore[arg-type]


def _number(name: str) -> sa.Column[float]:
    return sa.Column(name, sa.Float, nullable=False)


def _count(name: str, **kwargs: object) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, **kwargs)  # type: ignore[arg-type]


def upgrade() -> None:
    """Create every table of version 0001."""
    _data_and_pipeline()
    _serving()
    _rollouts()


def _data_and_pipeline() -> None:
    op.create_table(
        "tags",
        _text("table_uri", primary_key=True),
        _text("name", primary_key=True),
        _count("version"),
        _text("digest"),
        _number("created"),
        _text("message", server_default=""),
    )
    op.create_table(
        "leases",
        _text("name", primary_key=True),
        _text("owner"),
        _number("expires"),
        _text("body", server_default="{}"),
    )
    op.create_table(
        "pipeline_runs",
        _text("run_id", primary_key=True),
        _text("config_digest", index=True),
        _text("config"),
        _text("status"),
        _number("started"),
        sa.Column("ended", sa.Float),
    )
    op.create_table(
        "pipeline_steps",
        _text("run_id", primary_key=True),
        _text("name", primary_key=True),
        _text("key", index=True),
        _text("status"),
        _text("result", server_default="{}"),
        _number("started"),
        sa.Column("ended", sa.Float),
    )


def _serving() -> None:
    op.create_table(
        "traffic",
        _text("endpoint", primary_key=True),
        _count("generation", primary_key=True),
        _text("body"),
        _number("created"),
    )
    op.create_table(
        "arm_counts",
        _text("endpoint", primary_key=True),
        _count("generation", primary_key=True),
        _text("replica", primary_key=True),
        _text("version", primary_key=True),
        _text("arm", primary_key=True),
        _count("requests"),
        _count("errors"),
        _text("latency"),
        _number("updated"),
    )
    op.create_table(
        "predictions",
        _text("request_id", primary_key=True),
        _number("time"),
        _text("endpoint"),
        _count("generation"),
        _text("arm"),
        _text("version"),
        _text("key_hash", server_default=""),
        _number("score"),
        sa.Column("champion_version", sa.Text),
        sa.Column("champion_score", sa.Float),
        _number("decision"),
        sa.Column("champion_decision", sa.Float),
    )
    op.create_index("predictions_by_generation", "predictions", ["endpoint", "generation", "arm"])
    op.create_table(
        "feedback",
        _text("request_id", primary_key=True),
        _number("outcome"),
        _number("time"),
        _number("received"),
    )


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        _text("rollout_id", primary_key=True),
        _text("endpoint", index=True),
        _text("plan"),
        _number("created"),
    )
    op.create_table(
        "rollout_journal",
        _text("rollout_id", primary_key=True),
        _count("sequence", primary_key=True),
        _text("state"),
        _text("action"),
        _text("evidence", server_default="{}"),
        _number("created"),
    )
