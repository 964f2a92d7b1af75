"""What the columns of a version hold, as partial profiles that merge, and whether a model can be trained on them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.config.experiment import DataSection
from sluiceway.core.errors import DataError, SchemaMismatchError
from sluiceway.data.bits import is_text

MAX_CATEGORIES = 1_000
# Distinct numbers are of interest only as long as they could be classes.
MAX_CLASSES = 100
_SMALLEST = 4096


@dataclass(frozen=True)
class ColumnProfile:
    """One column.

    Attributes:
        name: its name.
        kind: ``text``, ``number`` (booleans and decimals, too), ``time`` or ``other``.
        n: rows.
        nulls: missing values, NaN among them.
        infinite: infinite values.
        values: distinct values, sorted, of text (as far as ``MAX_CATEGORIES + 1``) and numbers (``MAX_CLASSES + 1``).
        low: smallest finite value of a number, or None.
        high: largest finite value of a number, or None.
    """

    name: str
    kind: Literal["text", "number", "time", "other"]
    n: int
    nulls: int
    infinite: int = 0
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def many(self) -> bool:
        """There are more distinct values than were kept."""
        return len(self.values) > _cap(self.kind)

    @property
    def all_null(self) -> bool:
        """No row has a value."""
        return self.n > 0 and self.nulls == self.n


@dataclass(frozen=True)
class TableProfile:
    """The columns of one version.

    Attributes:
        rows: in all.
        columns: by name.
        table_columns: every column of the version, profiled or not.
    """

    rows: int
    columns: Mapping[str, ColumnProfile]
    table_columns: tuple[str, ...] = ()

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The values of each text column, sorted."""
        return {name: tuple(c.values) for name, c in self.columns.items() if c.kind == "text"}


def profile_table(table: pa.Table) -> dict[str, ColumnProfile]:
    """The profile of a table in memory: of a block, to be merged with those of the others."""
    return {name: _column(name, table[name]) for name in table.column_names}


def merge(profiles: Iterable[Mapping[str, ColumnProfile]]) -> dict[str, ColumnProfile]:
    """One profile from those of disjoint parts; the order of the parts does not matter."""
    merged: dict[str, ColumnProfile] = {}
    for part in profiles:
        for name, column in part.items():
            merged[name] = _merged(merged[name], column) if name in merged else column
    return merged


def check_trainable(
    profile: TableProfile, data: DataSection, *, kind: Literal["classes", "number"] = "classes"
) -> tuple[int | str, ...]:
    """Refuse data that no model can be trained on. An all-null column is for the data-quality gate to fail on.

    Args:
        profile: of the features and the target.
        data: names them.
        kind: what a model predicts: one of classes, or a number.

    Returns:
        the target's classes, in the order of the model's: (0, 1), or several whole numbers or texts, sorted; none for
        a number.

    Raises:
        SchemaMismatchError: a column is not in the table, or a feature has a type that is no feature.
        DataError: no rows; a target that is missing in places, is of one class or of two that are not 0 and 1, or has
            too many values to be classes; text with more than 1,000 values; infinite values. The message lists every
            problem and names the columns.
    """
    _check_columns(profile, data)
    if profile.rows == 0:
        raise DataError(f"{data.path} has no rows", hint="ingest rows first")
    problems = _target_problems(profile.columns[data.target], kind=kind)
    for name in data.features:
        problems += _feature_problems(profile.columns[name])
    if problems:
        raise DataError(
            f"a model cannot be trained on {data.path}: {'; '.join(problem for problem, _ in problems)}",
            hint="; ".join(dict.fromkeys(hint for _, hint in problems)),
            columns=[problem.split("'")[1] for problem, _ in problems],
        )
    target = profile.columns[data.target]
    if kind == "number":
        return ()
    return tuple(value if target.kind == "text" else int(value) for value in target.values)


def check_columns(known: Sequence[str], data: DataSection) -> None:
    """Refuse a configuration that names columns which a table does not have.

    Raises:
        SchemaMismatchError: names all that are missing, and what was probably meant.
    """
    named = [name for name in (data.weight, data.time) if name is not None]
    wanted = (*data.features, data.target, *data.key, *data.group, *named)
    missing = [name for name in dict.fromkeys(wanted) if name not in known]
    if missing:
        near = {name: difflib.get_close_matches(name, known, n=2, cutoff=0.5) for name in missing}
        meant = [f"{name!r}: did you mean {' or '.join(found)}?" for name, found in near.items() if found]
        roles = [f"target {name!r}" if name == data.target else f"column {name!r}" for name in missing]
        raise SchemaMismatchError(
            f"{data.path} has no {', '.join(roles)}",
            hint=" ".join(meant) or f"its columns: {', '.join(known)}",
            columns=missing,
        )


def check_schema(schema: pa.Schema, data: DataSection, *, number: bool) -> None:
    """Refuse what can be seen without reading a row: columns that are not there, a target that cannot be one.

    Args:
        schema: of the table.
        data: names the columns.
        number: whether a number is to be predicted, and not one of classes.

    Raises:
        DataError: as it says.
    """
    check_columns(schema.names, data)
    found = schema.field(data.target).type
    held = found.value_type if pa.types.is_dictionary(found) else found
    text = pa.types.is_string(held) or pa.types.is_large_string(held)
    if pa.types.is_temporal(held) or (text and number):
        raise DataError(f"the target {data.target!r} is no number but {held}", hint="name a column of numbers")


