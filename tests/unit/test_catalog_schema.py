"""The catalog's schema: migrated from nothing, refused when it is newer, opened by several at once."""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sluiceway.catalog import engine as engine_room
from sluiceway.catalog.engine import open_catalog, refuse_sqlite_on_many_nodes
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.schema import metadata
from sluiceway.core.errors import BackendError, ConfigError


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'state' / 'catalog.db'}"


def revision(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        return connection.execute(sa.text("select version_num from sluiceway_schema")).scalar_one()


def set_revision(engine: sa.Engine, value: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("update sluiceway_schema set version_num = :value"), {"value": value})


def columns(engine: sa.Engine) -> dict[str, list[sa.Row]]:
    with engine.connect() as connection:
        return {
            name: sorted(tuple(row)[1:] for row in connection.execute(sa.text(f"pragma table_info({name})")))
            for name in metadata.tables
        }


def test_the_migrations_make_what_the_schema_declares(catalog: sa.Engine, tmp_path: Path) -> None:
    with catalog.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "sluiceway_schema"})
        assert compare_metadata(context, metadata) == []
    # Alembic compares no defaults that are empty texts; the database's own description has them.
    declared = sa.create_engine(f"sqlite:///{tmp_path / 'declared.db'}")
    metadata.create_all(declared)
    assert columns(catalog) == columns(declared)
    declared.dispose()


def test_the_comparison_sees_a_difference(catalog: sa.Engine) -> None:
    with catalog.begin() as connection:
        connection.execute(sa.text("drop table feedback"))
        connection.execute(sa.text("drop index predictions_by_generation"))
    with catalog.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "sluiceway_schema"})
        assert {difference[0] for difference in compare_metadata(context, metadata)} == {"add_table", "add_index"}


def test_opening_again_keeps_what_is_there(tmp_path: Path) -> None:
    first = open_catalog(url(tmp_path))
    with first.begin() as connection:
        connection.execute(metadata.tables["leases"].insert().values(name="n", owner="o", expires=1.0))
    first.dispose()
    second = open_catalog(url(tmp_path))
    with second.connect() as connection:
        assert connection.execute(sa.select(metadata.tables["leases"].c.owner)).scalar_one() == "o"
    second.dispose()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    engine = open_catalog(url(tmp_path))
    set_revision(engine, "9999")
    for migrate in (True, False):
        with pytest.raises(BackendError, match="newer than this release knows") as caught:
            open_catalog(url(tmp_path), migrate=migrate)
        assert "upgrade" in (caught.value.hint or "")
    assert revision(engine) == "9999"
    engine.dispose()


def test_who_may_not_migrate_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="schema none"):
        open_catalog(url(tmp_path), migrate=False)
    open_catalog(url(tmp_path)).dispose()
    open_catalog(url(tmp_path), migrate=False).dispose()


def test_connections_write_ahead_and_to_the_disk(catalog: sa.Engine) -> None:
    with catalog.connect() as connection:
        assert connection.execute(sa.text("pragma journal_mode")).scalar_one() == "wal"
        assert connection.execute(sa.text("pragma synchronous")).scalar_one() == 2


@pytest.mark.parametrize("nodes", [0, 1])
def test_sqlite_is_fine_on_one_node(catalog: sa.Engine, nodes: int) -> None:
    refuse_sqlite_on_many_nodes(catalog, node_count=nodes)


def test_sqlite_is_refused_on_many_nodes(catalog: sa.Engine) -> None:
    with pytest.raises(BackendError, match="2 nodes") as caught:
        refuse_sqlite_on_many_nodes(catalog, node_count=2)
    assert "Postgres" in (caught.value.hint or "")


def test_a_file_that_is_no_database_is_one_error_with_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_text("this is not a database, and long enough to be read as a header" * 20)
    with pytest.raises(BackendError, match="cannot be used") as caught:
        open_catalog(f"sqlite:///{path}")
    assert "platform.catalog" in (caught.value.hint or "")


