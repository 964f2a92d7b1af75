"""The Open Inference Protocol, version 2, over REST: requests into rows.

A tensor a feature, of shape [n] or [n, 1]; where all features are numbers, also one tensor of shape [n, features] in
the order of the model. What JSON cannot say is said by the binary extension: tensors as bytes behind the JSON.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluiceway.core.errors import RequestError
from sluiceway.features.problems import Problems, kind_of, refuse, short
from sluiceway.features.schema import FeatureSchema
from sluiceway.serving.documents import read_json
from sluiceway.serving.inputs import PLAIN, ColumnsInput, Encoders
from sluiceway.serving.protocols.native import too_many
from sluiceway.serving.protocols.open_inference_answers import InferRequest, Output, output_datatypes
from sluiceway.serving.protocols.tensors import DATATYPES, Values, from_bytes, from_json
from sluiceway.serving.scorer import BundleScorer

HEADER_LENGTH = "Inference-Header-Content-Length"
_LONGEST_ID = 1000


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    place: str
    shape: tuple[int, ...]
    values: Values


def read_infer(
    body: bytes,
    *,
    json_length: str | None,
    scorer: BundleScorer,
    max_rows: int,
    encoders: Encoders = PLAIN,
) -> InferRequest:
    """A request for inference.

    Args:
        body: JSON, and the tensors' bytes behind it.
        json_length: the header ``Inference-Header-Content-Length``; None where all of the body is JSON.
        scorer: the champion, for the order of its features and the names of its outputs.
        max_rows: more are refused.
        encoders: under what rules the rows will be encoded.

    Raises:
        RequestError: 400 no JSON; 413 too many rows; 422 tensors that are no rows, or outputs that nobody gives.
    """
    document, raw = _split(body, json_length)
    return infer_request(document, raw, scorer=scorer, max_rows=max_rows, encoders=encoders)


def infer_request(
    document: Any, raw: bytes, *, scorer: BundleScorer, max_rows: int, encoders: Encoders = PLAIN
) -> InferRequest:
    """The same of a document that is parsed already; arguments and errors as of :func:`read_infer`.

    Args:
        document: the JSON.
        raw: the tensors' bytes behind it.
        scorer: the champion.
        max_rows: more are refused.
        encoders: under what rules the rows will be encoded.
    """
    if not isinstance(document, dict):
        refuse("$", f"has to be an object with inputs, not {kind_of(document)}")
    request_id = document.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= _LONGEST_ID):
        refuse("$.id", f"has to be a text of at most {_LONGEST_ID} characters")
    tensors = _tensors(document.get("inputs"), raw, max_rows)
    outputs = _outputs(document, output_datatypes(scorer))
    return InferRequest(request_id, _rows(tensors, scorer.schema, encoders), outputs)


def _split(body: bytes, json_length: str | None) -> tuple[Any, bytes]:
    if json_length is None:
        return read_json(body, constants=True), b""
    if not (json_length.isascii() and json_length.isdigit()) or len(json_length) > 18 or int(json_length) > len(body):
        raise RequestError(f"{HEADER_LENGTH} has to be the length of the JSON in the body", status=400)
    end = int(json_length)
    return read_json(body[:end], constants=True), body[end:]


def _tensors(inputs: Any, raw: bytes, max_rows: int) -> list[_Tensor]:
    if not isinstance(inputs, list) or not inputs:
        refuse("$.inputs", "has to be a list of at least one tensor")
    problems = Problems("$.inputs")
    found: list[_Tensor] = []
    at = 0
    for k, tensor in enumerate(inputs):
        place = f"$.inputs[{k}]"
        try:
            size = _binary_size(tensor)
            found.append(_tensor(tensor, place, None if size is None else raw[at : at + size], max_rows))
            at += size or 0
        except ValueError as error:
            problems.add(place, str(error))
    if at != len(raw) and not problems:
        problems.add("$.inputs", f"name {at} bytes of binary data; {len(raw)} stand behind the JSON")
    names = [tensor.name for tensor in found]
    for tensor in found:
        if names.count(tensor.name) > 1:
            problems.add(tensor.place, f"{short(tensor.name)} is there more than once")
    problems.refuse()
    return found


def _binary_size(tensor: Any) -> int | None:
    if not isinstance(tensor, dict):
        raise ValueError(f"has to be an object, not {kind_of(tensor)}")
    parameters = tensor.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError("parameters have to be an object")
    if "shared_memory_region" in parameters:
        raise ValueError("shared memory is not supported")
    size = parameters.get("binary_data_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ValueError("binary_data_size has to be a number of bytes")
    return size


def _tensor(tensor: Mapping[str, Any], place: str, raw: bytes | None, max_rows: int) -> _Tensor:
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if not isinstance(name, str):
        raise ValueError("name has to be a text")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"datatype has to be one of {', '.join(DATATYPES)}")
    if not isinstance(shape, list) or len(shape) not in (1, 2) or not all(type(n) is int and n > 0 for n in shape):
        raise ValueError("shape has to be [n] or [n, m], of whole numbers from 1 on")
    if shape[0] > max_rows:
        raise too_many(shape[0], max_rows)
    count = math.prod(shape)
    if raw is not None and "data" in tensor:
        raise ValueError("has data, and binary_data_size too")
    values = from_json(tensor.get("data"), count) if raw is None else from_bytes(raw, datatype, count)
    return _Tensor(name, place, tuple(shape), values)


def _rows(tensors: Sequence[_Tensor], schema: FeatureSchema, encoders: Encoders) -> ColumnsInput:
    first = tensors[0]
    width = first.shape[-1] if len(first.shape) == 2 else 1
    if len(tensors) == 1 and (width > 1 or (len(schema.names) == 1 and first.name not in schema.names)):
        return _from_matrix(first, width, schema, encoders)
    problems = Problems("$.inputs")
    columns: dict[str, Values] = {}
    for tensor in tensors:
        if tensor.shape[0] != first.shape[0]:
            problems.add(tensor.place, f"has {tensor.shape[0]} rows, the first tensor {first.shape[0]}")
        if tensor.shape[1:] not in ((), (1,)):
            problems.add(tensor.place, "has more than one value a row; send a tensor a feature")
        columns[tensor.name] = tensor.values
    problems.refuse()
    places = {tensor.name: tensor.place for tensor in tensors}
    columns = {name: _without_empty(values, name, schema) for name, values in columns.items()}

    def place(name: str, row: int | None) -> str:
        # A tensor that is not there has no place of its own.
        at = places.get(name)
        if at is None:
            return f"$.inputs[?(@.name=={short(name)})]"
        return at if row is None else f"{at}.data[{row}]"

    return ColumnsInput(columns, place, encoders)


def _from_matrix(tensor: _Tensor, width: int, schema: FeatureSchema, encoders: Encoders) -> ColumnsInput:
    if width != len(schema.names):
        refuse(tensor.place, f"has {width} values a row; the model has {len(schema.names)} features")
    if any(feature.kind == "category" for feature in schema.features):
        refuse(tensor.place, "is one tensor for all features, and some are categories; send a tensor a feature")
    if isinstance(tensor.values, np.ndarray):
        columns: dict[str, Values] = dict(zip(schema.names, tensor.values.reshape(-1, width).T, strict=True))
    else:
        columns = {name: tensor.values[j::width] for j, name in enumerate(schema.names)}
    order = {name: j for j, name in enumerate(schema.names)}

    def place(name: str, row: int | None) -> str:
        return tensor.place if row is None else f"{tensor.place}.data[{row * width + order[name]}]"

    return ColumnsInput(columns, place, encoders)


def _without_empty(values: Values, name: str, schema: FeatureSchema) -> Values:
    """Tensors of text have no null: an empty text is missing, unless the model knows it as a category."""
    codes = dict(zip(schema.names, schema.codes, strict=True)).get(name)
    if codes is None or "" in codes or isinstance(values, np.ndarray):
        return values
    return [None if value == "" else value for value in values]


def _outputs(document: Mapping[str, Any], known: Mapping[str, str]) -> tuple[Output, ...]:
    parameters = document.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        refuse("$.parameters", "have to be an object")
    usual = bool((parameters or {}).get("binary_data_output", False))
    wanted = document.get("outputs")
    if not wanted:
        if wanted not in (None, []):
            refuse("$.outputs", "has to be a list of tensors")
        return tuple(Output(name, usual) for name in known)
    if not isinstance(wanted, list):
        refuse("$.outputs", "has to be a list of tensors")
    problems = Problems("$.outputs")
    found: list[Output] = []
    for k, output in enumerate(wanted):
        name = output.get("name") if isinstance(output, dict) else None
        given = (output.get("parameters") or {}) if isinstance(output, dict) else {}
        if not isinstance(name, str) or name not in known:
            problems.add(f"$.outputs[{k}].name", f"has to be one of {', '.join(known)}")
        elif not isinstance(given, dict):
            problems.add(f"$.outputs[{k}].parameters", "have to be an object")
        elif given.get("classification") or "shared_memory_region" in given:
            problems.add(f"$.outputs[{k}].parameters", "classification and shared memory are not supported")
        elif any(output.name == name for output in found):
            problems.add(f"$.outputs[{k}].name", f"{name} is there more than once")
        else:
            found.append(Output(name, bool(given.get("binary_data", usual))))
    problems.refuse()
    return tuple(found)
