"""The same rows in every protocol of an endpoint, and the scores of what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
NAMES = ("delay", "distance", "carrier")

Rows = list[dict[str, Any]]
# Body and headers of a request.
Request = tuple[bytes, dict[str, str]]


@dataclass(frozen=True)
class Way:
    """One way to ask an endpoint.

    Attributes:
        path: below the endpoint's, ``{model}`` stands for its name.
        request: of rows.
        scores: of an answer, as the model gives them: shape (n,) or (n, classes).
    """

    path: str
    request: Callable[[Rows], Request]
    scores: Callable[[httpx.Response], np.ndarray]


def as_columns(rows: Rows) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def stream_of(table: pa.Table) -> bytes:
    """An Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def table_of(rows: Rows) -> pa.Table:
    """Rows as an Arrow table; a column of nothing but nulls stays one."""
    return pa.table(as_columns(rows))


def read_stream(response: httpx.Response) -> pa.Table:
    """The table of an answer in Arrow."""
    assert response.headers["content-type"] == ARROW
    return pa.ipc.open_stream(response.content).read_all()


def tensors_of(rows: Rows, *, shape: Callable[[int], list[int]] = lambda n: [n]) -> list[dict[str, Any]]:
    """Rows as JSON tensors, one a feature."""
    return [
        {
            "name": name,
            "shape": shape(len(rows)),
            "datatype": "BYTES" if name == "carrier" else "FP64",
            "data": values,
        }
        for name, values in as_columns(rows).items()
    ]


def _json(document: Any) -> Request:
    return json.dumps(document).encode(), {"Content-Type": "application/json"}


def _positions(rows: Rows, categories: tuple[str, ...]) -> list[list[Any]]:
    return [
        [row["delay"], row["distance"], None if row["carrier"] is None else float(categories.index(row["carrier"]))]
        for row in rows
    ]


def _of_predictions(response: httpx.Response) -> np.ndarray:
    return np.array([p.get("probabilities", p["score"]) for p in response.json()["predictions"]])


def _of_stream(response: httpx.Response) -> np.ndarray:
    table = read_stream(response)
    name = "probabilities" if "probabilities" in table.column_names else "score"
    return np.array(table.column(name).to_pylist())


def _of_tensors(response: httpx.Response) -> np.ndarray:
    outputs = {output["name"]: output for output in response.json()["outputs"]}
    found = outputs.get("probabilities", outputs["score"])
    return np.array(found["data"]).reshape(found["shape"])


def _of_mlflow(response: httpx.Response) -> np.ndarray:
    return np.array(response.json()["predictions"])


def _csv(rows: Rows) -> Request:
    lines = [",".join(NAMES)]
    lines += [",".join("" if row[name] is None else str(row[name]) for name in NAMES) for row in rows]
    return "\n".join(lines).encode(), {"Content-Type": "text/csv; charset=utf-8"}


INFER = "/v2/models/{model}/infer"
CATEGORIES = ("AA", "B6", "UA")

WAYS = {
    "rows": Way("/predict", lambda rows: _json({"rows": rows}), _of_predictions),
    "columns": Way("/predict", lambda rows: _json({"columns": as_columns(rows)}), _of_predictions),
    "arrow": Way("/predict", lambda rows: (stream_of(table_of(rows)), {"Content-Type": ARROW}), _of_stream),
    "json to arrow": Way(
        "/predict",
        lambda rows: (_json({"rows": rows})[0], {"Content-Type": "application/json", "Accept": ARROW}),
        _of_stream,
    ),
    "arrow to json": Way(
        "/predict",
        lambda rows: (stream_of(table_of(rows)), {"Content-Type": ARROW, "Accept": "application/json, */*"}),
        _of_predictions,
    ),
    "tensors": Way(INFER, lambda rows: _json({"inputs": tensors_of(rows)}), _of_tensors),
    "tensors [n,1]": Way(INFER, lambda rows: _json({"inputs": tensors_of(rows, shape=lambda n: [n, 1])}), _of_tensors),
    "split": Way(
        "/invocations",
        lambda rows: _json(
            {"dataframe_split": {"columns": NAMES, "data": [[row[name] for name in NAMES] for row in rows]}}
        ),
        _of_mlflow,
    ),
    "split, positions": Way(
        "/invocations",
        lambda rows: _json({"dataframe_split": {"columns": NAMES, "data": _positions(rows, CATEGORIES)}}),
        _of_mlflow,
    ),
    "records": Way("/invocations", lambda rows: _json({"dataframe_records": rows}), _of_mlflow),
    "instances": Way("/invocations", lambda rows: _json({"instances": rows}), _of_mlflow),
    "instances, lists": Way(
        "/invocations", lambda rows: _json({"instances": _positions(rows, CATEGORIES)}), _of_mlflow
    ),
    "inputs": Way("/invocations", lambda rows: _json({"inputs": as_columns(rows)}), _of_mlflow),
    "csv": Way("/invocations", _csv, _of_mlflow),
}
