"""What a table has to hold by its log: each commit names its operation, and the model does the same to plain tuples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_actors import Operation
from sluiceway.data import history, places, tables

# (id, value, part), and how many times it is there.
Rows = Counter[tuple[int, int, str]]
CHANGES_NO_ROW = ("optimize", "vacuum", "read")
KEEPS_ROWS = ("OPTIMIZE", "VACUUM START", "VACUUM END", "CREATE TABLE")


@dataclass(frozen=True)
class Version:
    """A version by the model.

    Attributes:
        name: of the operation that made it; empty for one that changes no row.
        rows: that it has to hold.
        numbers: rows that an operation by key inserted, updated and deleted.
    """

    name: str
    rows: Rows
    numbers: Mapping[str, int]


def by_the_log(uri: str, operations: Mapping[str, Operation]) -> list[Version]:
    """Every version of a table as the model says, oldest first; each operation made one at most."""
    versions: list[Version] = []
    for info in reversed(history.log(uri)):
        op = operations.get(info.message)
        if op is None:
            assert info.operation in KEEPS_ROWS, (info.operation, info.message)
            versions.append(Version("", versions[-1].rows, {}))
            continue
        versions.append(Version(info.message, *_after(versions, op)))
    names = [one.name for one in versions if one.name]
    assert len(names) == len(set(names)), "an operation was committed twice"
    return versions


def held(uri: str, version: int | None = None) -> Rows:
    """The rows of a version, as the table's readers get them."""
    table = tables.open_table(uri, version=version)
    found = places.dataset(table, uri).to_table(columns=["id", "value", "part"])
    assert found.num_rows == tables.row_count(table)
    return Counter(zip(*(column.to_pylist() for column in found.columns), strict=True))


def refuse_difference(
    uri: str, operations: Mapping[str, Operation], answers: Sequence[Mapping[str, Any]], *, every: int | None = 1
) -> list[Version]:
    """The table is what its log says, and every writer was told the truth.

    Args:
        uri: the table.
        operations: all that were begun, by name.
        answers: what the writers were told.
        every: of the old versions only each so-manieth is read, and the newest; None reads the newest only.
    """
    versions = by_the_log(uri, operations)
    old = range(0, len(versions), every) if every else ()
    for number in {*old, len(versions) - 1}:
        assert held(uri, number) == versions[number].rows, (number, versions[number].name)
    committed = {one.name: number for number, one in enumerate(versions) if one.name}
    for answer in answers:
        name = answer["name"]
        if operations[name]["op"] in CHANGES_NO_ROW:
            continue
        if "refused" in answer:
            assert name not in committed, answer
        elif answer["skipped"] and name not in committed:
            # The newest version is what a restore of it brings back: nothing to do.
            assert answer["version"] == operations[name]["to"], answer
        else:
            assert committed[name] == answer["version"], answer
            if answer.get("numbers") and not answer["skipped"]:
                assert answer["numbers"] == versions[committed[name]].numbers, answer
    return versions


def _after(versions: Sequence[Version], op: Operation) -> tuple[Rows, Mapping[str, int]]:
    before = versions[-1].rows if versions else Counter()
    given = Counter(tuple(row) for row in op.get("rows", ()))
    kind = op.get("mode", op["op"])
    if kind == "append":
        return before + given, {}
    if kind == "overwrite":
        return given, {}
    if kind == "restore":
        return versions[op["to"]].rows, {}
    if kind == "partition-overwrite":
        gone = {part for _, _, part in given}
        return Counter({row: n for row, n in before.items() if row[2] not in gone}) + given, {}
    if kind == "branch":
        gone = Counter(tuple(row) for row in op.get("gone", ()))
        return before - gone + given, {}
    return _by_key(before, given, delete=kind == "delete", once=op["op"] == "rewrite")


def _by_key(before: Rows, given: Rows, *, delete: bool, once: bool) -> tuple[Rows, Mapping[str, int]]:
    new = {row[0]: row for row in given}
    matched = Counter({row: n for row, n in before.items() if row[0] in new})
    found = {row[0] for row in matched}
    if delete:
        return before - matched, {"inserted": 0, "updated": 0, "deleted": matched.total()}
    replaced: Rows = Counter()
    for row, n in matched.items():
        replaced[new[row[0]]] += n
    # A key that was there twice, which appends do not forbid: the engine writes both rows anew, a rewriting one.
    replaced = Counter(dict.fromkeys(replaced, 1)) if once else replaced
    inserted = Counter({row: 1 for key, row in new.items() if key not in found})
    numbers = {"inserted": inserted.total(), "updated": matched.total(), "deleted": 0}
    return before - matched + replaced + inserted, numbers
