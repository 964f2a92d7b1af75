"""A table that two processes write to, and all that was asked of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from data_actors import Actor, Operation, race, table_of
from data_model import Version, refuse_difference
from sluiceway.data import commit

PARTS = ("a b", "c/d", "e")
WAITS = (0, 0, 0.01, 0.03)
KINDS = (
    "append",
    "files",
    "files",
    "files",
    "overwrite",
    "upsert",
    "delete",
    "rewrite",
    "rewrite",
    "restore",
    "optimize",
)
MODES = ("append", "append", "overwrite", "partition-overwrite")


class RacedTable:
    """The table; each operation has rows that no other has, unless it says otherwise."""

    def __init__(self, uri: str, pair: list[Actor], folder: Path) -> None:
        """Make it, with twelve rows in three partitions.

        Args:
            uri: where.
            pair: the two processes.
            folder: for the catalog.
        """
        self.uri, self._pair = uri, pair
        self.catalog = f"sqlite:///{folder}/catalog-of-races.db"
        self.operations: dict[str, Operation] = {}
        self._state = str(folder / "state")
        self._answers: list[Any] = []
        self._rows = 0
        self.append(12)

    def op(self, kind: str, rows: int | list[Any] = 3, **more: Any) -> Operation:
        """An operation, by a name of its own."""
        name = f"{kind}-{len(self.operations)}"
        given = self._fresh(rows) if isinstance(rows, int) else rows
        made = {"op": kind, "name": name, "rows": given, "catalog": self.catalog, **more}
        self.operations[name] = made
        return made

    def optimize(self, **more: Any) -> Operation:
        """Every second time files are put together, else all are rewritten in the order of a column."""
        return self.op("optimize", 0, order_by=["id"] if len(self.operations) % 2 else [], **more)

    def by_key(self, kind: str, chance: random.Random, **more: Any) -> Operation:
        """Of the keys some are there, some were, and one never was."""
        self._fresh(1)
        ids = chance.sample(range(self._rows), min(4, self._rows))
        return self.op(kind, [[i, len(self.operations), PARTS[i % 3]] for i in ids], **more)

    def vacuum(self, **more: Any) -> Operation:
        """Delete all that nobody needs."""
        return self.op("vacuum", 0, state=self._state, **more)

    def anything(self, chance: random.Random, *, but: tuple[str, ...] = ()) -> Operation:
        """One of all kinds, but these."""
        kind = chance.choice([kind for kind in KINDS if kind not in but])
        wait = {"wait": chance.choice(WAITS)}
        if kind == "files":
            return self.op("files", chance.randint(1, 4), mode=chance.choice(MODES), **wait)
        if kind == "restore":
            return self.op("restore", 0, to=0, **wait)
        if kind == "optimize":
            return self.optimize(**wait)
        if kind == "rewrite":
            return self.by_key("rewrite", chance, mode=chance.choice(("upsert", "delete")), **wait)
        if kind in ("upsert", "delete"):
            return self.by_key(kind, chance, **wait)
        return self.op(kind, chance.randint(1, 4), **wait)

    def append(self, rows: int = 3) -> None:
        """Append from this process, before a race."""
        op = self.op("append", rows)
        commit.append(self.uri, table_of(op["rows"]), message=op["name"], source="test", partition_by=("part",))

    def race(self, one: list[Operation], other: list[Operation]) -> list[Any]:
        """Let both do theirs at once; what they were told."""
        told = race(self._pair, self.uri, one, other)
        self._answers += told
        return told

    def check(self, every: int | None = 1) -> list[Version]:
        """Compare with the model."""
        return refuse_difference(self.uri, self.operations, self._answers, every=every)

    def _fresh(self, count: int) -> list[Any]:
        start = self._rows
        self._rows += count
        return [[i, 0, PARTS[i % 3]] for i in range(start, start + count)]
