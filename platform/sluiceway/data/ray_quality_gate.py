"""Looks at files that are about to come in, as Ray tasks: they are there, readable, and keep the table's own rules.

Writers that know only Parquet skip the table's CHECK constraints and its columns that may not be null; a merge takes
their files as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import ray

from sluiceway.core.errors import SluicewayError
from sluiceway.core.references import TableVersion
from sluiceway.data import tables
from sluiceway.data.ingest.constraints import ConstraintCheck
from sluiceway.data.ingest.fit import refuse_nulls
from sluiceway.data.places import file_uris
from sluiceway.data.ray_contract import check_version
from sluiceway.data.ray_files import DataFile, data_files, finished, refuse_other_count, shares
from sluiceway.data.write_target import constraints_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_version", "file_problems"]

Constraints = Sequence[tuple[str, str]]


def file_problems(version: TableVersion, incoming: frozenset[str]) -> list[str]:
    """What is wrong with some files of a version.

    Args:
        version: which.
        incoming: the files, by URI.

    Returns:
        a line for each file that is gone, cannot be read in the table's columns, holds another number of rows than the
        log says, or rows that the table's constraints or its columns that may not be null do not allow; in order.

    Raises:
        BackendError: Ray failed.
    """
    table = tables.open_table(version.uri, version=version.version)
    live = tables.files(table).select(["path", "size_bytes", "num_records"])
    known = file_uris(version.uri, live["path"].to_pylist())
    listed = [row for row in live.to_pylist() if known[row["path"]] in incoming]
    files, schema = data_files(table, [row["path"] for row in listed])
    by_path = {file.path: file for file in files}
    expected = {row["path"]: row["num_records"] for row in listed}
    constraints = constraints_of(table.metadata().configuration)
    tasks = [
        _look_at.remote([by_path[path] for path in share], schema, expected, constraints, version.uri)
        for share in shares([(row["path"], row["size_bytes"]) for row in listed])
    ]
    return sorted(line for lines in finished(tasks, uri=version.uri) for line in lines)


@ray.remote(max_retries=2)
def _look_at(
    files: Sequence[DataFile],
    schema: pa.Schema,
    expected: Mapping[str, int | None],
    constraints: Constraints,
    uri: str,
) -> list[str]:
    found = []
    for file in files:
        try:
            _refuse_unsound(file, schema, rows=expected[file.path], constraints=constraints, uri=uri)
        except FileNotFoundError:
            found.append(f"{file.path} is not there")
        except SluicewayError as error:
            found.append(error.message)
        except (OSError, pa.ArrowException) as error:
            found.append(f"{file.path} cannot be read: {str(error).strip().splitlines()[0]}")
    return found


def _refuse_unsound(file: DataFile, schema: pa.Schema, *, rows: int | None, constraints: Constraints, uri: str) -> None:
    """Read the columns that the table's rules speak of; of a table without rules, the footer and the first rows."""
    refuse_other_count(file.path, file.fragment.count_rows(), expected=rows, uri=uri)
    if not constraints and all(field.nullable for field in schema):
        file.fragment.scanner(schema=schema, use_threads=False).head(1)
        return
    with ConstraintCheck(constraints, schema, table=uri) as check:
        for batch in _as_declared(file, schema):
            refuse_nulls(batch, where=file.path)
            check.add(batch)
        check.judge(where=file.path)


def _as_declared(file: DataFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    loose = pa.schema([field.with_nullable(True) for field in schema])
    for batch in file.batches(loose):
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
