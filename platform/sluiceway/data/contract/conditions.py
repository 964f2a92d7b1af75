"""What a value has to be, as conditions over whole columns; a missing value (null or NaN) breaks only ``Present``."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.data.bits import is_text
from sluiceway.data.contract.kinds import LISTABLE, NUMBERS, TIMES, Kind, kind_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INT64 = 2**63
_MICROSECONDS_OF_A_DAY = 86_400_000_000
_DECIMAL_DIGITS = 38

Side = Literal["low", "high"]


@dataclass(frozen=True)
class Present:
    """There is a value."""

    says: str = "missing"

    def fits(self, kind: Kind | None) -> bool:
        """Whether such a column can be asked."""
        return True

    def broken(self, column: pa.Array) -> pa.Array:
        """True where a value breaks it; booleans without nulls."""
        return missing(column)


@dataclass(frozen=True)
class Bound:
    """A value is not beyond a limit; an exclusive limit is itself beyond.

    Attributes:
        limit: a number, or a date or time, which may be a text in ISO's form; times without a zone are in UTC.
        side: which end it is.
        exclusive: the limit itself is broken.
    """

    limit: int | float | date | datetime | str
    side: Side
    exclusive: bool = False

    @property
    def says(self) -> str:
        """What a value is that breaks it."""
        low, high = ("not more than", "not less than") if self.exclusive else ("less than", "more than")
        return f"{low if self.side == 'low' else high} {self.limit}"

    def fits(self, kind: Kind | None) -> bool:
        """Whether such a column can be compared with the limit."""
        if kind in TIMES:
            return not isinstance(self.limit, int | float)
        return kind in NUMBERS and isinstance(self.limit, int | float)

    def broken(self, column: pa.Array) -> pa.Array:
        """True where a value is beyond; booleans without nulls."""
        if pa.types.is_floating(column.type):
            compare = {("low", False): pc.less, ("low", True): pc.less_equal}
            compare |= {("high", False): pc.greater, ("high", True): pc.greater_equal}
            return _certain(compare[self.side, self.exclusive](column.cast(pa.float64()), self._float()))
        if pa.types.is_decimal(column.type):
            return self._beyond_decimal(column)
        if pa.types.is_uint64(column.type):
            return self._beyond_decimal(column.cast(pa.decimal128(20, 0)))
        last = self._last_good(0, column.type)
        if not -_INT64 <= last < _INT64:
            return _all_or_none(column, (last > 0) == (self.side == "low"))
        return self._beyond(ticks(column), pa.scalar(last, pa.int64()))

    def _beyond_decimal(self, column: pa.Array) -> pa.Array:
        scale = column.type.scale
        last = self._last_good(scale, column.type)
        if abs(last) >= 10**_DECIMAL_DIGITS:
            return _all_or_none(column, (last > 0) == (self.side == "low"))
        wide = pa.decimal128(_DECIMAL_DIGITS, scale)
        return self._beyond(column.cast(wide), pa.scalar(decimal_at(last, scale), wide))

    def _beyond(self, column: pa.Array, last: pa.Scalar) -> pa.Array:
        return _certain(pc.less(column, last) if self.side == "low" else pc.greater(column, last))

    def _last_good(self, scale: int, kind: pa.DataType) -> int:
        """The outermost good value of a type that is exact, in units of its last digit: no rounding on the way."""
        scaled = Fraction(limit_ticks(self.limit, kind_of(kind))) * 10**scale
        if self.side == "low":
            return int(math.floor(scaled) + 1 if self.exclusive else math.ceil(scaled))
        return int(math.ceil(scaled) - 1 if self.exclusive else math.floor(scaled))

    def _float(self) -> float:
        if not isinstance(self.limit, int | float):
            raise TypeError(f"{self.limit!r} is no number")
        try:
            return float(self.limit)
        except OverflowError:  # beyond every finite float
            return math.inf if self.limit > 0 else -math.inf


@dataclass(frozen=True)
class OneOf:
    """A value is in a list, or with ``not_one`` in none."""

    values: tuple[Any, ...]
    not_one: bool = False

    @property
    def says(self) -> str:
        """What a value is that breaks it."""
        shown = ", ".join(repr(value) if isinstance(value, str) else str(value) for value in self.values[:5])
        more = ", ..." if len(self.values) > 5 else ""
        return f"one of {shown}{more}, which stand for nothing" if self.not_one else f"not one of {shown}{more}"

    def fits(self, kind: Kind | None) -> bool:
        """Whether such a column can be compared with values of a YAML file."""
        return kind in LISTABLE

    def broken(self, column: pa.Array) -> pa.Array:
        """True where a value is not allowed; booleans without nulls."""
        kind = column.type
        if pa.types.is_decimal(kind):
            wide = pa.decimal128(_DECIMAL_DIGITS, kind.scale)
            found = pc.is_in(column.cast(wide), pa.array(self._decimals(kind.scale), wide))
        elif pa.types.is_floating(kind):
            numbers = (value for value in self.values if is_number(value) and abs(value) <= sys.float_info.max)
            floats = [float(value) for value in numbers]
            found = pc.is_in(column.cast(pa.float64()), pa.array(floats, pa.float64()))
        elif pa.types.is_uint64(kind):
            wide = pa.decimal128(20, 0)
            found = pc.is_in(column.cast(wide), pa.array(self._decimals(0), wide))
        elif pa.types.is_integer(kind) or pa.types.is_temporal(kind):
            found = pc.is_in(ticks(column), pa.array(self._ticks(kind_of(kind)), pa.int64()))
        else:
            wanted = bool if pa.types.is_boolean(kind) else str
            same = [value for value in self.values if isinstance(value, wanted)]
            found = pc.is_in(column, pa.array(same, kind))
        present = pc.invert(missing(column))
        return pc.and_(present, found if self.not_one else pc.invert(found))

    def _decimals(self, scale: int) -> list[Decimal]:
        scaled = [Fraction(limit_ticks(value, Kind.NUMBER)) * 10**scale for value in self.values if is_number(value)]
        whole = [int(value) for value in scaled if value.denominator == 1 and abs(value) < 10**_DECIMAL_DIGITS]
        return [decimal_at(value, scale) for value in whole]

    def _ticks(self, kind: Kind | None) -> list[int]:
        exact: list[Fraction] = []
        for value in self.values:
            with suppress(ValueError):  # a value of another type equals none of this one
                exact.append(Fraction(limit_ticks(value, kind)))
        return [int(value) for value in exact if value.denominator == 1 and -_INT64 <= value < _INT64]


@dataclass(frozen=True)
class Matches:
    """A pattern is found in a text; one that is to cover all of it has ``^`` and ``$``."""

    pattern: str

    @property
    def says(self) -> str:
        """What a value is that breaks it."""
        return f"does not match {self.pattern}"

    def fits(self, kind: Kind | None) -> bool:
        """Whether the column is text."""
        return kind is Kind.TEXT

    def broken(self, column: pa.Array) -> pa.Array:
        """True where the pattern is not found; booleans without nulls."""
        return _certain(pc.invert(pc.match_substring_regex(column, self.pattern)))


@dataclass(frozen=True)
class Length:
    """A text has so many characters (code points)."""

    limit: int
    side: Side

    @property
    def says(self) -> str:
        """What a value is that breaks it."""
        return f"{'shorter' if self.side == 'low' else 'longer'} than {self.limit} characters"

    def fits(self, kind: Kind | None) -> bool:
        """Whether the column is text."""
        return kind is Kind.TEXT

    def broken(self, column: pa.Array) -> pa.Array:
        """True where a text is too short or too long; booleans without nulls."""
        lengths = pc.utf8_length(column).cast(pa.int64())
        return _certain(pc.less(lengths, self.limit) if self.side == "low" else pc.greater(lengths, self.limit))


Condition = Present | Bound | OneOf | Matches | Length


def plain(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece, without a dictionary, texts of one width."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    wanted = pa.large_string() if is_text(kind) else kind
    if column.type != wanted:
        column = column.cast(wanted)
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def missing(column: pa.Array) -> pa.Array:
    """True where there is no value: null, or NaN, which stands for the same all over this platform."""
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    return pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))


def ticks(column: pa.Array) -> pa.Array:
    """Whole numbers, days and microseconds as int64; what is finer than a microsecond is cut off."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz), safe=False).view(pa.int64())
    if pa.types.is_date(kind):
        return column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
    return column.cast(pa.int64())


