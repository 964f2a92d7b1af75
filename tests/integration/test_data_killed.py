"""Killed at any step: an ingest harms no table and brings each row once; an erasure is finished by the next."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest_victim import Task, Victims, victims
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.stores import open_stores
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit, history, places, tables
from sluiceway.data.ingest.request import IngestRequest
from sluiceway.data.repository import Repository
from sluiceway.wiring.care import build_erase

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_cluster")]

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: rows
version: 1.0.0
status: active
schema:
  - name: rows
    properties:
      - name: id
        logicalType: integer
        required: true
      - name: value
        logicalType: integer
        logicalTypeOptions:
          minimum: 0
"""


@pytest.fixture(scope="module")
def victim(ray_cluster):
    with victims({name: os.environ[name] for name in os.environ if name.startswith("RAY_AUTH")}) as started:
        yield started


def rows(ids, value: int = 0) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "value": pa.array([value] * len(ids), pa.int64())})


def held(uri: str) -> Counter:
    found = places.dataset(tables.open_table(uri), uri).to_table()
    return Counter(zip(found["id"].to_pylist(), found["value"].to_pylist(), strict=True))


def expected(ids, value: int = 0) -> Counter:
    return Counter(dict.fromkeys(((i, value) for i in ids), 1))


def unreferenced(uri: str) -> list[str]:
    """Data files that no version has; every file that a version has is there."""
    known = set()
    for number in range(tables.open_table(uri).version() + 1):
        paths = tables.files(tables.open_table(uri, version=number))["path"].to_pylist()
        known |= {path.rpartition("/")[2] for path in paths}
    there = {path.name for path in Path(uri).rglob("*.parquet") if "_delta_log" not in path.parts}
    assert known <= there
    return sorted(there - known)


class Delivery:
    """Three files for a table of ten rows, or for a branch of it, with or without misfits."""

    def __init__(self, folder: Path, victim: Victims, *, misfits: bool = False, branch: Repository | None = None):
        self.uri, self.quarantine = str(folder / "table"), str(folder / "table_quarantine")
        self._victim = victim
        commit.append(self.uri, rows(range(10)), message="first", source="test")
        self.sources = []
        for number in range(3):
            start = 5 + number * 10
            table = rows(range(start, start + 10), 1)
            if misfits:
                table = pa.concat_tables([table, rows([1000 + number], -1)])
            self.sources.append(str(folder / f"{number}.parquet"))
            pq.write_table(table, self.sources[-1])
        if misfits:
            (folder / "table" / "_contract.yaml").write_text(CONTRACT)
        if branch is not None:
            branch.add(self.uri)
            branch.commit(message="first")
            branch.branch("exp")
            self.uri = branch.place_to_write(self.uri, "exp")

    def killed(self, at: str, **request) -> Counter:
        """Send it and let it be killed at a step; the rows that the table has then."""
        assert self.sent(at, **request) == {"killed": signal.SIGKILL}
        return held(self.uri)

    def sent(self, at: str, *, delay: float = 0, **request) -> Task:
        import ray  # noqa: PLC0415 (collected without Ray, too)

        return self._victim.ingest(
            uri=self.uri,
            sources=self.sources,
            request={"batch_id": "b", **request},
            kill=at,
            delay=delay,
            many=at == "some files are written",
            address=ray.get_runtime_context().gcs_address,
        )

    def again(self, **request):
        from sluiceway.data.ray_ingest import ingest  # noqa: PLC0415

        return ingest(self.sources, self.uri, IngestRequest(batch_id="b", **request))


BEFORE = expected(range(10))
STEPS = ["begin: write", "some files are written", "begin: commit"]


@pytest.mark.parametrize("at", [*STEPS, "committed: quarantine", "committed: table"])
def test_a_delivery_arrives_once_whenever_it_is_killed(tmp_path, victim, at):
    delivery = Delivery(tmp_path, victim, misfits=True)
    after = BEFORE + expected(range(5, 35), 1)
    assert delivery.killed(at) == (after if at == "committed: table" else BEFORE)
    assert delivery.again().skipped == (at == "committed: table")
    assert delivery.again().skipped
    assert held(delivery.uri) == after
    assert held(delivery.quarantine) == expected(range(1000, 1003), -1)
    assert history.log(delivery.uri)[0].metadata["sluiceway.quarantined"] == 3
    assert [len(history.log(uri)) for uri in (delivery.uri, delivery.quarantine)] == [2, 1]
    # What a killed ingest has written lies there, in no version, until a vacuum.
    assert bool(unreferenced(delivery.uri)) == (at not in ("begin: write", "committed: table"))


