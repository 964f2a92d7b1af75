"""Opens the catalog and brings its schema up to date."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from sluiceway.catalog.schema import metadata
from sluiceway.core.errors import BackendError, ConfigError

# How long a SQLite writer waits for another one; longer than any transaction of ours takes.
SQLITE_BUSY_SECONDS = 30

# A database host that does not answer is given up after so long; of several hosts in a URL, each.
CONNECT_SECONDS = 10
# A host that dies while it is connected is noticed within a minute: by probes of an idle connection, and by what it
# does not acknowledge. Without them a connection waits for a quarter of an hour, or two hours.
NOTICE_DEATH = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}
# Those that hand their options to libpq.
LIBPQ_DRIVERS = ("psycopg", "psycopg2")

VERSION_TABLE = "sluiceway_schema"
# Any number that other programs on the same Postgres do not use as an advisory lock.
MIGRATION_LOCK = 0x51_1C_E3


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the catalog's folder {folder} cannot be made: {error.strerror or error}",
            hint="set platform.state (or platform.catalog) to a folder that may be written",
        ) from error


def open_catalog(url: str, *, migrate: bool = True) -> sa.Engine:
    """Open the catalog, creating or migrating it forward when needed.

    Args:
        url: SQLAlchemy URL, e.g. ``sqlite:////var/lib/sluiceway/catalog.db`` or ``postgresql+psycopg://...``.
        migrate: False opens it as it is; for serving replicas, which must not race each other to migrate.

    Raises:
        ConfigError: the address is none.
        BackendError: the database cannot be reached, or its schema is newer than this release knows.
    """
    if url.startswith("sqlite:///"):
        _make_folder(Path(url.removeprefix("sqlite:///")).parent)
    try:
        engine = sa.create_engine(url, pool_pre_ping=True, **_engine_options(url))
    except (sa.exc.ArgumentError, ModuleNotFoundError) as error:
        # The address is not repeated: it may hold a password.
        raise ConfigError(
            f"the catalog's address cannot be used: {type(error).__name__}",
            hint="platform.catalog wants a SQLAlchemy URL, e.g. sqlite:////data/catalog.db or postgresql+psycopg://...",
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    try:
        with engine.connect() as connection:
            present, newest = _versions(connection)
        if present != newest:
            _bring_up_to_date(engine, migrate=migrate)
    except sa.exc.DBAPIError as error:
        raise BackendError(
            f"the catalog at {engine.url.render_as_string()} cannot be used: {error.orig}",
            hint="check platform.catalog in the configuration and that the database is running",
        ) from error
    return engine


def empty_catalog() -> sa.Engine:
    """A catalog in memory with nothing in it, for who asks where there is none."""
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return engine


def refuse_sqlite_on_many_nodes(engine: sa.Engine, *, node_count: int) -> None:
    """SQLite has no safe locking over a network file system; refuse it where Ray has more than one node.

    Raises:
        BackendError: the catalog is SQLite and there is more than one node.
    """
    if engine.dialect.name == "sqlite" and node_count > 1:
        raise BackendError(
            f"the catalog is SQLite and this Ray cluster has {node_count} nodes",
            hint="set platform.catalog to a Postgres URL",
        )


def _engine_options(url: str) -> dict[str, object]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": SQLITE_BUSY_SECONDS}}
    return {"pool_size": 5, "max_overflow": 5, "connect_args": _connect_args(sa.make_url(url))}


def _connect_args(url: sa.URL) -> dict[str, int]:
    """What the driver is told beside the URL and the environment, which are the user's and win."""
    if url.get_driver_name() not in LIBPQ_DRIVERS:
        return {}
    ours = {"connect_timeout": CONNECT_SECONDS, **NOTICE_DEATH}
    theirs = {*url.query, *_of_the_environment()}
    return {name: value for name, value in ours.items() if name not in theirs}


def _of_the_environment() -> set[str]:
    """What libpq itself takes from there, e.g. ``PGCONNECT_TIMEOUT``; with a catalog of SQLite nobody loads it."""
    from psycopg import pq  # noqa: PLC0415

    return {option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.val}


def _prepare_sqlite(engine: sa.Engine) -> None:
    # WAL lets replicas read while one writes; FULL keeps an acknowledged commit through a power cut.
    @sa.event.listens_for(engine, "connect")
    def _pragmas(connection: object, _record: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        _switch_to_wal(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    engine.dispose()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Of several that open a new catalog at once one makes the switch; SQLite does not let the others wait."""
    deadline = time.monotonic() + SQLITE_BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _versions(connection: sa.Connection) -> tuple[str | None, str]:
    """The schema that the catalog has, and the one that this release needs."""
    scripts = ScriptDirectory.from_config(_alembic())
    present = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    known = [script.revision for script in scripts.walk_revisions()]
    if present is not None and present not in known:
        raise BackendError(
            f"the catalog has schema {present}, newer than this release knows ({known[0]})",
            hint="upgrade sluiceway; a newer release has migrated this catalog",
        )
    return present, known[0]


def _bring_up_to_date(engine: sa.Engine, *, migrate: bool) -> None:
    """Migrate in one transaction, under a lock: a killed process leaves nothing, a second one waits for the first."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Python's driver would commit each CREATE TABLE by itself.
            connection.connection.dbapi_connection.isolation_level = None  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        present, newest = _versions(connection)
        if present == newest:
            return
        if not migrate:
            raise BackendError(
                f"the catalog has schema {present or 'none'}, this release needs {newest}",
                hint="run `sluiceway doctor` or any command that writes, once, to migrate it",
            )
        config = _alembic()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
    engine.dispose()  # the connection with the changed isolation goes


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
