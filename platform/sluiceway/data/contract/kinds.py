"""Types: what Delta calls them, what a contract may call them, and which rules make sense for which."""

from __future__ import annotations

import re
from enum import StrEnum

import pyarrow as pa

from sluiceway.data.bits import is_bytes, is_text


class Kind(StrEnum):
    """What rules care about in a type."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    TIME = "time"
    BYTES = "bytes"
    ARRAY = "array"
    OBJECT = "object"


NUMBERS = frozenset({Kind.INTEGER, Kind.NUMBER})
TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP})
# Values that can be compared with what a YAML file holds.
LISTABLE = frozenset({Kind.TEXT, Kind.BOOLEAN}) | NUMBERS | TIMES
NESTED = frozenset({Kind.ARRAY, Kind.OBJECT})

_LOGICAL: dict[str, frozenset[Kind]] = {
    "string": frozenset({Kind.TEXT}),
    "integer": frozenset({Kind.INTEGER}),
    "number": NUMBERS,
    "boolean": frozenset({Kind.BOOLEAN}),
    "date": frozenset({Kind.DATE}),
    "timestamp": frozenset({Kind.TIMESTAMP}),
    "time": frozenset({Kind.TIME}),
    "array": frozenset({Kind.ARRAY}),
    "object": frozenset({Kind.OBJECT}),
}
# Delta's name -> the names that SQL dialects have for it.
_PHYSICAL: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "string": (Kind.TEXT, ("varchar", "char", "text")),
    "long": (Kind.INTEGER, ("bigint", "int64")),
    "integer": (Kind.INTEGER, ("int", "int32")),
    "short": (Kind.INTEGER, ("smallint", "int16")),
    "byte": (Kind.INTEGER, ("tinyint", "int8")),
    "double": (Kind.NUMBER, ("float64", "double precision")),
    "float": (Kind.NUMBER, ("real", "float32")),
    "boolean": (Kind.BOOLEAN, ("bool",)),
    "date": (Kind.DATE, ()),
    "timestamp": (Kind.TIMESTAMP, ("timestamptz", "timestamp_ltz")),
    "timestamp_ntz": (Kind.TIMESTAMP, ("timestampntz",)),
    "binary": (Kind.BYTES, ("bytes",)),
    "array": (Kind.ARRAY, ()),
    "struct": (Kind.OBJECT, ()),
    "map": (Kind.OBJECT, ()),
}
_NAMES = {name: delta for delta, (_, others) in _PHYSICAL.items() for name in (delta, *others)}
_DECIMAL = re.compile(r"(?:decimal|numeric|dec)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")
_LENGTH = re.compile(r"(?:varchar|char)\s*\(\s*\d+\s*\)")


def delta_name(kind: pa.DataType) -> str:
    """Delta's name for the type of a column, e.g. ``long`` or ``decimal(10,2)``."""
    if pa.types.is_dictionary(kind):
        return delta_name(kind.value_type)
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz else "timestamp_ntz"
    if is_text(kind):
        return "string"
    if is_bytes(kind):
        return "binary"
    if pa.types.is_date(kind):
        return "date"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "array"
    if pa.types.is_struct(kind):
        return "struct"
    if pa.types.is_map(kind):
        return "map"
    return _NAMES.get({"bool": "boolean", "halffloat": "float"}.get(str(kind), str(kind)), str(kind))


def kind_of(kind: pa.DataType) -> Kind | None:
    """What a column is to the rules; None for types that Delta does not have."""
    if pa.types.is_dictionary(kind):
        return kind_of(kind.value_type)
    if pa.types.is_integer(kind):
        return Kind.INTEGER
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Kind.NUMBER
    if pa.types.is_time(kind):
        return Kind.TIME
    return physical_kind(delta_name(kind))


def physical_name(given: str) -> str | None:
    """Delta's name for a ``physicalType``, or None where Delta has no such type."""
    text = " ".join(given.lower().split())
    decimal = _DECIMAL.fullmatch(text)
    if decimal:
        return f"decimal({decimal[1]},{decimal[2] or 0})"
    if _LENGTH.fullmatch(text):
        return "string"
    nested = text.partition("<")[0]
    return _NAMES.get(nested if nested in ("array", "struct", "map") else text)


def physical_kind(name: str) -> Kind | None:
    """What a type of Delta is to the rules."""
    if name.startswith("decimal("):
        return Kind.NUMBER
    return _PHYSICAL[name][0] if name in _PHYSICAL else None


def logical_kinds(logical: str, *, api_version: str) -> frozenset[Kind]:
    """What columns a logical type stands for; before 3.1 a date may be a timestamp, which had no name of its own."""
    if logical == "date" and api_version.startswith("v3.0."):
        return TIMES
    return _LOGICAL[logical]


def physical_names() -> tuple[str, ...]:
    """All names of Delta's types."""
    return (*_PHYSICAL, "decimal(p,s)")


def logical_name(kind: pa.DataType) -> str | None:
    """The logical type that fits a column; None where the standard has none."""
    found = kind_of(kind)
    if pa.types.is_decimal(kind) and kind.scale == 0:
        return "number"
    return next((name for name, kinds in _LOGICAL.items() if found is not None and kinds == {found}), None) or (
        "number" if found in NUMBERS else None
    )
