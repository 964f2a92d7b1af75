"""The Open Inference Protocol, version 2, over REST: answers into tensors, and what a model takes and gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sluiceway.core.errors import RequestError
from sluiceway.features.problems import refuse
from sluiceway.serving.answering import Answered
from sluiceway.serving.documents import write_json
from sluiceway.serving.inputs import Input
from sluiceway.serving.protocols.tensors import BYTES, Values, to_bytes
from sluiceway.serving.scorer import BundleScorer


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor that a client wants.

    Attributes:
        name: of the tensor.
        binary: as bytes behind the JSON.
    """

    name: str
    binary: bool


@dataclass(frozen=True, slots=True)
class InferRequest:
    """A request for inference.

    Attributes:
        id: the client's, given back to it; None where it sent none.
        given: the rows.
        outputs: what it wants, in this order.
    """

    id: str | None
    given: Input
    outputs: tuple[Output, ...]


def output_datatypes(scorer: BundleScorer) -> dict[str, str]:
    """The tensors that a model gives, and their datatypes."""
    if not scorer.classes:
        return {"score": "FP64", "decision": "FP64"}
    decision = BYTES if isinstance(scorer.classes[0], str) else "INT64"
    return {"score": "FP64", "decision": decision, "probabilities": "FP64"}


def infer_body(answered: Answered, request: InferRequest, *, model: str) -> tuple[bytes, int | None]:
    """What a client gets over REST.

    Args:
        answered: the answer.
        request: what it is the answer to.
        model: name of the endpoint.

    Returns:
        The body, and how long its JSON is where bytes stand behind it, else None.

    Raises:
        RequestError: 422, an output that the arm which answered does not give.
    """
    document, raw = infer_document(answered, request, model=model)
    text = write_json(document)
    return (b"".join([text, *raw]), len(text)) if raw else (text, None)


def infer_document(answered: Answered, request: InferRequest, *, model: str) -> tuple[dict[str, Any], list[bytes]]:
    """The answer, and the bytes of each tensor that is wanted as bytes; arguments and errors as of :func:`infer_body`.

    Args:
        answered: the answer.
        request: what it is the answer to.
        model: name of the endpoint.
    """
    datatypes, found = output_datatypes(answered.arm.scorer), _results(answered)
    outputs: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for wanted in request.outputs:
        if wanted.name not in found:
            refuse("$.outputs", f"{wanted.name} is not given by version {answered.arm.arm.version}")
        values, shape = found[wanted.name]
        tensor: dict[str, Any] = {"name": wanted.name, "shape": shape, "datatype": datatypes[wanted.name]}
        if wanted.binary:
            raw.append(to_bytes(values, datatypes[wanted.name]))
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = values.tolist() if isinstance(values, np.ndarray) else values
        outputs.append(tensor)
    document = {
        "model_name": model,
        "model_version": answered.arm.arm.version,
        "id": answered.request_id if request.id is None else request.id,
        "parameters": _parameters(answered),
        "outputs": outputs,
    }
    return document, raw


def refusal_text(error: RequestError) -> str:
    """What is wrong with a request, in one text, as the protocol's errors are."""
    told = [f"{problem['path']} {problem['problem']}" for problem in error.problems]
    text = ": ".join([error.message, "; ".join(told)] if told else [error.message])
    return f"{text} ({error.hint})" if error.hint else text


def model_metadata(scorer: BundleScorer, *, model: str, versions: Sequence[str]) -> dict[str, Any]:
    """What a model takes and gives, as the protocol writes it."""
    shapes = {"probabilities": [-1, len(scorer.classes)]}
    return {
        "name": model,
        "versions": list(versions),
        "platform": "xgboost_ubj",
        "inputs": [
            {"name": f.name, "datatype": BYTES if f.kind == "category" else "FP32", "shape": [-1, 1]}
            for f in scorer.schema.features
        ],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shapes.get(name, [-1])}
            for name, datatype in output_datatypes(scorer).items()
        ],
    }


def _results(answered: Answered) -> dict[str, tuple[Values, list[int]]]:
    scorer, scores = answered.arm.scorer, answered.scores
    if not scorer.classes:
        return {"score": (scores, [len(scores)]), "decision": (answered.decisions, [len(scores)])}
    decisions = [scorer.classes[place] for place in scores.argmax(axis=1).tolist()]
    return {
        "score": (scores.max(axis=1), [len(scores)]),
        "decision": (decisions, [len(scores)]),
        "probabilities": (scores.reshape(-1), list(scores.shape)),
    }


def _parameters(answered: Answered) -> dict[str, Any]:
    told: dict[str, Any] = {"arm": answered.arm.name, "request_id": answered.request_id}
    if answered.arm.scorer.classes:
        told["classes"] = write_json(list(answered.arm.scorer.classes)).decode()
    if answered.failover:
        told["failover"] = True
    if answered.unseen:
        told["unseen_categories"] = answered.unseen
    return told
