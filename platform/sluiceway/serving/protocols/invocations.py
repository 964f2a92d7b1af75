"""MLflow's scoring protocol: the bodies of ``/invocations``, and its answer of plain predictions.

What ``mlflow models serve`` takes for one of our models is taken here: columns of numbers, a category as its position
from 0. A category may also be its text, as everywhere else at an endpoint. A position is put into text when it is read:
a client can only mean one model's, and a challenger or a shadow may have other categories.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from csv import Error as CsvError
from csv import reader
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from sluiceway.core.errors import RequestError
from sluiceway.features.positions import with_categories
from sluiceway.features.problems import Problems, kind_of, refuse, step
from sluiceway.features.schema import Feature, FeatureSchema
from sluiceway.serving.answering import Answered
from sluiceway.serving.documents import read_json
from sluiceway.serving.inputs import PLAIN, ColumnsInput, Encoders
from sluiceway.serving.protocols.native import check_count, columns_of, too_many

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_MISSING = ("", "NaN", "nan", "NA", "N/A", "null", "NULL", "None")


def read_invocations(body: bytes, schema: FeatureSchema, *, max_rows: int, encoders: Encoders = PLAIN) -> ColumnsInput:
    """The rows of a JSON body: one of ``FORMS``, as MLflow documents them.

    Args:
        body: JSON; NaN is understood, because MLflow's client writes it.
        schema: of the model that the client means, for rows without names and categories by position.
        max_rows: more are refused.
        encoders: under what rules the rows will be encoded.

    Raises:
        RequestError: 400 no JSON; 413 too many rows; 422 another shape.
    """
    document = read_json(body, constants=True)
    if not isinstance(document, dict):
        refuse("$", f"has to be an object with one of {', '.join(FORMS)}, not {kind_of(document)}")
    problems = Problems()
    given = [name for name in document if name in FORMS]
    for name in document:
        if name not in (*FORMS, "params"):
            problems.add(f"${step(name)}", f"unknown; known here: {', '.join(FORMS)}")
    if len(given) != 1:
        problems.add("$", f"has to have one of {', '.join(FORMS)}")
    if document.get("params"):
        problems.add("$.params", "has to be left out: the model takes no parameters")
    problems.refuse()
    (form,) = given
    found = _rows_of(form, document[form], schema, max_rows, encoders)
    columns = with_categories(found.columns, schema)
    return found if columns is found.columns else replace(found, columns=columns)


def _rows_of(form: str, data: Any, schema: FeatureSchema, max_rows: int, encoders: Encoders) -> ColumnsInput:
    if form == "dataframe_split":
        return _split(data, schema, max_rows, encoders)
    path = f"$.{form}"
    if isinstance(data, dict) and form == "inputs":
        return _columns(_flat(columns_of(data, path, max_rows), path), path, encoders)
    check_count(data, path, max_rows)
    if form == "dataframe_records" or isinstance(data[0], dict):
        return _records(data, path, encoders)
    return _matrix(data, schema.names, path, encoders)


def read_csv(body: bytes, schema: FeatureSchema, *, max_rows: int, encoders: Encoders = PLAIN) -> ColumnsInput:
    """The rows of a CSV text whose first line names the features; raises as :func:`read_invocations`."""
    # What is no feature, such as the field that arms are drawn by, is text: 007 is another customer than 7.
    kinds = {name: pa.string() for name in _first_line(body)}
    kinds |= {f.name: pa.string() if f.kind == "category" else pa.float64() for f in schema.features}
    known = {value for feature in schema.features for value in feature.categories}
    try:
        table = csv.read_csv(
            pa.BufferReader(body),
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(
                column_types=kinds,
                null_values=[text for text in _MISSING if text not in known],
                strings_can_be_null=True,
            ),
        )
        names = table.column_names
    except (pa.ArrowException, UnicodeDecodeError) as error:  # names are decoded when they are asked for
        raise RequestError(
            "the body is no CSV of the model's features", status=400, hint="the first line names them; numbers have a ."
        ) from error
    if len(set(names)) < len(names):
        raise RequestError("the first line of the CSV names a column twice", status=400)
    if not table.num_rows:
        refuse("$", "has no rows")
    if table.num_rows > max_rows:
        raise too_many(table.num_rows, max_rows)
    categories = {feature.name: feature for feature in schema.features if feature.kind == "category"}
    columns = {name: table.column(name).to_pylist() for name in names}
    for name in categories.keys() & columns.keys():
        columns[name] = _positions_in(columns[name], categories[name])
    return _columns(with_categories(columns, schema), "$", encoders)


def _first_line(body: bytes) -> list[str]:
    """The names in the first line of a CSV; none where it cannot be read, which the whole cannot either."""
    line = body.partition(b"\n")[0]
    try:
        return next(reader([line.decode("utf-8-sig")]), [])
    except (UnicodeDecodeError, CsvError):
        return []


def predictions(answered: Answered) -> list[Any]:
    """What ``mlflow.pyfunc`` gives for the same rows: raw scores, of several classes a list a row.

    An endpoint's own scores have gone through the model's calibrator, where it has one; MLflow does not know of it.

    Args:
        answered: the answer to who has asked for raw scores.
    """
    scores = answered.scores if answered.raw is None else answered.raw
    return list(scores.tolist())


def _split(data: Any, schema: FeatureSchema, max_rows: int, encoders: Encoders) -> ColumnsInput:
    path = "$.dataframe_split"
    if not isinstance(data, dict):
        refuse(path, f"has to be an object of columns and data, not {kind_of(data)}")
    problems = Problems(path)
    for name in data:
        if name not in ("columns", "data", "index"):
            problems.add(path + step(name), "unknown; known here: columns, data, index")
    names = data.get("columns") or list(schema.names)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.add(f"{path}.columns", "has to be a list of names")
    elif len(set(names)) < len(names):
        problems.add(f"{path}.columns", "names a column twice")
    problems.refuse()
    check_count(data.get("data"), f"{path}.data", max_rows)
    return _matrix(data["data"], names, f"{path}.data", encoders)


def _records(rows: Sequence[Any], path: str, encoders: Encoders) -> ColumnsInput:
    """Objects of one set of features as columns."""
    problems = Problems(path)
    names = list(rows[0]) if isinstance(rows[0], dict) else []
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            problems.add(f"{path}[{i}]", f"is {kind_of(row)}; an object of features is needed")
        elif names and row.keys() != set(names):
            problems.add(f"{path}[{i}]", "has other features than the first row; null says that one is not known")
    problems.refuse()

    def place(name: str, row: int | None) -> str:
        return f"{path}[{row or 0}]{step(name)}"

    columns = {name: [row[name] for row in rows] for name in names}
    return ColumnsInput(columns, place, encoders)


def _matrix(rows: Sequence[Any], names: Sequence[str], path: str, encoders: Encoders) -> ColumnsInput:
    """Lists of values in the order of names as columns; of one feature also plain values."""
    if len(names) == 1 and not any(isinstance(row, list) for row in rows):
        rows = [[value] for value in rows]
    problems = Problems(path)
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != len(names):
            what = f"has {len(row)} values" if isinstance(row, list) else f"is {kind_of(row)}"
            problems.add(f"{path}[{i}]", f"{what}; a list of {len(names)} is needed")
    problems.refuse()
    order = {name: j for j, name in enumerate(names)}

    def place(name: str, row: int | None) -> str:
        if row is None:
            return f"{path}[*][{order[name]}]" if name in order else path
        return f"{path}[{row}][{order[name]}]"

    columns = {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    return ColumnsInput(columns, place, encoders)


def _columns(columns: Mapping[str, Sequence[Any] | np.ndarray], path: str, encoders: Encoders) -> ColumnsInput:
    def place(name: str, row: int | None) -> str:
        return path + step(name) if row is None else f"{path}{step(name)}[{row}]"

    return ColumnsInput(columns, place, encoders)


def _flat(columns: Mapping[str, list[Any]], path: str) -> dict[str, list[Any]]:
    """Columns of shape [n, 1] as such of shape [n]: MLflow's client sends arrays as they are."""
    problems = Problems(path)
    found = {}
    for name, values in columns.items():
        nested = [value for value in values if isinstance(value, list)]
        if nested and (len(nested) < len(values) or any(len(value) != 1 for value in nested)):
            problems.add(path + step(name), "has to be a list of values, or of lists of one value each")
        found[name] = [value[0] for value in nested] if nested and not problems else values
    problems.refuse()
    return found


def _positions_in(texts: Sequence[str | None], feature: Feature) -> list[Any]:
    """In CSV a position is a text as well: a number, where no category of the feature looks like one."""
    if any(_number(category) is not None for category in feature.categories):
        return list(texts)
    found: list[Any] = []
    for text in texts:
        number = None if text is None or text in feature.categories else _number(text)
        found.append(text if number is None else number)
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
