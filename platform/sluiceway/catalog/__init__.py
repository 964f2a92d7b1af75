"""The metadata database: tags, leases, pipeline steps, traffic, rollout journal, feedback.

SQLite by default, Postgres in a cluster, one text for both (SQLAlchemy Core). Belongs here: tables, migrations, and
one small store per concern that reads and writes rows. Does not belong here: what the rows mean (the floors above).
"""
