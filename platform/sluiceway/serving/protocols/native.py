"""The endpoint's own protocol: rows or columns of features in, scores and decisions out.

``{"rows": [{feature: value}, ...]}`` or ``{"columns": {feature: [value, ...]}}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sluiceway.core.classes import Class
from sluiceway.core.errors import RequestError
from sluiceway.features.problems import Problems, kind_of, refuse, step
from sluiceway.serving.answering import Answered
from sluiceway.serving.documents import read_json
from sluiceway.serving.inputs import PLAIN, ColumnsInput, Encoders, Input, RowsInput


def read_native(body: bytes, *, max_rows: int, encoders: Encoders = PLAIN) -> Input:
    """The rows of a request; their features are checked later, against the model's schema.

    Args:
        body: JSON.
        max_rows: more are refused.
        encoders: under what rules they will be encoded.

    Raises:
        RequestError: 400 no JSON; 422 another shape; 413 too many rows.
    """
    document = read_json(body)
    if isinstance(document, dict) and len(document) == 1 and "rows" in document:
        rows = document["rows"]
        check_count(rows, "$.rows", max_rows)
        return RowsInput(rows, encoders)
    return _read_columns(document, max_rows, encoders)


def check_count(entries: Any, path: str, max_rows: int) -> None:
    """Refuse what is no list of 1 to so many entries.

    Raises:
        RequestError: 422 no list, or an empty one; 413 too many entries.
    """
    if not isinstance(entries, list) or not entries:
        refuse(path, "has to be a list of at least one entry")
    if len(entries) > max_rows:
        raise too_many(len(entries), max_rows)


def too_many(rows: int, max_rows: int) -> RequestError:
    """The refusal of a request with too many rows."""
    return RequestError(f"{rows} rows; at most {max_rows} in one request", status=413, hint="send several requests")


def columns_of(document: Any, path: str, max_rows: int) -> dict[str, list[Any]]:
    """Columns of one length.

    Args:
        document: what a client sent for them: an object of lists.
        path: JSON path of it.
        max_rows: more are refused.

    Raises:
        RequestError: 422 no object, a column that is no list, columns of several lengths; 413 too many rows.
    """
    if not isinstance(document, dict) or not document:
        refuse(path, f"has to be an object of columns, not {kind_of(document)}")
    problems = Problems(path)
    rows: int | None = None
    for name, values in document.items():
        if not isinstance(values, list) or not values:
            problems.add(path + step(name), "has to be a list of at least one value")
        elif rows is None:
            rows = len(values)
        elif len(values) != rows:
            problems.add(path + step(name), f"has {len(values)} values, the first column {rows}")
    problems.refuse()
    if rows is not None and rows > max_rows:
        raise too_many(rows, max_rows)
    return document


def _read_columns(document: Any, max_rows: int, encoders: Encoders) -> Input:
    if not isinstance(document, dict):
        refuse("$", f'has to be an object {{"rows": [...]}} or {{"columns": {{...}}}}, not {kind_of(document)}')
    problems = Problems()
    for name in document:
        if name not in ("rows", "columns"):
            problems.add(f"${step(name)}", "unknown; known here: rows or columns")
    if len(document) == 2 and not problems:
        problems.add("$.columns", "stands beside rows; send one of them")
    if not document.keys() & {"rows", "columns"}:
        problems.add("$.rows", "is missing, and so is $.columns")
    problems.refuse()
    return ColumnsInput(columns_of(document["columns"], "$.columns", max_rows), _place, encoders)


def _place(name: str, row: int | None) -> str:
    return f"$.columns{step(name)}" if row is None else f"$.columns{step(name)}[{row}]"


def answer_body(answered: Answered, *, model: str) -> dict[str, Any]:
    """What a client of the native protocol gets.

    Args:
        answered: the answer.
        model: name of the endpoint.
    """
    scorer = answered.arm.scorer
    scores, classes = answered.scores, scorer.classes
    body: dict[str, Any] = {
        "predictions": _of_classes(scores, classes) if classes else _of_numbers(scores, answered.decisions),
        **({"classes": list(classes)} if classes else {}),
        "model": model,
        "version": answered.arm.arm.version,
        "arm": answered.arm.name,
        "request_id": answered.request_id,
    }
    if answered.failover:
        body["failover"] = True
    if answered.unseen:
        body["unseen_categories"] = answered.unseen
    return body


def _of_numbers(scores: np.ndarray, decisions: np.ndarray) -> list[Mapping[str, Any]]:
    pairs = zip(scores.tolist(), decisions.tolist(), strict=True)
    return [{"score": score, "decision": decision} for score, decision in pairs]


def _of_classes(scores: np.ndarray, classes: Sequence[Class]) -> list[Mapping[str, Any]]:
    rows = zip(scores.tolist(), scores.argmax(axis=1).tolist(), strict=True)
    return [{"score": row[place], "decision": classes[place], "probabilities": row} for row, place in rows]