def _check_columns(profile: TableProfile, data: DataSection) -> None:
    check_columns(profile.table_columns or tuple(profile.columns), data)
    odd = [name for name in data.features if profile.columns[name].kind in ("time", "other")]
    if odd:
        raise SchemaMismatchError(
            f"no model can take {', '.join(repr(name) for name in odd)} of {data.path}: neither a number nor text",
            hint="make numbers of them (an hour, an age in days) or leave them out of data.features",
            columns=odd,
        )


def _target_problems(column: ColumnProfile, *, kind: str) -> list[tuple[str, str]]:
    name = column.name
    if column.kind != "number" and (kind == "number" or column.kind != "text"):
        return [(f"the target '{name}' is no number", "name a column of numbers, or train an XGBClassifier on classes")]
    if column.infinite:
        return [(f"the target '{name}' has {column.infinite:,} infinite values", "remove or replace infinite values")]
    if column.nulls:
        return [(f"the target '{name}' is missing in {column.nulls:,} rows", "leave rows without an outcome out")]
    return [] if kind == "number" else _class_problems(column)


def _class_problems(column: ColumnProfile) -> list[tuple[str, str]]:
    name = column.name
    shown = ", ".join(value if isinstance(value, str) else f"{value:g}" for value in column.values[:4])
    if len(column.values) == 1:
        return [(f"the target '{name}' has one class, {shown} in all {column.n:,} rows", "add the other class")]
    if len(column.values) > MAX_CLASSES:
        return [(f"the target '{name}' has more than {MAX_CLASSES} values: {shown} ...", "use XGBRegressor")]
    if len(column.values) == 2 and set(column.values) != {0, 1}:
        hint = "write the one that a score shall mean as 1 and the other as 0: which it is cannot be guessed"
        return [(f"the target '{name}' has two classes that are not 0 and 1: {shown}", hint)]
    if column.kind == "number" and any(value != int(value) for value in column.values):
        return [(f"the target '{name}' has values that are no whole numbers: {shown} ...", "use XGBRegressor")]
    return []


def _feature_problems(column: ColumnProfile) -> list[tuple[str, str]]:
    if column.infinite:
        return [(f"'{column.name}' has {column.infinite:,} infinite values", "remove or replace infinite values")]
    if column.kind == "text" and column.many:
        return [
            (
                f"the text column '{column.name}' has more than {MAX_CATEGORIES:,} values",
                "leave text that is no category out of data.features, or group its values",
            )
        ]
    return []


def _cap(kind: str) -> int:
    return MAX_CATEGORIES if kind == "text" else MAX_CLASSES


def _column(name: str, column: pa.ChunkedArray) -> ColumnProfile:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if is_text(kind):
        return ColumnProfile(
            name, "text", len(column), column.null_count, values=_distinct(column.cast(pa.large_string()), "text")
        )
    if pa.types.is_null(kind):
        return ColumnProfile(name, "number", len(column), len(column))
    if pa.types.is_boolean(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind):
        return _number(name, pc.cast(column, pa.float64(), safe=False))
    if pa.types.is_floating(kind):
        return _number(name, pc.cast(column, pa.float64()))
    found: Literal["time", "other"] = "time" if pa.types.is_temporal(kind) else "other"
    return ColumnProfile(name, found, len(column), column.null_count)


def _number(name: str, column: pa.ChunkedArray) -> ColumnProfile:
    finite = pc.add(column.filter(pc.is_finite(column)), 0.0)  # -0.0 becomes 0.0
    infinite = pc.sum(pc.is_inf(column)).as_py() or 0
    ends = pc.min_max(finite).as_py()
    return ColumnProfile(
        name,
        "number",
        n=len(column),
        nulls=len(column) - len(finite) - infinite,
        infinite=infinite,
        values=_distinct(finite, "number"),
        low=ends["min"],
        high=ends["max"],
    )


def _distinct(column: pa.ChunkedArray, kind: str) -> tuple[Any, ...]:
    """The smallest values, one more than there may be: so it does not matter in which parts the rows came."""
    most = _cap(kind) + 1
    if kind == "number" and len(column) > _SMALLEST:
        # Of most numbers a look at the smallest shows already that there are too many: 20 times quicker than all.
        few = np.unique(np.partition(column.to_numpy(), _SMALLEST - 1)[:_SMALLEST])
        if len(few) >= most:
            return tuple(few[:most].tolist())
    found = pc.unique(column.drop_null())
    if len(found) > most:
        found = found.take(pc.select_k_unstable(found, most, sort_keys=[("value", "ascending")]))
    return tuple(sorted(found.to_pylist()))


def _merged(one: ColumnProfile, other: ColumnProfile) -> ColumnProfile:
    lows = [low for low in (one.low, other.low) if low is not None]
    highs = [high for high in (one.high, other.high) if high is not None]
    return ColumnProfile(
        one.name,
        one.kind,
        n=one.n + other.n,
        nulls=one.nulls + other.nulls,
        infinite=one.infinite + other.infinite,
        values=tuple(sorted({*one.values, *other.values}))[: _cap(one.kind) + 1],
        low=min(lows, default=None),
        high=max(highs, default=None),
    )
