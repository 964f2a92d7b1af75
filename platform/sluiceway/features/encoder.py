"""Encodes what requests bring, for one model: quickly where all is well, and value by value where it is not."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

from sluiceway.features.arrow_columns import encode_chunk, fits
from sluiceway.features.problems import Problems, kind_of, short, step
from sluiceway.features.rules import LARGEST, InputRules, allowed, bound, known
from sluiceway.features.schema import Feature, FeatureSchema, near

_NAN = math.nan
_INFINITE = "is infinite, or too large for a 32-bit float"
_MISSING = "is missing; null says that it is not known"
# What numpy turns into a number as we mean it; None becomes NaN.
_PLAIN = frozenset((float, int, bool, type(None)))
_TEXTS = frozenset((str, type(None)))
_NAMES_COMPARED = 10  # "did you mean" looks at every feature, and a request can hold very many strange names

# JSON path of a column's value; of the column itself where the row is None.
Place = Callable[[str, int | None], str]
Columns = Mapping[str, "Sequence[Any] | np.ndarray"]


class Encoder:
    """Encodes requests for one model.

    Args:
        schema: of the model.
        rules: what a request may hold beyond it.

    Attributes:
        schema: of the model.
    """

    def __init__(self, schema: FeatureSchema, rules: InputRules | None = None) -> None:
        self.schema = schema
        rules = rules or InputRules()
        self._width = len(schema.names)
        self._known = frozenset(schema.names)
        self._extra = rules.extra - self._known
        self._refuse_unknown = rules.refuse_unknown
        self._categories = [(j, codes) for j, codes in enumerate(schema.codes) if codes is not None]
        self._values_of = _values_of(schema.names)
        self._ranges = {f.name: rules.ranges[f.name] for f in _numeric(schema) if f.name in rules.ranges}
        # As the model sees them: a value that is within a bound stays within it when both are rounded.
        self._low, self._high = (
            np.array([bound(self._ranges.get(name), side) for name in schema.names], dtype=np.float32)
            for side in (0, 1)
        )

    def rows(self, rows: Sequence[Mapping[str, Any]], *, where: str = "$.rows") -> tuple[np.ndarray, int]:
        """Encode rows.

        Args:
            rows: parsed JSON objects, one value a feature.
            where: JSON path of the list that they are.

        Returns:
            shape (n_rows, n_features), float32, C order, NaN is missing; and the number of unknown categories.

        Raises:
            RequestError: 422, with the path and cause of every problem.
        """
        values: list[Any] = []
        width, values_of = self._width, self._values_of
        try:
            for row in rows:
                if len(row) != width and not self._has_only_extra(row):
                    return self._rows_slowly(rows, where)
                values += values_of(row)
            unseen = self._place_categories(values)
            if unseen < 0 or not _PLAIN.issuperset(map(type, values)):
                return self._rows_slowly(rows, where)
            with np.errstate(over="ignore"):
                matrix = np.array(values, dtype=np.float32).reshape(len(rows), width)
        except (KeyError, TypeError, OverflowError):
            return self._rows_slowly(rows, where)
        if np.isinf(matrix).any() or (self._ranges and self._outside(matrix).any()):
            return self._rows_slowly(rows, where)
        return matrix, unseen

    def columns(self, columns: Columns, place: Place) -> tuple[np.ndarray, int]:
        """Encode columns; returns and raises as :meth:`rows`.

        Args:
            columns: by name, all of one length: lists of JSON values, or arrays of numbers.
            place: where a value stands in the request.
        """
        problems = Problems()
        self._check_names(columns, problems, place)
        rows = len(next(iter(columns.values()), ()))
        matrix = np.full((rows, self._width), _NAN, dtype=np.float32)
        unseen = 0
        for j, (feature, codes) in enumerate(zip(self.schema.features, self.schema.codes, strict=True)):
            values = columns.get(feature.name)
            if values is None:
                continue
            quick: tuple[Any, int] | None = _numbers(values) if codes is None else self._codes(values, codes)
            if quick is None:
                unseen += self._column_slowly(values, j, matrix[:, j], problems, place)
            else:
                matrix[:, j] = quick[0]
                unseen += quick[1]
                self._check_column(values, j, matrix[:, j], problems, place)
        problems.refuse()
        return matrix, unseen

    def table(self, table: pa.Table) -> tuple[np.ndarray, int]:
        """Encode an Arrow table; returns and raises as :meth:`rows`, with paths like ``$.distance[3]``.

        Args:
            table: one column a feature.
        """
        problems = Problems()
        self._check_table(table, problems)
        problems.refuse()
        matrix = np.empty((table.num_rows, self._width), dtype=np.float32)
        unseen = 0
        for j, feature in enumerate(self.schema.features):
            column, start, before = table.column(feature.name), 0, unseen
            for chunk in column.chunks:
                unseen += encode_chunk(chunk, feature, matrix[start : start + len(chunk), j])
                start += len(chunk)
            if self._refuse_unknown and unseen > before:
                self._column_slowly(column.to_pylist(), j, matrix[:, j], problems, column_place)
            else:
                self._check_column(column, j, matrix[:, j], problems, column_place)
        problems.refuse()
        return matrix, unseen

    def _has_only_extra(self, row: Mapping[str, Any]) -> bool:
        return len(row) - sum(name in row for name in self._extra) == self._width

    def _place_categories(self, values: list[Any]) -> int:
        """Put codes in the place of categories; gives how many are not known, or -1 where somebody has to look."""
        unseen = 0
        for j, codes in self._categories:
            for k in range(j, len(values), self._width):
                value = values[k]
                if value is None:
                    continue
                code = codes.get(value)
                if code is None:
                    if type(value) is not str or self._refuse_unknown:
                        return -1
                    unseen += 1
                values[k] = code
        return unseen

    def _outside(self, numbers: np.ndarray) -> np.ndarray:
        return (numbers < self._low) | (numbers > self._high)

    def _rows_slowly(self, rows: Sequence[Mapping[str, Any]], where: str) -> tuple[np.ndarray, int]:
        matrix = np.full((len(rows), self._width), _NAN, dtype=np.float32)
        unseen = 0
        problems = Problems(where)
        strange = 0
        for i, row in enumerate(rows):
            if not isinstance(row, Mapping):
                problems.add(f"{where}[{i}]", f"is {kind_of(row)}; an object of features is needed")
                continue
            for name in row:
                if name not in self._known and name not in self._extra:
                    strange += 1
                    problems.add(f"{where}[{i}]{step(name)}", self._stranger(name, strange))
            for j, feature in enumerate(self.schema.features):
                if feature.name not in row:
                    problems.add(f"{where}[{i}]{step(feature.name)}", _MISSING)
                    continue
                number, problem = self._value(row[feature.name], j)
                if problem:
                    problems.add(f"{where}[{i}]{step(feature.name)}", problem)
                elif number is None:
                    unseen += 1
                else:
                    matrix[i, j] = number
        problems.refuse()
        return matrix, unseen

    def _check_names(self, columns: Columns, problems: Problems, place: Place) -> None:
        strangers = [name for name in columns if name not in self._known and name not in self._extra]
        for n, name in enumerate(strangers):
            problems.add(place(name, None), self._stranger(name, n + 1))
        for name in self.schema.names:
            if name not in columns:
                problems.add(place(name, None), "is missing; a column of nulls says that it is not known")

    def _check_table(self, table: pa.Table, problems: Problems) -> None:
        names = table.schema.names
        self._check_names(dict.fromkeys(names, ()), problems, column_place)
        for name in sorted({name for name in names if names.count(name) > 1} & self._known):
            problems.add(column_place(name, None), "is there more than once")
        for feature in self.schema.features:
            position = table.schema.get_field_index(feature.name)
            if position >= 0 and not fits(feature, table.schema.field(position).type):
                needed = "texts are" if feature.kind == "category" else "numbers are"
                problems.add(
                    column_place(feature.name, None),
                    f"has type {table.schema.field(position).type}; {needed} needed",
                )

    def _stranger(self, name: str, count: int) -> Callable[[], str]:
        compared = count <= _NAMES_COMPARED and len(name) <= len(max(self._known, key=len, default="")) * 2
        return lambda: f"is not a feature of the model{near(name, self._known) if compared else ''}"

    def _codes(self, values: Sequence[Any] | np.ndarray, codes: Mapping[str, float]) -> tuple[list[Any], int] | None:
        """Codes of a list of categories and how many are not known, or None where somebody has to look."""
        if isinstance(values, np.ndarray):
            return None
        try:
            found = [None if value is None else codes.get(value, _NAN) for value in values]
        except TypeError:
            return None
        if not _TEXTS.issuperset(map(type, values)):
            return None
        unseen = sum(code is not None and code != code for code in found)
        return None if unseen and self._refuse_unknown else (found, unseen)

    def _check_column(self, values: Any, j: int, column: np.ndarray, problems: Problems, place: Place) -> None:
        """Note what is infinite or out of range in a column that is encoded already."""
        bad = np.isinf(column)
        if self._ranges:
            bad |= (column < self._low[j]) | (column > self._high[j])
        for i in np.flatnonzero(bad).tolist():
            value = values[i]
            problem = self._value(value.as_py() if isinstance(value, pa.Scalar) else value, j)[1]
            problems.add(place(self.schema.names[j], i), problem or _INFINITE)

    def _column_slowly(self, values: Any, j: int, out: np.ndarray, problems: Problems, place: Place) -> int:
        unseen = 0
        for i, value in enumerate(values):
            number, problem = self._value(value, j)
            if problem:
                problems.add(place(self.schema.names[j], i), problem)
            elif number is None:
                unseen += 1
            else:
                out[i] = number
        return unseen

    def _value(self, value: Any, j: int) -> tuple[float | None, str]:
        """The number of a value (None: a category never seen) and what is wrong with it, if anything."""
        codes = self.schema.codes[j]
        if value is None:
            return _NAN, ""
        if codes is not None:
            if isinstance(value, float) and value != value:
                return _NAN, ""
            if not isinstance(value, str):
                return None, f"is {kind_of(value)}; a text is needed"
            code = codes.get(value)
            return code, f"is {short(value)}; {known(codes)}" if code is None and self._refuse_unknown else ""
        if not isinstance(value, numbers.Real | np.bool_) and not _is_decimal(value):
            return None, f"is {kind_of(value)}; a number is needed"
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if abs(number) > LARGEST:
            return None, _INFINITE
        # Compared as the model sees it.
        seen = np.float32(number)
        if seen < self._low[j] or seen > self._high[j]:
            return None, f"is {number:g}; {allowed(self._ranges[self.schema.names[j]])}"
        return number, ""


def column_place(name: str, row: int | None) -> str:
    """The path of a value in a table: ``$.distance[3]``."""
    return f"${step(name)}" if row is None else f"${step(name)}[{row}]"


def _values_of(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda row: [row[name] for name in names]


def _numeric(schema: FeatureSchema) -> list[Feature]:
    return [feature for feature in schema.features if feature.kind == "numeric"]


def _numbers(values: Sequence[Any] | np.ndarray) -> tuple[np.ndarray, int] | None:
    """A column of numbers, float32, or None where somebody has to look at each."""
    with np.errstate(over="ignore"):
        if isinstance(values, np.ndarray):
            return values.astype(np.float32), 0
        if not _PLAIN.issuperset(map(type, values)):
            return None
        try:
            return np.array(values, dtype=np.float32), 0
        except OverflowError:
            return None


def _is_decimal(value: Any) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, complex)
