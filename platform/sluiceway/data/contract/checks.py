"""What batches hold, counted for the rules of a contract; counts of disjoint parts add up in any order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.contract.conditions import Present, missing, plain, ticks
from sluiceway.data.contract.kinds import NESTED, TIMES, kind_of
from sluiceway.data.contract.rules import FreshnessRule, KeyRule, RowRule, Rules
from sluiceway.data.membership import row_hashes

MAX_EXAMPLES = 3
_EXAMPLE_CHARACTERS = 60
# Examples are looked for among so many values of a batch that break a rule.
_LOOKED_AT = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_OF_A_DAY = 86_400_000_000


@dataclass(frozen=True)
class Found:
    """What one rule has found.

    Attributes:
        n: values that could break it.
        broken: those that do.
        examples: at most ``MAX_EXAMPLES`` of these as text, different ones, the first in alphabetical order.
    """

    n: int = 0
    broken: int = 0
    examples: tuple[str, ...] = ()

    def __add__(self, other: Found) -> Found:
        return Found(self.n + other.n, self.broken + other.broken, _first(self.examples + other.examples))


@dataclass(frozen=True)
class Newest:
    """The newest values of a date or time.

    Attributes:
        n: values that are not in the future.
        newest: the latest of them, microseconds since 1970 in UTC; None where there is none.
        later: values in the future, which say nothing about age.
    """

    n: int = 0
    newest: int | None = None
    later: int = 0

    def __add__(self, other: Newest) -> Newest:
        newest = max((one for one in (self.newest, other.newest) if one is not None), default=None)
        return Newest(self.n + other.n, newest, self.later + other.later)


@dataclass(frozen=True)
class Counts:
    """What rows have been found to be.

    Attributes:
        rows: how many.
        row_rules: one entry a rule, in the order of ``Rules.rows``; None where its column cannot be asked.
        freshness: likewise for ``Rules.freshness``; None for the commit's age, too.
    """

    rows: int
    row_rules: tuple[Found | None, ...]
    freshness: tuple[Newest | None, ...]

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.rows + other.rows,
            tuple(_sum(a, b) for a, b in zip(self.row_rules, other.row_rules, strict=True)),
            tuple(_sum(a, b) for a, b in zip(self.freshness, other.freshness, strict=True)),
        )


def columns_to_read(schema: pa.Schema, rules: Rules) -> list[str]:
    """The columns that the rules about rows ask, in the table's order."""
    asked = {rule.column for rule in rules.rows if _row_fits(schema, rule)}
    asked |= {column for rule in rules.keys if key_fits(schema, rule) for column in rule.columns}
    asked |= {rule.column for rule in rules.freshness if _freshness_fits(schema, rule) and rule.column}
    return [name for name in schema.names if name in asked]


def no_rows(schema: pa.Schema, rules: Rules) -> Counts:
    """The counts before any row: to start a sum with."""
    return Counts(
        0,
        tuple(Found() if _row_fits(schema, rule) else None for rule in rules.rows),
        tuple(Newest() if _freshness_fits(schema, rule) else None for rule in rules.freshness),
    )


def count(batch: pa.RecordBatch, rules: Rules, *, now: datetime) -> Counts:
    """Count one batch.

    Args:
        batch: with at least the columns of :func:`columns_to_read`.
        rules: of the contract.
        now: what is later is in the future.
    """
    columns: dict[str, pa.Array] = {}

    def column(name: str) -> pa.Array:
        if name not in columns:
            columns[name] = plain(batch[name])
        return columns[name]

    schema = batch.schema
    return Counts(
        batch.num_rows,
        tuple(_count_rule(column(rule.column), rule) if _row_fits(schema, rule) else None for rule in rules.rows),
        tuple(
            _count_times(column(rule.column), now=now) if rule.column and _freshness_fits(schema, rule) else None
            for rule in rules.freshness
        ),
    )


def key_fits(schema: pa.Schema, rule: KeyRule) -> bool:
    """Whether all columns of a key are there and can be compared."""
    kinds = [kind_of(schema.field(name).type) if name in schema.names else None for name in rule.columns]
    return all(kind is not None and kind not in NESTED for kind in kinds)


