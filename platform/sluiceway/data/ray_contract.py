"""Holds a version against its contract: Ray tasks count the rows of its files, the driver adds counts up.

Whether keys repeat is decided exactly: the tasks deal the keys out by their hash, and other tasks look at one part of
all files each. The driver never holds a row, only counts and at most three examples a rule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.exceptions import RayError

from sluiceway.core.errors import DataError, SluicewayError
from sluiceway.core.references import TableVersion
from sluiceway.data import history, tables
from sluiceway.data.contract.checks import (
    Counts,
    Found,
    columns_to_read,
    count,
    key_fits,
    keys_of,
    no_rows,
    partitioned,
    repeats,
)
from sluiceway.data.contract.model import Contract
from sluiceway.data.contract.rules import KeyRule, Rules, rules_of
from sluiceway.data.contract.verdicts import Evidence, RuleVerdict, verdicts
from sluiceway.data.ray_files import DataFile, data_files, finished, shares

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from ray import ObjectRef

# One task compares the keys of about so many rows.
ROWS_PER_PART = 2_000_000
MAX_PARTS = 256


def check_version(
    version: TableVersion, contract: Contract, *, now: datetime, rows_per_part: int = ROWS_PER_PART
) -> tuple[RuleVerdict, ...]:
    """Hold a version against its contract.

    Args:
        version: which; it may be empty, which never passes.
        contract: what it has to be.
        now: the present time, UTC-aware; ages are taken from it.
        rows_per_part: keys of so many rows are compared in one task.

    Returns:
        One verdict a rule. A file that cannot be read makes the rules about rows an ERROR; the others are judged.

    Raises:
        TableNotFoundError, ReferenceNotFoundError, UnsupportedTableError: the version cannot be opened any more.
    """
    table = tables.open_table(version.uri, version=version.version)
    rules = rules_of(contract)
    schema = tables.arrow_schema(table)
    parts = parts_for(version.rows, rows_per_part)
    counts: Counts | str
    try:
        counts, keys = count_version(table, rules, uri=version.uri, rows=version.rows, now=now, parts=parts)
    except SluicewayError as error:
        counts, keys = _reason(error), {}
    found = [keys_found(keys.get(number), rule, schema, counts) for number, rule in enumerate(rules.keys)]
    committed = next((c.time for c in history.log(version.uri) if c.version == version.version), None)
    return verdicts(rules, Evidence(schema, version.rows, counts, found, committed, now))


def parts_for(rows: int, rows_per_part: int) -> int:
    """Into how many parts the keys of so many rows are dealt."""
    return min(max(math.ceil(rows / rows_per_part), 1), MAX_PARTS)


def count_version(
    table: DeltaTable, rules: Rules, *, uri: str, rows: int, now: datetime, parts: int
) -> tuple[Counts, dict[int, list[list[ObjectRef[pa.Table]]]]]:
    """Count the rows of a version, and deal out its keys.

    Args:
        table: opened at the version.
        rules: of the contract.
        uri: the table, for messages.
        rows: how many there are by the log.
        now: what is later is in the future.
        parts: into how many the keys are dealt.

    Returns:
        The counts, and for each rule about keys, by its number, references to the keys of each part, task by task.

    Raises:
        DataError: a file is gone, or the files hold another number of rows than the log says.
        BackendError: Ray failed, or a task did.
    """
    schema = tables.arrow_schema(table)
    total = no_rows(schema, rules)
    names = columns_to_read(schema, rules)
    if not names:
        return total, {}
    asked = {number: rule for number, rule in enumerate(rules.keys) if key_fits(schema, rule)}
    live = tables.files(table)
    sizes = zip(live["path"].to_pylist(), live["size_bytes"].to_pylist(), strict=True)
    files, full = data_files(table, live["path"].to_pylist())
    by_path = {file.path: file for file in files}
    narrow = pa.schema([full.field(name) for name in names])
    task = _count_files.options(num_returns=1 + len(asked) * parts)
    started = [
        _as_list(task.remote([by_path[path] for path in share], narrow, rules, list(asked.values()), now, parts))
        for share in shares(list(sizes))
    ]
    try:
        for counts in finished([references[0] for references in started], uri=uri):
            total += counts
    except SluicewayError:
        _hear_out(started)
        raise
    if total.rows != rows:
        raise DataError(f"{uri} holds {total.rows:,} rows, the log says {rows:,}", table=uri)
    dealt = {
        number: [[references[1 + place * parts + part] for references in started] for part in range(parts)]
        for place, number in enumerate(asked)
    }
    return total, dealt


def keys_found(
    dealt: list[list[ObjectRef[pa.Table]]] | None, rule: KeyRule, schema: pa.Schema, counts: Counts | str
) -> Found | str | None:
    """What a rule about keys finds among those that were dealt.

    Args:
        dealt: references to the keys of each part, task by task; None where there are none.
        rule: which.
        schema: of the table.
        counts: of the rows, or why there are none.

    Returns:
        What was found, None where the rule cannot be asked, or why it failed.
    """
    if isinstance(counts, str):
        return counts
    if dealt is None or not key_fits(schema, rule):
        return None
    total = Found()
    try:
        for found in finished([_count_repeats.remote(*of_files) for of_files in dealt if of_files], uri="the keys"):
            total += found
    except SluicewayError as error:
        return _reason(error)
    return total


def _reason(error: SluicewayError) -> str:
    """One line; of a traceback and what engines add to it below, indented, the line that says what happened."""
    lines = [line for line in error.message.splitlines() if line and not line[0].isspace()]
    if len(lines) > 1:
        return f"the rows could not be read: {lines[-1]}"
    return lines[0] if lines else type(error).__name__


def _hear_out(started: Sequence[Sequence[ObjectRef[Any]]]) -> None:
    """Take the error of every result of tasks that failed: Ray prints those that nobody has asked for."""
    for first, *others in started:
        try:
            ray.get(first)
        except RayError:
            for other in others:
                with suppress(RayError):
                    ray.get(other)


def _as_list(references: Any) -> list[Any]:
    """Ray gives the one reference of a task with one result bare."""
    return references if isinstance(references, list) else [references]


@ray.remote(max_retries=2)
def _count_files(
    files: Sequence[DataFile], schema: pa.Schema, rules: Rules, keys: Sequence[KeyRule], now: datetime, parts: int
) -> Any:
    """Counts, and behind them the keys of each rule in each part."""
    total = no_rows(schema, rules)
    dealt: list[list[pa.Table]] = [[] for _ in range(len(keys) * parts)]
    for file in files:
        for batch in file.batches(schema):
            total += count(batch, rules, now=now)
            for place, rule in enumerate(keys):
                for part, table in enumerate(partitioned(keys_of(batch, rule), parts)):
                    dealt[place * parts + part].append(table)
    if not dealt:
        return total
    return [total, *(pa.concat_tables(of_part).combine_chunks() if of_part else None for of_part in dealt)]


@ray.remote(max_retries=2)
def _count_repeats(*of_files: pa.Table | None) -> Found:
    """Rows of one part that repeat an earlier one; a share of files without rows has no table."""
    found = [table for table in of_files if table is not None]
    return repeats(found) if found else Found()
