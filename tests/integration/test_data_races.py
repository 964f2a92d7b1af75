"""Writers that race, as real processes: a table holds what its log says, and each of them was told the truth."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from data_actors import actors, table_of
from raced_table import RacedTable
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.core.clock import SystemClock
from sluiceway.data import commit, history
from sluiceway.data.repository import Repository

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def pair():
    with actors(2) as both:
        yield both


@pytest.fixture
def table(tmp_path: Path, pair) -> RacedTable:
    return RacedTable(str(tmp_path / "my table"), pair, tmp_path)


def test_200_racing_appends_lose_nothing_and_double_nothing(table):
    programs = [
        [table.op("append") if number % 2 else table.op("files", mode="append") for number in range(100)]
        for _ in range(2)
    ]
    told = table.race(*programs)
    assert not [answer for answer in told if "refused" in answer]
    assert len(table.check(every=23)) == 201
    for info in history.log(table.uri)[:-1]:
        assert (info.batch_id, info.rows, info.source) == (info.message, 3, "race")
        assert info.metadata.get("op") == (info.message if info.message.startswith("files") else None)


def test_the_same_deliveries_from_both_arrive_once(table):
    program = [table.op("append") if number % 2 else table.op("files", mode="append") for number in range(12)]
    told = table.race(program, program)
    table.check()
    assert sorted(answer["skipped"] for answer in told) == [False] * 12 + [True] * 12


@pytest.mark.parametrize("kind", ["rows", "files", "partitions"])
def test_of_racing_overwrites_the_last_holds_and_nothing_of_the_others(table, kind):
    more = {"rows": {}, "files": {"mode": "overwrite"}, "partitions": {"mode": "partition-overwrite"}}[kind]
    programs = [[table.op("overwrite" if kind == "rows" else "files", 2, **more) for _ in range(12)] for _ in range(2)]
    told = table.race(*programs)
    versions = table.check()
    assert not [answer for answer in told if "refused" in answer]
    assert len(versions) == 25
    assert kind == "partitions" or versions[-1].rows.total() == 2


def test_of_two_who_replace_what_they_have_seen_one_is_told(table):
    for version in range(6):
        told = table.race(*([table.op("overwrite", 2, expected=version)] for _ in range(2)))
        assert sum("refused" in answer for answer in told) == 1
    assert len(table.check()) == 7


@pytest.mark.parametrize("seed", range(4))
def test_random_programs_side_by_side(table, seed):
    any_programs(table, random.Random(seed))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 115))
def test_many_random_programs_side_by_side(table, seed):
    any_programs(table, random.Random(seed))


def any_programs(table: RacedTable, chance: random.Random) -> None:
    table.race(*([table.anything(chance) for _ in range(10)] for _ in range(2)))
    table.check()


OTHERS = {
    "append": lambda table, _: table.op("append"),
    "overwrite": lambda table, _: table.op("overwrite"),
    "files": lambda table, _: table.op("files", mode="overwrite"),
    "partitions": lambda table, _: table.op("files", 1, mode="partition-overwrite"),
    "delete": lambda table, chance: table.by_key("delete", chance),
    "rewrite": lambda table, chance: table.by_key("rewrite", chance, mode="upsert"),
    "upsert": lambda table, chance: table.by_key("upsert", chance),
    "optimize": lambda table, _: table.optimize(),
}


@pytest.mark.parametrize("other", OTHERS)
def test_optimize_beside_another_writer(table, other):
    beside_optimize(table, other, random.Random(other), rounds=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("other", OTHERS)
def test_optimize_beside_another_writer_for_long(table, other, seed):
    beside_optimize(table, other, random.Random(seed), rounds=20)


def beside_optimize(table: RacedTable, other: str, chance: random.Random, *, rounds: int) -> None:
    """Each round two files more, then both at once; who begins, and how much later the other, is left to chance."""
    for _ in range(rounds):
        for _ in range(2):
            table.append()
        two = [table.optimize(), OTHERS[other](table, chance)]
        chance.choice(two)["wait"] = chance.choice([0, 0.01, 0.02, 0.04, 0.08])
        told = table.race([two[0]], [two[1]])
        assert other == "optimize" or "refused" not in told[1]
    table.check()


@pytest.mark.parametrize("adds_only", [True, False], ids=["adds", "rewrites"])
def test_optimize_beside_merges_of_branches(table, adds_only):
    repository = Repository(RepositoryStore(open_catalog(table.catalog)), SystemClock())
    repository.add(table.uri, key=("id",))
    repository.commit(message="first")
    base = table.operations["append-0"]["rows"]
    merges = []
    for number in range(4):
        name = f"b{number}"
        merges.append(table.op("branch", 2, branch=name, gone=[] if adds_only else base))
        repository.branch(name)
        write = commit.append if adds_only else commit.overwrite
        rows = table_of(merges[-1]["rows"])
        write(repository.place_to_write(table.uri, name), rows, message="rows", source="test")
        repository.commit(name, message="rows")
    table.append()
    told = table.race([table.optimize(wait=wait) for wait in (0.06, 0.02, 0, 0.01)], merges)
    table.check()
    merged = [answer for answer in told if answer["name"].startswith("branch") and "refused" not in answer]
    assert len(merged) == 4 if adds_only else len(merged) <= 1
