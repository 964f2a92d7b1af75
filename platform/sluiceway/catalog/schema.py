"""The catalog's tables, as the newest migration leaves them.

Times are UTC epoch seconds (float): the same on SQLite and Postgres, and sortable. JSON documents are text.
"""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("table_uri", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("message", sa.Text, nullable=False, server_default=""),
)

file_digests = sa.Table(
    "file_digests",
    metadata,
    sa.Column("table_uri", sa.Text, primary_key=True),
    sa.Column("path", sa.Text, primary_key=True),
    sa.Column("format", sa.Text, primary_key=True),  # core.row_digest.FORMAT
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("low", sa.Text, nullable=False),  # 16 hex digits: no database has unsigned 64 bits
    sa.Column("high", sa.Text, nullable=False),
)

repository_tables = sa.Table(
    "repository_tables",
    metadata,
    sa.Column("uri", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, server_default="[]"),  # JSON: columns
    sa.Column("created", sa.Float, nullable=False),
)

repository_commits = sa.Table(
    "repository_commits",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("parents", sa.Text, nullable=False),  # JSON: ids
    sa.Column("tree", sa.Text, nullable=False),  # JSON: table -> [place, version, digest]
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False, server_default="{}"),
    sa.Column("created", sa.Float, nullable=False),
)

repository_refs = sa.Table(
    "repository_refs",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # branch, tag
    sa.Column("commit_id", sa.Text, nullable=False),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("protected", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created", sa.Float, nullable=False),
)

repository_clones = sa.Table(
    "repository_clones",
    metadata,
    sa.Column("branch_id", sa.Text, primary_key=True),
    sa.Column("uri", sa.Text, primary_key=True),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

repository_merges = sa.Table(
    "repository_merges",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("dest", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("onto", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, index=True),  # open, moved, done, undone
    sa.Column("result", sa.Text, nullable=False, server_default=""),  # the commit that it made
    sa.Column("created", sa.Float, nullable=False),
)

lost_versions = sa.Table(
    "lost_versions",
    metadata,
    sa.Column("place", sa.Text, primary_key=True),  # the table, or a branch's copy of it
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("table_id", sa.Text, nullable=False),  # Delta's own: another table may come to the same place
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
)

catalog_identity = sa.Table(
    "catalog_identity",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),  # always 1
    sa.Column("id", sa.Text, nullable=False),
)

erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("table_uri", sa.Text, nullable=False, index=True),
    sa.Column("keys_digest", sa.Text, nullable=False),  # the keys themselves are erased
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("report", sa.Text, nullable=False, server_default="{}"),  # JSON: what was done and what was not reached
    sa.Column("created", sa.Float, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("expires", sa.Float, nullable=False),
    sa.Column("body", sa.Text, nullable=False, server_default="{}"),
)

pipeline_runs = sa.Table(
    "pipeline_runs",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("config_digest", sa.Text, nullable=False, index=True),
    sa.Column("config", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # running, done, failed
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
)

pipeline_steps = sa.Table(
    "pipeline_steps",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, index=True),  # content: code, config, input versions
    sa.Column("status", sa.Text, nullable=False),  # running, done, failed
    sa.Column("result", sa.Text, nullable=False, server_default="{}"),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("ended", sa.Float),
)

traffic = sa.Table(
    "traffic",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),  # core.traffic.TrafficDocument
    sa.Column("created", sa.Float, nullable=False),
)

arm_counts = sa.Table(
    "arm_counts",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("replica", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("arm", sa.Text, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("latency", sa.Text, nullable=False),  # JSON: counts per bucket of core.traffic.LATENCY_BOUNDS_SECONDS
    sa.Column("updated", sa.Float, nullable=False),
    sa.Column("errors_in_row", sa.BigInteger, nullable=False, server_default="0"),
)

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),  # callers choose ids, and may use one at two endpoints
    sa.Column("request_id", sa.Text, primary_key=True),
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
    sa.Index("predictions_by_generation", "endpoint", "generation", "arm"),
)

folded_predictions = sa.Table(
    "folded_predictions",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("arm", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False, server_default=""),
    sa.Column("rows", sa.BigInteger, nullable=False),  # without those that outcomes asked for; negative: being archived
    sa.Column("body", sa.LargeBinary, nullable=False),  # these, as catalog.folded.ROW
    sa.Index("folded_by_time", "endpoint", "time"),
)

feedback = sa.Table(
    "feedback",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Float, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
    sa.Column("received", sa.Float, nullable=False),
    sa.Column("value", sa.Float),  # what it was worth, where somebody says so
    sa.Index("feedback_by_time", "endpoint", "received"),
)

rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("endpoint", sa.Text, nullable=False, index=True),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("created", sa.Float, nullable=False),
)

rollout_journal = sa.Table(
    "rollout_journal",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),  # compare-and-set: the primary key refuses the loser
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("evidence", sa.Text, nullable=False, server_default="{}"),
    sa.Column("created", sa.Float, nullable=False),
)

rollout_commands = sa.Table(
    "rollout_commands",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("sequence", sa.BigInteger, primary_key=True),
    sa.Column("order", sa.Text, nullable=False),  # core.command.Order
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("created", sa.Float, nullable=False),
)

rollout_looks = sa.Table(
    "rollout_looks",
    metadata,
    sa.Column("rollout_id", sa.Text, primary_key=True),
    sa.Column("time", sa.Float, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),  # JSON, as in the journal
    sa.Column("seen", sa.Text, nullable=False),  # JSON: the counts that were judged
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),  # the part of a key that may be shown
    sa.Column("name", sa.Text, nullable=False),  # who has it, for people
    sa.Column("digest", sa.Text, nullable=False),  # of the secret part
    sa.Column("scopes", sa.Text, nullable=False),  # JSON: predict, feedback, admin
    sa.Column("endpoint", sa.Text, nullable=False, server_default=""),  # the only one that it opens; "" opens all
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("revoked", sa.Float),
)

open_breakers = sa.Table(
    "open_breakers",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True),
    sa.Column("generation", sa.BigInteger, primary_key=True),
    sa.Column("replica", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),  # that the replica asks no more
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("time", sa.Float, nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),  # what it is for
    sa.Column("value", sa.Text, nullable=False),  # hex digits
)
