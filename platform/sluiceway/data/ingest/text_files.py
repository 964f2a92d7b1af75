"""CSV and JSON lines as Arrow batches: of given types, or of those that the first block seems to have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj

from sluiceway.core.errors import DataError, SchemaMismatchError

BLOCK_BYTES = 8 * 2**20
# Opens the file anew, at its beginning.
Opening: TypeAlias = Callable[[], Any]
_VALUE = re.compile(
    r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+): invalid value '(.*)'", re.S
)


@dataclass(frozen=True)
class TextOptions:
    """How text files are read.

    Attributes:
        delimiter: between the values of a CSV.
        nulls: what stands for null in a CSV where it is not quoted; the empty text always does.
    """

    delimiter: str = ","
    nulls: tuple[str, ...] = ()


def csv_schema(opening: Opening, *, where: str, options: TextOptions, known: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of a CSV: known types where the header names such a column, the first block's otherwise.

    Args:
        opening: opens the file, at its beginning.
        where: its name, for errors.
        options: how it is read.
        known: types by column.

    Returns:
        names in the header's order; a column whose first block is empty is text.
    """
    try:
        with opening() as opened, pv.open_csv(opened, **_options(options, known)) as reader:
            found = reader.schema
    except pa.ArrowInvalid as error:
        raise _told(error, opening, where=where, options=options) from error
    return pa.schema([pa.field(one.name, pa.string() if pa.types.is_null(one.type) else one.type) for one in found])


def csv_batches(opening: Opening, schema: pa.Schema, *, where: str, options: TextOptions) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV.

    Args:
        opening: opens the file, at its beginning.
        schema: the columns; the order in the file is free.
        where: its name, for errors.
        options: how it is read.

    Raises:
        SchemaMismatchError: the header has other columns.
        DataError: a value does not parse; names file, row, column and value.
    """
    types = {one.name: one.type for one in schema}
    nested = [one.name for one in schema if pa.types.is_nested(one.type)]
    if nested:
        raise DataError(f"{where}: a CSV cannot hold {', '.join(nested)}, which is a list or a struct", hint="use JSON")
    try:
        with opening() as opened, pv.open_csv(opened, **_options(options, types)) as reader:
            _refuse_columns(reader.schema.names, schema.names, where=where)
            yield from reader
    except pa.ArrowInvalid as error:
        raise _told(error, opening, where=where, options=options) from error


def json_schema(opening: Opening, *, where: str, known: Mapping[str, pa.DataType]) -> pa.Schema:
    """The columns of JSON lines, as :func:`csv_schema`; dates are text in JSON."""
    given = pa.schema([pa.field(name, _json_type(kind)) for name, kind in known.items()])
    try:
        with opening() as opened, pj.open_json(opened, **_json_options(given, "infer")) as reader:
            found = reader.schema
    except pa.ArrowInvalid as error:
        raise DataError(f"{where} is not JSON lines: {error}") from error
    fields = []
    for one in found:
        kind = known.get(one.name, pa.string() if pa.types.is_null(one.type) else one.type)
        fields.append(pa.field(one.name, kind))
    return pa.schema(fields)


def json_batches(opening: Opening, schema: pa.Schema, *, where: str, options: TextOptions) -> Iterator[pa.RecordBatch]:
    """The rows of JSON lines; a key that is missing is null, one that is not in the schema is an error."""
    del options  # JSON leaves nothing open
    given = pa.schema([pa.field(one.name, _json_type(one.type)) for one in schema])
    rows = 0
    try:
        with opening() as opened, pj.open_json(opened, **_json_options(given, "error")) as reader:
            for batch in reader:
                arrays = [batch.column(one.name).cast(one.type) for one in schema]
                rows += batch.num_rows
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{where}: {error} (after {rows:,} good rows)",
            hint="each line is one object with the table's columns; types are those of the table or of the first block",
        ) from error


def _json_type(kind: pa.DataType) -> pa.DataType:
    return pa.string() if pa.types.is_date(kind) or pa.types.is_binary(kind) else kind


def _json_options(schema: pa.Schema, unknown: str) -> dict[str, Any]:
    return {
        "read_options": pj.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        "parse_options": pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior=unknown),
    }


def _options(options: TextOptions, types: Mapping[str, pa.DataType]) -> dict[str, Any]:
    # One thread: only then does the reader know the row of a value that does not parse.
    return {
        "read_options": pv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        "parse_options": pv.ParseOptions(delimiter=options.delimiter, newlines_in_values=True),
        "convert_options": pv.ConvertOptions(
            column_types=dict(types),
            null_values=["", *options.nulls],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    }


def _refuse_columns(found: list[str], wanted: list[str], *, where: str) -> None:
    problems = [f"{name} is missing" for name in wanted if name not in found]
    problems += [f"{name} is not expected" for name in found if name not in wanted]
    if problems:
        raise SchemaMismatchError(
            f"{where} has other columns: {'; '.join(problems)}", hint="new columns are added with --evolve only"
        )


def _told(error: pa.ArrowInvalid, opening: Opening, *, where: str, options: TextOptions) -> DataError:
    found = _VALUE.search(str(error))
    if found is None:
        return DataError(f"{where} is not a CSV that can be read: {error}", hint="check --delimiter and the header")
    # The reader counts columns; without types it cannot fail where it is asked for their names.
    with opening() as opened, pv.open_csv(opened, **_options(options, {})) as reader:
        column = reader.schema.names[int(found[1])]
    row, kind, value = found[2], found[3], found[4]
    place = f"row {row} (the header is row 1), " if row else ""
    return DataError(
        f"{where}: {place}column {column}: {value!r} is not {kind}",
        hint="correct the value, name what stands for null with --null, or make the table with another type first",
        path=where,
        column=column,
        row=int(row) if row else None,
        value=value,
    )
