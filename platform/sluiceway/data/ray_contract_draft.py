"""Drafts a contract from a version: Ray tasks look at its files, the driver merges what they say of each column."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import ray

from sluiceway.core.errors import BackendError, DataError
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.contract.draft import draft
from sluiceway.data.contract.rules import KeyRule, Rules
from sluiceway.data.contract.survey import Survey, may_be_unique, merged, survey
from sluiceway.data.ray_contract import ROWS_PER_PART, count_version, keys_found, parts_for
from sluiceway.data.ray_files import DataFile, data_files, finished, shares

if TYPE_CHECKING:
    from deltalake import DeltaTable


def draft_contract(version: TableVersion, *, rows_per_part: int = ROWS_PER_PART) -> str:
    """A contract that the version fits, as YAML with comments.

    Args:
        version: which.
        rows_per_part: keys of so many rows are compared in one task.

    Raises:
        DataError: the version has no rows, or a file is gone.
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: it cannot be opened any more.
        BackendError: Ray failed.
    """
    if version.rows == 0:
        raise DataError(
            f"version {version.version} of {version.uri} has no rows to draft a contract from",
            hint="ingest rows first, or name a version that has some",
            table=version.uri,
            version=version.version,
        )
    table = tables.open_table(version.uri, version=version.version)
    schema = tables.arrow_schema(table)
    found = _survey_version(table, uri=version.uri)
    unique = _unique(table, version, may_be_unique(schema, found), rows_per_part=rows_per_part)
    return draft(
        table=version.uri.rstrip("/").rpartition("/")[2],
        told=f"version {version.version} of {version.uri}",
        schema=schema,
        rows=version.rows,
        found=found,
        unique=unique,
    )


def _survey_version(table: DeltaTable, *, uri: str) -> dict[str, Survey]:
    live = tables.files(table)
    sizes = zip(live["path"].to_pylist(), live["size_bytes"].to_pylist(), strict=True)
    files, schema = data_files(table, live["path"].to_pylist())
    by_path = {file.path: file for file in files}
    started = [_survey_files.remote([by_path[path] for path in share], schema) for share in shares(list(sizes))]
    found: dict[str, Survey] = {}
    for part in finished(started, uri=uri):
        found = merged(found, part)
    return found


def _unique(table: DeltaTable, version: TableVersion, columns: Sequence[str], *, rows_per_part: int) -> set[str]:
    """Those columns whose values all differ, compared exactly."""
    keys = tuple(KeyRule(name, (name,), shown=False) for name in columns)
    rules = Rules((), (), keys, (), (), strict=False, api_version="v3.1.0")
    counts, dealt = count_version(
        table,
        rules,
        uri=version.uri,
        rows=version.rows,
        now=datetime.fromtimestamp(0, UTC),  # nothing here has an age
        parts=parts_for(version.rows, rows_per_part),
    )
    found = {
        rule.name: keys_found(dealt.get(n), rule, tables.arrow_schema(table), counts) for n, rule in enumerate(keys)
    }
    failed = [reason for reason in found.values() if isinstance(reason, str)]
    if failed:
        raise BackendError(f"the values of {version.uri} could not be compared: {failed[0]}", table=version.uri)
    return {name for name, one in found.items() if one is not None and not isinstance(one, str) and one.broken == 0}


@ray.remote(max_retries=2)
def _survey_files(files: Sequence[DataFile], schema: pa.Schema) -> dict[str, Survey]:
    found: dict[str, Survey] = {}
    for file in files:
        for batch in file.batches(schema):
            found = merged(found, survey(batch))
    return found
