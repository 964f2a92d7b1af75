"""A vacuum beside readers of old versions and beside writers whose files are in no commit yet, as real processes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from data_actors import actors
from raced_table import RacedTable
from sluiceway.data import tables

pytestmark = pytest.mark.integration

WAITS = (0, 0.02, 0.05, 0.1)


@pytest.fixture(scope="module")
def pair():
    with actors(2) as both:
        yield both


@pytest.fixture
def table(tmp_path: Path, pair) -> RacedTable:
    return RacedTable(str(tmp_path / "my table"), pair, tmp_path)


def test_a_reader_of_an_old_version_reads_it_whole_or_is_told_at_once(table):
    read_beside_a_vacuum(table, random.Random(1), rounds=8)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(3))
def test_readers_of_old_versions_for_long(table, seed):
    read_beside_a_vacuum(table, random.Random(seed), rounds=30)


def read_beside_a_vacuum(table: RacedTable, chance: random.Random, *, rounds: int) -> None:
    for _ in range(rounds):
        version = tables.open_table(table.uri).version()
        table.race([table.op("overwrite", 2)], [])
        expected = table.check(every=None)[version].rows
        read = table.op("read", 0, version=version, wait=chance.choice(WAITS), hold=chance.choice(WAITS))
        told, _ = table.race([read], [table.vacuum(wait=chance.choice(WAITS))])
        assert "refused" in told or Counter(map(tuple, told["numbers"])) == expected
    table.race([], [table.vacuum()])
    (late,) = table.race([table.op("read", 0, version=1, hold=0)], [])
    assert "can be read no more" in late["refused"]


def test_what_a_writer_has_not_committed_yet_stays(table):
    write_beside_vacuums(table, random.Random(1), operations=8)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_writers_beside_vacuums_for_long(table, seed):
    write_beside_vacuums(table, random.Random(seed), operations=30)


def write_beside_vacuums(table: RacedTable, chance: random.Random, *, operations: int) -> None:
    held = table.op("files", mode="append", hold=0.3)
    program = [held, *(table.anything(chance, but=("restore",)) for _ in range(operations))]
    table.race(program, [table.vacuum(wait=chance.choice(WAITS)) for _ in range(operations)])
    table.check(every=None)