def limit_ticks(value: Any, kind: Kind | None) -> int | Fraction:
    """A value of a YAML file, exactly: a number as it is written, days since 1970, or microseconds.

    Raises:
        ValueError: it is no such value.
    """
    if kind in TIMES:
        micros = (_time(value) - _EPOCH) // timedelta(microseconds=1)
        return Fraction(micros, _MICROSECONDS_OF_A_DAY) if kind is Kind.DATE else micros
    if not is_number(value) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"has to be a number (given: {value!r})")
    return value if isinstance(value, int) else Fraction(Decimal(repr(value)))


def is_number(value: Any) -> bool:
    """Whether it is a number and no truth value, which Python takes for one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def decimal_at(whole: int, scale: int) -> Decimal:
    """``whole`` units of the last of ``scale`` digits, exactly."""
    return Decimal((int(whole < 0), tuple(int(digit) for digit in str(abs(whole))), -scale))


def _time(value: Any) -> datetime:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day, tzinfo=UTC)
    if not isinstance(found, datetime):
        raise ValueError(f"has to be a date or a time, e.g. 2024-01-31 or 2024-01-31T12:00:00Z (given: {value!r})")
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _certain(found: pa.Array) -> pa.Array:
    return pc.fill_null(found, False)


def _all_or_none(column: pa.Array, every: bool) -> pa.Array:
    """Every value or none, where the limit is beyond what the type can hold."""
    return pc.is_valid(column) if every else pa.repeat(pa.scalar(False), len(column))
