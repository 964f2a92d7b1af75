"""Makes batches fit a table: the types that Delta keeps, the table's order, and no null where none may be."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from sluiceway.core.errors import DataError, SchemaMismatchError

# Delta has no unsigned integers: the next wider type holds them all, except for 64 bits, which are checked by value.
_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.int64(),
    pa.float16(): pa.float32(),
    pa.date64(): pa.date32(),
}
_SAME = (
    pa.types.is_signed_integer,
    pa.types.is_float32,
    pa.types.is_float64,
    pa.types.is_boolean,
    pa.types.is_date32,
    pa.types.is_decimal128,
)
_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARY = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)


def delta_schema(schema: pa.Schema) -> pa.Schema:
    """The Arrow schema that a Delta table of these columns has.

    Args:
        schema: of the rows.

    Returns:
        the same names and nullability; unsigned integers a size wider, times in microseconds (UTC where they have a
        zone), one width of text and lists, no dictionaries.

    Raises:
        DataError: Delta has no such type; it names every such column.
    """
    fields, problems = [], []
    for field in schema:
        kind = delta_type(field.type)
        if kind is None:
            problems.append(f"{field.name} is {field.type}")
        else:
            fields.append(pa.field(field.name, kind, nullable=field.nullable))
    if problems:
        raise DataError(
            f"a Delta table cannot keep these columns: {'; '.join(problems)}",
            hint="cast them, for example a time of day to text and an all-null column to the type it should have",
        )
    return pa.schema(fields)


def delta_type(kind: pa.DataType) -> pa.DataType | None:
    """The type that Delta keeps for an Arrow type, or None where it has none."""
    if any(is_kind(kind) for is_kind in _SAME):
        return kind
    if kind in _WIDER:
        return _WIDER[kind]
    if any(is_kind(kind) for is_kind in _TEXT):
        return pa.string()
    if any(is_kind(kind) for is_kind in _BINARY):
        return pa.binary()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_dictionary(kind):
        return delta_type(kind.value_type)
    if any(is_kind(kind) for is_kind in _LISTS):
        element = delta_type(kind.value_type)
        return element and pa.list_(pa.field("element", element, nullable=kind.value_field.nullable))
    if pa.types.is_map(kind):
        key, item = delta_type(kind.key_type), delta_type(kind.item_type)
        return pa.map_(key, item) if key and item else None
    if pa.types.is_struct(kind):
        inner = [(kind.field(i), delta_type(kind.field(i).type)) for i in range(kind.num_fields)]
        if any(found is None for _, found in inner):
            return None
        return pa.struct([pa.field(field.name, found, nullable=field.nullable) for field, found in inner])
    return None


def refuse_misfit(given: pa.Schema, wanted: pa.Schema, *, table: str, where: str, partial: bool = False) -> None:
    """Refuse rows whose columns or types are not those of the table; the order of the columns is free.

    Args:
        given: of the rows.
        wanted: of the table.
        table: its URI.
        where: the file or frame, for the error.
        partial: a column that is missing is null (the schema may evolve).

    Raises:
        SchemaMismatchError: lists every difference.
    """
    repeated = sorted({name for name in given.names if given.names.count(name) > 1})
    problems = [f"{name} is there twice" for name in repeated]
    problems += [f"{name} is not in the table" for name in given.names if name not in wanted.names]
    for field in wanted:
        if field.name not in given.names:
            if not partial:
                problems.append(f"{field.name} is missing")
        elif field.name not in repeated and delta_type(given.field(field.name).type) != field.type:
            problems.append(f"{field.name} is {given.field(field.name).type}, the table has {field.type}")
    if problems:
        raise SchemaMismatchError(
            f"{where} does not fit {table}: {'; '.join(problems)}",
            hint="cast or rename the columns; new columns are added with --evolve only",
            table=table,
        )


def fitted(batch: pa.RecordBatch, wanted: pa.Schema, *, where: str) -> pa.RecordBatch:
    """A batch in the table's columns, types and order.

    Args:
        batch: passed :func:`refuse_misfit`; a column that is missing becomes null.
        wanted: of the table.
        where: the file or frame, for errors.

    Returns:
        the same rows; nanoseconds are rounded down to microseconds, nulls are not looked at.

    Raises:
        DataError: a value does not fit its type.
    """
    arrays = []
    for field in wanted:
        place = batch.schema.get_field_index(field.name)
        array = pa.nulls(batch.num_rows, field.type) if place < 0 else batch.column(place)
        array = _cast(array, field, where=where)
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)


def refuse_nulls(batch: pa.RecordBatch, *, where: str) -> None:
    """Refuse null where the schema of the batch allows none, within structs and lists, too.

    Raises:
        DataError: there is one.
    """
    for field, array in zip(batch.schema, batch.columns, strict=True):
        for path, count in _forbidden_nulls(array, field, field.name):
            raise DataError(f"{where}: column {path} has {count:,} null values, the table allows none")


def _cast(array: pa.Array, field: pa.Field, *, where: str) -> pa.Array:
    if array.type == field.type:
        return array
    try:
        if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
            array = pc.floor_temporal(array, unit="microsecond")
        return array.cast(field.type)
    except pa.ArrowInvalid as error:
        raise DataError(f"{where}: column {field.name} does not fit {field.type}: {error}") from error


def _forbidden_nulls(array: pa.Array, field: pa.Field, path: str) -> Iterator[tuple[str, int]]:
    if not field.nullable and array.null_count:
        yield path, array.null_count
    if pa.types.is_struct(field.type):
        filled = array.drop_null() if array.null_count else array
        for i in range(field.type.num_fields):
            inner = field.type.field(i)
            yield from _forbidden_nulls(filled.field(i), inner, f"{path}.{inner.name}")
    elif pa.types.is_list(field.type):
        yield from _forbidden_nulls(pc.list_flatten(array), field.type.value_field, f"{path}[]")
