"""Delta's statistics of a written file, from its Parquet footer.

The footer holds exact bounds, except for two things: it leaves NaN out of them, and it holds none for texts of more
than 4 KiB. A float column with a NaN has no bounds here (readers would skip its rows), and of long texts the bounds are
read from the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

# As deltalake cuts them, in bytes of UTF-8.
TEXT_BYTES = 64
# A column, or a field within structs.
Path: TypeAlias = tuple[str, ...]
# Reads one column of one row group again.
ReadColumn: TypeAlias = Callable[[int, str], pa.ChunkedArray]


def statistics_of(
    footer: Any, schema: pa.Schema, *, with_nan: Collection[Path] = (), read: ReadColumn | None = None
) -> str:
    """The statistics of one file.

    Args:
        footer: its ``pyarrow.parquet.FileMetaData``.
        schema: of the file.
        with_nan: float columns that hold a NaN.
        read: gives a column of a row group, for texts that are too long for the footer; without it they have no bounds.

    Returns:
        JSON: ``numRecords``, ``minValues``, ``maxValues``, ``nullCount``; structs nested, lists and maps left out,
        binary columns without bounds, timestamps to the microsecond, texts cut to 64 bytes, the upper bound up.
    """
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    for index, (path, kind) in enumerate(leaves(schema)):
        if path is None:
            continue
        count, bounds = _bounds(footer, index, path, kind, read=read)
        if count is not None:
            _put(nulls, path, str(count))
        if bounds is None or path in with_nan:
            continue
        lowest, highest = lower_bound(bounds[0]), upper_bound(bounds[1])
        if lowest is not None:
            _put(low, path, lowest)
        if highest is not None:
            _put(high, path, highest)
    parts = {"numRecords": str(footer.num_rows), "minValues": low, "maxValues": high, "nullCount": nulls}
    return _json(parts)


def leaves(schema: pa.Schema) -> Iterator[tuple[Path | None, pa.DataType]]:
    """The columns of the Parquet file in their order; the path is None inside lists and maps."""
    for field in schema:
        yield from _leaves(field.type, (field.name,))


def _leaves(kind: pa.DataType, path: Path | None) -> Iterator[tuple[Path | None, pa.DataType]]:
    if pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            inner = kind.field(i)
            yield from _leaves(inner.type, None if path is None else (*path, inner.name))
    elif pa.types.is_map(kind):
        yield from _leaves(kind.key_type, None)
        yield from _leaves(kind.item_type, None)
    elif pa.types.is_list(kind):
        yield from _leaves(kind.value_type, None)
    else:
        yield path, kind


def nan_paths(batch: pa.RecordBatch) -> set[Path]:
    """The float columns, fields within structs among them, that hold a NaN."""
    found: set[Path] = set()
    for field, column in zip(batch.schema, batch.columns, strict=True):
        _find_nan(column, field.type, (field.name,), found)
    return found


def _find_nan(array: pa.Array, kind: pa.DataType, path: Path, found: set[Path]) -> None:
    if pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            _find_nan(array.field(i), kind.field(i).type, (*path, kind.field(i).name), found)
    elif pa.types.is_floating(kind) and pc.any(pc.is_nan(array)).as_py():
        found.add(path)


def _bounds(
    footer: Any, index: int, path: Path, kind: pa.DataType, *, read: ReadColumn | None
) -> tuple[int | None, tuple[Any, Any] | None]:
    """Nulls of a leaf, and its exact bounds; None for what is not known or not there."""
    nulls, lows, highs, known = 0, [], [], not pa.types.is_binary(kind)
    for group in range(footer.num_row_groups):
        rows = footer.row_group(group).num_rows
        found = footer.row_group(group).column(index).statistics
        if found is None or not found.has_null_count:
            return None, None
        nulls += found.null_count
        if found.null_count == rows or not known:
            continue
        pair = _pair(found)
        if pair is None and pa.types.is_string(kind) and len(path) == 1 and read is not None:
            extremes = pc.min_max(read(group, path[0])).as_py()
            pair = extremes["min"], extremes["max"]
        known = pair is not None
        if pair is not None:
            lows.append(pair[0])
            highs.append(pair[1])
    return nulls, (min(lows), max(highs)) if known and lows else None


def _pair(found: Any) -> tuple[Any, Any] | None:
    try:
        return (found.min, found.max) if found.has_min_max else None
    except (ValueError, OverflowError):  # a time that Python's calendar does not reach
        return None


def lower_bound(value: Any) -> str | None:
    """JSON text of a value that is not above this one, or None where there is none."""
    return json.dumps(_cut(value)[0]) if isinstance(value, str) else _exact(value)


def upper_bound(value: Any) -> str | None:
    """JSON text of a value that is not below this one, or None where there is none."""
    if not isinstance(value, str):
        return _exact(value)
    kept, shortened = _cut(value)
    if not shortened:
        return json.dumps(kept)
    raised = _raised(kept)
    return None if raised is None else json.dumps(raised)


def _exact(value: Any) -> str | None:
    if isinstance(value, float):
        return json.dumps(value) if math.isfinite(value) else None
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, Decimal):
        return f"{value:f}"  # a JSON number with all its digits
    if isinstance(value, datetime):
        zone = "Z" if value.tzinfo else ""
        return json.dumps(f"{value.replace(tzinfo=None).isoformat(timespec='microseconds')}{zone}")
    return json.dumps(value.isoformat()) if isinstance(value, date) else None


def _cut(text: str) -> tuple[str, bool]:
    raw = text.encode()
    if len(raw) <= TEXT_BYTES:
        return text, False
    return raw[:TEXT_BYTES].decode(errors="ignore"), True


def _raised(text: str) -> str | None:
    """The shortest change that puts a text above all that begin with it, in the same number of bytes."""
    for end in range(len(text) - 1, -1, -1):
        code = ord(text[end]) + 1
        if 0xD800 <= code <= 0xDFFF:
            code = 0xE000
        if code <= 0x10FFFF and len(chr(code).encode()) == len(text[end].encode()):
            return text[:end] + chr(code)
    return None


def _put(into: dict[str, Any], path: Path, value: str) -> None:
    for name in path[:-1]:
        into = into.setdefault(name, {})
    into[path[-1]] = value


def _json(value: Any) -> str:
    """JSON of nested dictionaries whose leaves are JSON already: no float stands between a decimal and its digits."""
    if isinstance(value, str):
        return value
    return "{" + ",".join(f"{json.dumps(name)}:{_json(inner)}" for name, inner in value.items()) + "}"
