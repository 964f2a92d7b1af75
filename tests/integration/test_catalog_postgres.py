"""The catalog and MLflow on Postgres: the tests of the stores again, migrations that race, the registry."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import xgboost as xgb
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from sluiceway.catalog.engine import open_catalog, refuse_sqlite_on_many_nodes
from sluiceway.catalog.folded import FoldedRequest, folded_body
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import FeedbackRecord, PredictionRecord, RecordStore
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.schema import metadata
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError
from sluiceway.registry.bundle import Bundle
from sluiceway.registry.mlflow_registry import CHAMPION, Registry, RunRecord

pytestmark = pytest.mark.integration

TESTS = Path(__file__).resolve().parent.parent
# Whose tests are run here once more, with this module's ``catalog`` and ``stores``; without those about SQLite itself.
AGAIN = {
    "unit/test_serving_catalog.py": {"test_a_catalog_that_went_away_is_a_backend_error"},
    "unit/test_catalog_api_keys.py": set(),
    "unit/test_catalog_comparisons.py": set(),
    "unit/test_catalog_outcomes.py": set(),
    "unit/test_catalog_claim.py": set(),
    "unit/test_lifecycle_journal.py": set(),
    "contract/test_rollout_stores.py": set(),
    "integration/test_repository.py": set(),
    "integration/test_data_vacuum.py": {"test_the_command"},
}


def load(path: str) -> dict[str, object]:
    """What a module of tests defines."""
    spec = importlib.util.spec_from_file_location(f"again_{Path(path).stem}", TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


def again(path: str, without: set[str]) -> dict[str, object]:
    """The tests and fixtures of a module; its tests then find this module's fixtures of the same names."""
    found = {
        name: value
        for name, value in load(path).items()
        if (name.startswith("test_") or type(value).__name__ == "FixtureFunctionDefinition")
        and name not in without | {"stores", "catalog"}
    }
    assert any(name.startswith("test_") for name in found), path
    assert not found.keys() & globals().keys(), path
    return found


for _path, _without in AGAIN.items():
    globals().update(again(_path, _without))


@dataclass(frozen=True)
class Server:
    """A Postgres of this module's own."""

    process: subprocess.Popen
    port: int

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://sluiceway@127.0.0.1:{self.port}/{database}"

    def new_database(self) -> str:
        name = f"d{uuid.uuid4().hex}"
        engine = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"create database {name}"))
        engine.dispose()
        return self.url(name)


def programs() -> Path | None:
    """The folder of the newest Postgres; Debian keeps it off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Postgres on a free port, as another user where we are root: it refuses to run as root."""
    folder_of_programs = programs()
    if folder_of_programs is None:
        pytest.skip("there is no Postgres here; Debian: apt-get install postgresql")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Not below pytest's own folder, which other users may not enter.
    with tempfile.TemporaryDirectory(prefix="sluiceway-postgres-") as folder:
        who: dict[str, object] = {}
        if os.getuid() == 0:
            who = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres", "postgres")
        initdb = [folder_of_programs / "initdb", "-D", f"{folder}/data", "-U", "sluiceway", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*initdb, "--no-sync"], cwd=folder, check=True, capture_output=True, **who)
        command = [folder_of_programs / "postgres", "-D", f"{folder}/data", "-p", str(port), "-k", folder]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "-h", "127.0.0.1", "-c", "fsync=off"], cwd=folder, stdout=log, stderr=log, **who
            )
        try:
            wait_for(port, process, Path(folder) / "log")
            yield Server(process, port)
        finally:
            process.send_signal(signal.SIGINT)  # Postgres' fast shutdown
            process.wait(60)


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    engine = sa.create_engine(f"postgresql+psycopg://sluiceway@127.0.0.1:{port}/postgres")
    deadline = time.monotonic() + 60
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(sa.exc.OperationalError), engine.connect():
            break
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    engine.dispose()


@pytest.fixture
def catalog(server: Server) -> Iterator[sa.Engine]:
    """A fresh catalog on Postgres, in the place of the SQLite one."""
    engine = open_catalog(server.new_database())
    yield engine
    engine.dispose()


@pytest.fixture
def stores(catalog: sa.Engine):
    """In the place of the contract's memory and SQLite."""
    return TrafficStore(catalog), RolloutStore(catalog), LeaseStore(catalog)


def test_tags_on_postgres(catalog: sa.Engine) -> None:
    load("integration/test_data_commit.py")["test_tags"](catalog)


def test_the_migrations_make_what_the_schema_declares(catalog: sa.Engine) -> None:
    with catalog.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "sluiceway_schema"})
        assert compare_metadata(context, metadata) == []
    refuse_sqlite_on_many_nodes(catalog, node_count=5)


