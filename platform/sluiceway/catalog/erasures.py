"""Erasures: that the rows of some keys were taken out of a table and its history, and what was not reached."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from sluiceway.catalog.dialect import reaching
from sluiceway.catalog.schema import erasures


@dataclass(frozen=True)
class ErasureRecord:
    """One erasure; the keys themselves are not kept.

    Attributes:
        table_uri: the table.
        keys_digest: sha256 over the keys; who has the keys can find their erasure.
        author: who.
        reason: why.
        report: JSON-ready: rows, files, and what was not reached.
        created: UTC epoch seconds.
    """

    table_uri: str
    keys_digest: str
    author: str
    reason: str
    report: Mapping[str, Any]
    created: float


@dataclass(frozen=True)
class ErasureStore:
    """Writes and lists erasures."""

    engine: sa.Engine = field(repr=False)

    def record(self, erasure: ErasureRecord) -> None:
        """Write one down."""
        values = {**erasure.__dict__, "id": uuid.uuid4().hex, "report": json.dumps(erasure.report)}
        with reaching(self.engine), self.engine.begin() as connection:
            connection.execute(erasures.insert().values(**values))

    def list(self, table_uri: str) -> list[ErasureRecord]:
        """Those of a table, the newest first."""
        columns = [column for column in erasures.c if column.name != "id"]
        query = sa.select(*columns).where(erasures.c.table_uri == table_uri).order_by(erasures.c.created.desc())
        with reaching(self.engine), self.engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [ErasureRecord(**{**row, "report": json.loads(row["report"])}) for row in rows]
