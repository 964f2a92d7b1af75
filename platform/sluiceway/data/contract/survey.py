"""What the columns of a version hold, as far as a first draft of a contract needs it; parts merge in any order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.contract.conditions import missing, plain, ticks
from sluiceway.data.contract.kinds import NUMBERS, TIMES, Kind, kind_of

# Text with more different values is no list of allowed ones.
MAX_VALUES = 20
# What may be an identifier; numbers with a fraction are measurements.
KEY_KINDS = frozenset({Kind.TEXT, Kind.INTEGER}) | TIMES


@dataclass(frozen=True)
class Survey:
    """What a column holds.

    Attributes:
        rows: how many.
        absent: rows without a value, NaN among them.
        low: smallest finite value: a number, or days or microseconds since 1970 of a date or time; None without one.
        high: largest, likewise.
        below: minus infinity is among the values.
        above: infinity is.
        texts: different values of text, sorted; ``MAX_VALUES + 1`` of them stand for more.
        repeated: a value was there twice in one part; False is no promise about several parts.
    """

    rows: int
    absent: int
    low: int | float | Decimal | None = None
    high: int | float | Decimal | None = None
    below: bool = False
    above: bool = False
    texts: tuple[str, ...] = ()
    repeated: bool = False

    def __add__(self, other: Survey) -> Survey:
        return Survey(
            self.rows + other.rows,
            self.absent + other.absent,
            min((x for x in (self.low, other.low) if x is not None), default=None),
            max((x for x in (self.high, other.high) if x is not None), default=None),
            self.below or other.below,
            self.above or other.above,
            tuple(sorted({*self.texts, *other.texts})[: MAX_VALUES + 1]),
            self.repeated or other.repeated,
        )


def survey(batch: pa.RecordBatch) -> dict[str, Survey]:
    """Look at one batch; by column."""
    return {name: _survey_column(plain(batch[name])) for name in batch.schema.names}


def merged(one: Mapping[str, Survey], other: Mapping[str, Survey]) -> dict[str, Survey]:
    """Surveys of two parts with the same columns as one; an empty one changes nothing."""
    if not one or not other:
        return {**one, **other}
    return {name: found + other[name] for name, found in one.items()}


def may_be_unique(schema: pa.Schema, found: Mapping[str, Survey]) -> list[str]:
    """Columns whose values are to be compared over all parts: at least two, and no part has one twice."""
    return [
        name
        for name, one in found.items()
        if kind_of(schema.field(name).type) in KEY_KINDS and not one.repeated and one.rows - one.absent > 1
    ]


def _survey_column(column: pa.Array) -> Survey:
    kind = kind_of(column.type)
    absent = int(pc.sum(missing(column), min_count=0).as_py())
    repeated, texts = False, ()
    if kind in KEY_KINDS:
        different = pc.unique(column.drop_null())
        repeated = len(different) < len(column) - absent
        if kind is Kind.TEXT:
            texts = tuple(sorted(different.to_pylist())[: MAX_VALUES + 1])
    if kind not in NUMBERS | TIMES:
        return Survey(len(column), absent, texts=texts, repeated=repeated)
    if pa.types.is_floating(column.type):
        wide = column.cast(pa.float64())
        ends = pc.min_max(wide.filter(pc.is_finite(wide))).as_py()
        infinite = pc.min_max(wide.filter(pc.is_inf(wide))).as_py()
        below, above = infinite["min"] == -float("inf"), infinite["max"] == float("inf")
        return Survey(len(column), absent, ends["min"], ends["max"], below, above)
    exact = column if pa.types.is_decimal(column.type) or pa.types.is_uint64(column.type) else ticks(column)
    ends = pc.min_max(exact).as_py()
    return Survey(len(column), absent, ends["min"], ends["max"], repeated=repeated)