@pytest.mark.parametrize("address", ["catalog.db", "nodatabase://host/x", "sqlite://user:secret@/catalog.db"])
def test_an_address_that_is_none_is_a_problem_of_the_configuration(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_catalog(address)
    assert "platform.catalog" in (caught.value.hint or "")
    assert "secret" not in str(caught.value)


KILLED = """
import os, signal, sys
import sqlalchemy as sa
from sluiceway.catalog.engine import open_catalog

def kill(connection, cursor, statement, *rest):
    if "rollout_journal" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

sa.event.listen(sa.Engine, "before_cursor_execute", kill)
open_catalog(sys.argv[1])
"""


def test_a_process_killed_half_way_through_a_migration_leaves_nothing_behind(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", KILLED, url(tmp_path)]
    done = subprocess.run(command, cwd=repository / "platform", check=False)
    assert done.returncode == -9
    engine = open_catalog(url(tmp_path))
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


PREDICTION = (
    "insert into predictions (request_id, time, endpoint, generation, arm, version, key_hash, score, decision) "
    "values (:id, 1, :endpoint, 1, 'champion', '1', '', 0.5, 1)"
)
OUTCOME = "insert into feedback (request_id, outcome, time, received) values (:id, 1, 1, :received)"


def records_before(engine: sa.Engine) -> None:
    """A catalog as 0005 leaves it, with what requests and outcomes it has by ids alone."""
    with engine.begin() as connection:
        connection.execute(sa.text(PREDICTION), [{"id": "a", "endpoint": "one"}, {"id": "b", "endpoint": "two"}])
        connection.execute(sa.text(OUTCOME), [{"id": name, "received": i} for i, name in enumerate("abc")])


def migrated_from(address: str, before: str) -> sa.Engine:
    """A catalog that was brought to a revision, given records, and opened by this release."""
    bare = sa.create_engine(address)
    config = engine_room._alembic()
    with bare.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        connection.commit()
    records_before(bare)
    bare.dispose()
    return open_catalog(address)


def judge_migrated(engine: sa.Engine) -> None:
    """Each outcome is its prediction's endpoint's, and the schema is the one of a new catalog."""
    with engine.connect() as connection:
        rows = connection.execute(sa.text("select endpoint, request_id, received from feedback"))
        assert sorted(tuple(row) for row in rows) == [("", "c", 2.0), ("one", "a", 0.0), ("two", "b", 1.0)]
        context = MigrationContext.configure(connection, opts={"version_table": "sluiceway_schema"})
        assert compare_metadata(context, metadata) == []
    store = RecordStore(engine)
    row = PredictionRecord("a", 2.0, "two", 1, "champion", "1", 0.5, 1.0)
    assert store.add_predictions([row, row, row._replace(endpoint="one")]) == 1  # what is there is there
    assert store.add_feedback("two", [FeedbackRecord("a", 0.0, 3.0, 3.0), FeedbackRecord("b", 0.0, 3.0, 3.0)]) == {"a"}
    engine.dispose()


def test_records_by_ids_alone_become_their_endpoints(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    judge_migrated(migrated_from(url(tmp_path), "0005"))


def revisions() -> list[str]:
    """All that this release knows, oldest first."""
    return [one.revision for one in ScriptDirectory.from_config(engine_room._alembic()).walk_revisions()][::-1]


def judge_outcome_of(address: str, before: str) -> None:
    """An outcome that a catalog of an earlier revision holds is there afterwards, and has no value."""
    bare = sa.create_engine(address)
    config = engine_room._alembic()
    with bare.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, before)
        known = {column["name"] for column in sa.inspect(connection).get_columns("feedback")}
        given = {"endpoint": "one", "request_id": "a", "outcome": 1.0, "time": 1.0, "received": 2.0}
        given = {name: value for name, value in given.items() if name in known}
        names = ", ".join(given)
        marks = ", ".join(f":{name}" for name in given)
        connection.execute(sa.text(f"insert into feedback ({names}) values ({marks})"), given)
        connection.commit()
    bare.dispose()
    engine = open_catalog(address)
    endpoint = "one" if "endpoint" in given else ""  # without a prediction it belongs to none
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(sa.select(metadata.tables["feedback"]))]
        context = MigrationContext.configure(connection, opts={"version_table": "sluiceway_schema"})
        assert compare_metadata(context, metadata) == []
    assert rows == [(endpoint, "a", 1.0, 1.0, 2.0, None)]
    engine.dispose()


@pytest.mark.parametrize("before", revisions()[:-1])
def test_outcomes_of_every_earlier_release_have_no_value(tmp_path: Path, before: str) -> None:
    (tmp_path / "state").mkdir()
    judge_outcome_of(url(tmp_path), before)


OPENER = """
import sys, time
from sluiceway.catalog.engine import open_catalog
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
open_catalog(sys.argv[1]).dispose()
"""


def test_the_switch_of_a_new_catalog_waits_for_who_is_faster() -> None:
    """SQLite says "locked" at once where two switch at the same moment; there is nothing else to wait by."""
    answers = [sqlite3.OperationalError("database is locked")] * 2

    class Cursor:
        def execute(self, statement: str) -> None:
            assert statement == "PRAGMA journal_mode=WAL"
            if answers:
                raise answers.pop()

    engine_room._switch_to_wal(Cursor())
    assert answers == []
    answers[:] = [sqlite3.OperationalError("disk I/O error")]
    with pytest.raises(sqlite3.OperationalError, match="disk"):
        engine_room._switch_to_wal(Cursor())


def test_processes_that_open_a_new_catalog_at_once_all_get_it(tmp_path: Path, repository: Path) -> None:
    import time  # noqa: PLC0415 (a common start makes the race)

    address = url(tmp_path / "catalog")
    start = str(time.time() + 1.5)
    openers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", OPENER, address, start],
            cwd=repository / "platform",
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    complaints = [opener.communicate(timeout=60)[1].strip().splitlines()[-1:] for opener in openers]
    assert complaints == [[]] * len(openers)
    engine = open_catalog(address, migrate=False)
    engine.dispose()


@pytest.fixture
def silent_host():
    """The address of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql+psycopg://sluiceway@127.0.0.1:{server.getsockname()[1]}/d"


@pytest.mark.parametrize(("ours", "theirs"), [(2, ""), (600, "?connect_timeout=2")], ids=["ours", "the URL's"])
def test_a_database_that_does_not_answer_is_given_up(silent_host, monkeypatch, ours, theirs):
    monkeypatch.setattr(engine_room, "CONNECT_SECONDS", ours)
    begun = time.monotonic()
    with pytest.raises(BackendError, match="cannot be used"):
        open_catalog(silent_host + theirs)
    assert 1 < time.monotonic() - begun < 15


def test_how_long_the_environment_waits_for_a_database_wins(silent_host, monkeypatch):
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "2")
    monkeypatch.setattr(engine_room, "CONNECT_SECONDS", 600)
    begun = time.monotonic()
    with pytest.raises(BackendError, match="cannot be used"):
        open_catalog(silent_host)
    assert 1 < time.monotonic() - begun < 15
    ours = engine_room._connect_args(sa.make_url("postgresql://h/d?keepalives_idle=5"))
    assert not {"connect_timeout", "keepalives_idle"} & ours.keys()
    assert "tcp_user_timeout" in ours
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "")
    assert engine_room._connect_args(sa.make_url("postgresql://h/d"))["connect_timeout"] == 600


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql+psycopg://h/d", {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 60_000}),
        ("postgresql://h/d?keepalives_idle=5&connect_timeout=3", {"tcp_user_timeout": 60_000}),
        ("postgresql+pg8000://h/d", {}),
    ],
)
def test_what_a_url_says_of_the_connection_wins(address, expected):
    told = engine_room._connect_args(sa.make_url(address))
    names = ("connect_timeout", "keepalives_idle", "tcp_user_timeout")
    assert {name: told[name] for name in names if name in told} == expected