def keys_of(batch: pa.RecordBatch, rule: KeyRule) -> pa.Table:
    """The keys of the rows that have a value in every column of it; the columns are called 0, 1 and so on."""
    columns = [plain(batch[name]) for name in rule.columns]
    for number, column in enumerate(columns):
        if pa.types.is_floating(column.type):
            columns[number] = pc.add(column, pa.scalar(0.0, column.type))  # -0.0 is 0.0
    table = pa.table({str(number): column for number, column in enumerate(columns)})
    absent = [missing(column) for column in columns]
    gone = absent[0]
    for more in absent[1:]:
        gone = pc.or_(gone, more)
    return table.filter(pc.invert(gone))


def partitioned(keys: pa.Table, partitions: int) -> list[pa.Table]:
    """Keys by their hash: equal keys fall into the same part, whatever batch, file or machine they come from."""
    if partitions == 1 or keys.num_rows == 0:
        return [keys] + [keys.slice(0, 0)] * (partitions - 1)
    part = (row_hashes(keys, keys.column_names) % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(partitions + 1))
    arranged = keys.take(pa.array(order))
    return [arranged.slice(ends[i], ends[i + 1] - ends[i]) for i in range(partitions)]


def repeats(keys: Sequence[pa.Table]) -> Found:
    """Rows whose key an earlier row has: exact, by the keys themselves.

    Args:
        keys: tables of :func:`keys_of`, all that there are of one part.
    """
    together = pa.concat_tables(keys)
    grouped = together.group_by(together.column_names, use_threads=False).aggregate([([], "count_all")])
    several = grouped.filter(pc.greater(grouped["count_all"], 1))
    head = several.slice(0, _LOOKED_AT).select(together.column_names)
    texts = (", ".join(row) for row in zip(*(_texts(plain(column)) for column in head.columns), strict=True))
    return Found(together.num_rows, together.num_rows - grouped.num_rows, _first(texts))


def _row_fits(schema: pa.Schema, rule: RowRule) -> bool:
    return rule.column in schema.names and rule.condition.fits(kind_of(schema.field(rule.column).type))


def _freshness_fits(schema: pa.Schema, rule: FreshnessRule) -> bool:
    return rule.column in schema.names and kind_of(schema.field(rule.column).type) in TIMES


def _count_rule(column: pa.Array, rule: RowRule) -> Found:
    broken = rule.condition.broken(column)
    bad = int(pc.sum(broken, min_count=0).as_py())
    if isinstance(rule.condition, Present):
        return Found(len(column), bad)
    n = len(column) - int(pc.sum(missing(column), min_count=0).as_py())
    return Found(n, bad, _examples(column.filter(broken)) if bad and rule.shown else ())


def _count_times(column: pa.Array, *, now: datetime) -> Newest:
    times = ticks(column).drop_null()
    if pa.types.is_date(column.type):
        # Beyond the years that a time can have there are dates all the same; they are in the future or long ago.
        times = pc.min_element_wise(pc.max_element_wise(times, -(10**8)), 10**8)
        times = pc.multiply(times, _MICROSECONDS_OF_A_DAY)
    present = int((now - _EPOCH).total_seconds() * 1_000_000)
    past = times.filter(pc.less_equal(times, present))
    return Newest(len(past), pc.max(past).as_py(), len(times) - len(past))


def _examples(values: pa.Array) -> tuple[str, ...]:
    return _first(_texts(values.slice(0, _LOOKED_AT)))


def _texts(values: pa.Array) -> list[str]:
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.string())  # Python has no years beyond 9999
    return [_text(value) for value in values.to_pylist()]


def _text(value: Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _EXAMPLE_CHARACTERS else text[: _EXAMPLE_CHARACTERS - 3] + "..."


def _first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(heapq.nsmallest(MAX_EXAMPLES, set(texts)))


def _sum(one: Any, other: Any) -> Any:
    return None if one is None or other is None else one + other
