"""Rows to score in batches, and what the booster itself says of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost

from serving_models import CARRIERS, examples
from sluiceway.core.clock import SystemClock
from sluiceway.core.references import ModelReference, TableVersion
from sluiceway.data import commit, digest, history, places, tables
from sluiceway.lifecycle.batch_plan import ScorePlan, ScoreRequest, check_source, plan_scores
from sluiceway.registry.bundle import Bundle

TYPES = ["q", "q", "c"]


def rows(n: int, *, seed: int, first: int = 0) -> pa.Table:
    """``id`` and the features of ``serving_models``: numbers are missing, some carriers too, some are not known."""
    matrix, _ = examples(n, seed=seed)
    carriers: list[str | None] = [CARRIERS[int(code)] for code in matrix[:, 2]]
    for place in range(0, n, 10):
        carriers[place] = "ZZ" if place % 20 else None
    distance = pa.array(matrix[:, 1].astype(np.float64), mask=np.isnan(matrix[:, 1]))
    return pa.table(
        {
            "id": pa.array(range(first, first + n), pa.int64()),
            "delay": pa.array(matrix[:, 0].astype(np.float64)),
            "distance": distance,
            "carrier": pa.array(carriers, pa.string()),
        }
    )


def unknown(table: pa.Table) -> int:
    """How many carriers the models do not know."""
    return table["carrier"].to_pylist().count("ZZ")


def predicted(booster: xgboost.Booster, table: pa.Table) -> np.ndarray:
    """What ``Booster.predict`` says of rows; a carrier that is not known is missing."""
    codes = [CARRIERS.index(name) if name in CARRIERS else np.nan for name in table["carrier"].to_pylist()]
    matrix = np.column_stack(
        [table["delay"].to_numpy(), table["distance"].to_numpy(zero_copy_only=False), np.array(codes, np.float64)]
    )
    data = xgboost.DMatrix(matrix.astype(np.float32), feature_types=TYPES, enable_categorical=True)
    return booster.predict(data)


def table_of(uri: Path | str, *parts: pa.Table, partition_by: tuple[str, ...] = ()) -> TableVersion:
    """A table with a commit, and so a file, for each part."""
    for part in parts:
        commit.append(str(uri), part, message="rows", source="test", partition_by=partition_by)
    return pinned(uri)


def pinned(uri: Path | str) -> TableVersion:
    """The newest version of a table."""
    table = tables.open_table(str(uri))
    place = tables.absolute(str(uri))
    return TableVersion(place, table.version(), digest.digest_of(table), tables.row_count(table), "newest")


def plan(source: TableVersion, bundle: Bundle, target: Path | str, **given: Any) -> ScorePlan:
    """Score a version by a bundle, keeping ``id`` where nothing else is said."""
    key = given.pop("key", ())
    request = ScoreRequest(source, ModelReference("late", "3"), bundle, **{"keep": ("id",), **given})
    return plan_scores(request, check_source(request, key), str(target), clock=SystemClock())


def held(uri: Path | str) -> pa.Table:
    """All rows of the newest version of a table, by ``id``."""
    found = places.dataset(tables.open_table(str(uri)), tables.absolute(str(uri))).to_table()
    return found.sort_by("id")


def each_once(uri: Path | str, source: TableVersion) -> bool:
    """Whether the table has each id of a source once, and nothing else."""
    there = places.dataset(tables.open_table(source.uri, version=source.version), source.uri).to_table(columns=["id"])
    return Counter(held(uri)["id"].to_pylist()) == Counter(there["id"].to_pylist())


def commits(uri: Path | str) -> int:
    """How many commits a table has."""
    return len(history.log(str(uri)))


def unnamed_files(uri: Path | str) -> list[str]:
    """Data files in a table's folder that its newest version does not name; all of a folder that is no table."""
    there = {path.name for path in Path(uri).rglob("*.parquet") if "_delta_log" not in path.parts}
    if not tables.is_table(str(uri)):
        return sorted(there)
    named = {path.rpartition("/")[2] for path in tables.files(tables.open_table(str(uri)))["path"].to_pylist()}
    assert named <= there
    for name in there:
        assert pq.read_metadata(next(Path(uri).rglob(name))).num_rows
    return sorted(there - named)