def test_processes_that_open_a_new_catalog_at_once_all_get_it(server: Server, repository: Path) -> None:
    opener = load("unit/test_catalog_schema.py")["OPENER"]
    address, start = server.new_database(), str(time.time() + 2.5)
    openers = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", opener, address, start],
            cwd=repository / "platform",
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    assert [opener.communicate(timeout=60)[1].strip() for opener in openers] == [""] * len(openers)
    open_catalog(address, migrate=False).dispose()


def test_a_process_killed_half_way_through_a_migration_leaves_nothing_behind(server: Server, repository: Path) -> None:
    killed, address = load("unit/test_catalog_schema.py")["KILLED"], server.new_database()
    command = [sys.executable, "-W", "ignore", "-c", killed, address]
    assert subprocess.run(command, cwd=repository / "platform", check=False).returncode == -9
    bare = sa.create_engine(address)
    assert sa.inspect(bare).get_table_names() == []
    bare.dispose()
    engine = open_catalog(address)
    assert set(metadata.tables) <= set(sa.inspect(engine).get_table_names())
    engine.dispose()


def test_records_by_ids_alone_become_their_endpoints(server: Server) -> None:
    of_schema = load("unit/test_catalog_schema.py")
    of_schema["judge_migrated"](of_schema["migrated_from"](server.new_database(), "0005"))


def test_outcomes_of_every_earlier_release_have_no_value(server: Server) -> None:
    of_schema = load("unit/test_catalog_schema.py")
    for before in of_schema["revisions"]()[:-1]:
        of_schema["judge_outcome_of"](server.new_database(), before)


def test_a_server_that_lost_our_connections_is_reached_again(server: Server, catalog: sa.Engine) -> None:
    store = RecordStore(catalog)
    store.add_feedback("e", [FeedbackRecord("a", 1.0, 1.0, 1.0)])
    other = sa.create_engine(server.url("postgres"))
    with other.begin() as connection:
        ended = connection.execute(
            sa.text("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = :name"),
            {"name": catalog.url.database},
        ).scalar_one()
    assert ended >= 1
    other.dispose()
    store.add_feedback("e", [FeedbackRecord("b", 1.0, 1.0, 1.0)])


def test_a_server_that_is_not_there_is_a_backend_error() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"postgresql+psycopg://me:secret@127.0.0.1:{probe.getsockname()[1]}/catalog"
        with pytest.raises(BackendError, match="cannot be used") as caught:
            open_catalog(address)
    assert "secret" not in str(caught.value)


def model() -> bytes:
    data = xgb.DMatrix(np.arange(20.0).reshape(-1, 1), label=np.arange(20) > 9, feature_names=["delay"])
    return bytes(xgb.train({"objective": "binary:logistic"}, data, 2).save_raw(raw_format="ubj"))


def test_the_registry_on_postgres(server: Server, tmp_path: Path) -> None:
    registry = Registry(server.new_database(), tmp_path / "artifacts")
    registry.check()
    run_id = registry.log_run(
        RunRecord(experiment="flights", name="a run", params={"max_depth": 6}, metrics={"auc": 0.9}, key="k")
    )
    bundle = Bundle(
        model=model(),
        schema={"version": 1, "missing": "NaN", "features": [{"name": "delay", "kind": "numeric"}]},
        decision={"kind": "binary", "threshold": 0.4, "target": "late"},
        lineage={"data": {"uri": "/tables/flights", "version": 3, "digest": "abc", "rows": 300}},
    )
    assert registry.register("flights", bundle, run_id, tags={"gates": "PASS"}) == "1"
    assert registry.register("flights", bundle, run_id) == "1"
    registry.promote("flights", "1")
    assert registry.bundle("flights", CHAMPION) == ("1", bundle)
    (version,) = registry.versions("flights")
    assert (version.version, version.digest, version.aliases) == ("1", bundle.digest, (CHAMPION,))
    assert registry.log_run(RunRecord(experiment="flights", name="a run", key="k")) == run_id


def test_of_a_folded_answer_and_one_of_rows_at_the_same_time_one_stays(catalog: sa.Engine) -> None:
    store, scores = RecordStore(catalog), np.linspace(0, 1, 16)
    with ThreadPoolExecutor(2) as pool:
        for number in range(30):
            name = f"q{number}"
            whole = FoldedRequest(name, 1.0, "e", 1, "champion", "1", "", 16, folded_body(scores, scores))
            rows = [PredictionRecord(f"{name}/{i}", 1.0, "e", 1, "challenger", "2", 0.5, 1.0) for i in range(16)]
            both = [pool.submit(store.add_folded, [whole]), pool.submit(store.add_predictions, rows)]
            assert sorted(one.result() for one in both) == [0, 16]
            assert (store.add_folded([whole]), store.add_predictions(rows)) == (0, 0)