AFTER = {"upsert": expected(range(5)) + expected(range(5, 35), 1), "delete": expected(range(5))}


@pytest.mark.parametrize(("mode", "at"), [("upsert", "before the entry"), ("delete", "after the entry")])
def test_a_delivery_by_key_to_a_branch_arrives_once(tmp_path, victim, catalog, mode, at):
    delivery = Delivery(tmp_path, victim, branch=Repository(RepositoryStore(catalog), SystemClock()))
    request = {"mode": mode, "key": ("id",)}
    done = at == "after the entry"
    assert delivery.killed(at, **request) == (AFTER[mode] if done else BEFORE)
    assert delivery.again(**request).skipped == done
    assert delivery.again(**request).skipped
    assert held(delivery.uri) == AFTER[mode]
    assert len(history.log(delivery.uri)) == 2
    assert held(str(tmp_path / "table")) == BEFORE


def test_an_upsert_by_the_engine_arrives_once_whenever_its_driver_is_killed(tmp_path, victim):
    by_the_engine(tmp_path, victim, 0.03)


@pytest.mark.soak
@pytest.mark.parametrize("step", range(0, 40, 4))
def test_an_upsert_by_the_engine_arrives_once_for_long(tmp_path, victim, step):
    by_the_engine(tmp_path, victim, step / 200)


def by_the_engine(folder: Path, victim: Victims, delay: float) -> None:
    delivery = Delivery(folder, victim)
    request = {"mode": "upsert", "key": ("id",)}
    assert delivery.sent("begin: upsert", delay=delay, **request)["killed"] in (signal.SIGKILL, None)
    assert held(delivery.uri) in (BEFORE, AFTER["upsert"])
    # The task may outlive its driver by a moment: the delivery that comes again meets it, or finds it done.
    delivery.again(**request)
    assert delivery.again(**request).skipped
    assert held(delivery.uri) == AFTER["upsert"]
    assert len(history.log(delivery.uri)) == 2


def test_a_refused_delivery_that_is_killed_before_it_cleaned_up_leaves_nothing_that_is_read(tmp_path, victim):
    delivery = Delivery(tmp_path, victim, misfits=True)
    assert delivery.killed("before the clean-up", strict=True) == BEFORE
    assert delivery.again(strict=True).refused
    assert held(delivery.uri) == BEFORE
    assert unreferenced(delivery.uri)
    assert not Path(delivery.quarantine, "_delta_log").exists()


@pytest.mark.parametrize("at", ["put 1", "write_down 1", "delete_files 1"])
def test_a_killed_erasure_is_finished_by_the_next(tmp_path, victim, at):
    import ray  # noqa: PLC0415 (collected without Ray, too)

    from sluiceway.data.ray_erase import EraseRequest, erase  # noqa: PLC0415

    uri, state, keys = str(tmp_path / "people"), str(tmp_path / "state"), {"id": [7]}
    stores = open_stores(f"sqlite:///{state}/catalog.db")
    lake = Repository(stores.repository, SystemClock(), lost=stores.lost_versions)
    commit.append(uri, rows([1, 7]), message="first", source="test")
    commit.append(uri, rows([2]), message="second", source="test")
    lake.add(uri)
    lake.commit(message="first")
    lake.branch("exp")
    commit.append(lake.place_to_write(uri, "exp"), rows([7, 3]), message="more", source="test")
    told = victim.erase(
        uri=uri,
        keys=keys,
        catalog=f"sqlite:///{state}/catalog.db",
        state=state,
        kill=f"after {at}",
        address=ray.get_runtime_context().gcs_address,
    )
    assert told == {"killed": signal.SIGKILL}
    assert held(uri) - expected([7]) == expected([1, 2])
    assert held(lake.pin(uri, "exp").uri) - expected([7]) - expected([7]) == expected([1, 2, 3])
    doors = build_erase(PlatformSection(state=state), stores, lake, clock=SystemClock())
    erase(uri, EraseRequest(pa.table(keys), apply=True), doors)
    assert held(uri) == expected([1, 2])
    assert held(lake.pin(uri, "exp").uri) == expected([1, 2, 3])
    # What the killed one had written and not committed has no row of the key, either.
    for path in Path(uri).rglob("*.parquet"):
        assert "_delta_log" in path.parts or 7 not in pq.read_table(path)["id"].to_pylist()
    stores.repository.engine.dispose()
