"""The schemas of an endpoint's OpenAPI document: its model's features, and the bodies of every protocol."""

from __future__ import annotations

from typing import Any

from sluiceway.config.serving import ServingSection
from sluiceway.features.rules import LARGEST
from sluiceway.features.schema import Feature
from sluiceway.serving.protocols.open_inference_answers import output_datatypes
from sluiceway.serving.protocols.tensors import DATATYPES
from sluiceway.serving.scorer import BundleScorer

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}


def schemas_of(scorer: BundleScorer, limits: ServingSection) -> dict[str, Any]:
    """The schemas by name.

    Args:
        scorer: the champion.
        limits: what requests may hold.
    """
    values = {feature.name: _feature(feature, limits) for feature in scorer.schema.features}
    extra = sorted(limits.extra_fields - set(values))
    row = _object({**values, **{name: {} for name in extra}}, required=list(values))
    row["examples"] = [{feature.name: _example(feature, limits) for feature in scorer.schema.features}]
    length = {"minItems": 1, "maxItems": limits.max_rows}
    columns = _object({name: {"type": "array", "items": value, **length} for name, value in values.items()})
    rows = {"type": "array", "items": _ref("Row"), **length}
    return {
        "Row": row,
        "Columns": {**columns, "additionalProperties": bool(extra)},
        "PredictRequest": {"oneOf": [_object({"rows": rows}), _object({"columns": _ref("Columns")})]},
        **_answers(scorer),
        **_invocations(rows),
        **_feedback(scorer, limits),
        **_open_inference(scorer),
        **_state(),
        **_errors(),
    }


def _feature(feature: Feature, limits: ServingSection) -> dict[str, Any]:
    if feature.kind == "category":
        if limits.input.categories == "refuse":
            return {"enum": [*feature.categories, None]}
        return {"type": ["string", "null"], "examples": list(feature.categories[:20])}
    low, high = limits.input.ranges.get(feature.name, (None, None))
    return {
        "type": ["number", "null"],
        "minimum": -LARGEST if low is None else low,
        "maximum": LARGEST if high is None else high,
    }


def _example(feature: Feature, limits: ServingSection) -> Any:
    if feature.kind == "category":
        return feature.categories[0] if feature.categories else None
    low, high = limits.input.ranges.get(feature.name, (None, None))
    return max(low if low is not None else 1.0, min(1.0, high if high is not None else 1.0))


def _classes(scorer: BundleScorer) -> dict[str, Any]:
    return {"enum": list(scorer.classes)} if scorer.classes else _NUMBER


def _answers(scorer: BundleScorer) -> dict[str, Any]:
    prediction: dict[str, Any] = {"score": _NUMBER, "decision": _classes(scorer)}
    body: dict[str, Any] = {}
    if scorer.classes:
        prediction["probabilities"] = {"type": "array", "items": _NUMBER, "minItems": 2}
        body["classes"] = {"type": "array", "items": _classes(scorer)}
    required = ["predictions", *body, "model", "version", "arm", "request_id"]
    body |= {
        "predictions": {"type": "array", "items": _object(prediction)},
        **dict.fromkeys(("model", "version", "arm", "request_id"), _TEXT),
        "failover": {"type": "boolean", "description": "The champion answered for a challenger that did not."},
        "unseen_categories": {"type": "integer", "description": "Categories that the model does not know."},
    }
    # A challenger may know other classes.
    return {"PredictAnswer": {**_object(body, required=required), "additionalProperties": True}}


def _invocations(rows: dict[str, Any]) -> dict[str, Any]:
    table = {"type": "array", "items": {"type": "array"}, "minItems": 1}
    split = _object({"columns": {"type": "array", "items": _TEXT}, "data": table, "index": {}}, required=["data"])
    forms = {
        "dataframe_split": split,
        "dataframe_records": rows,
        "instances": {"type": "array", "minItems": 1},
        "inputs": {"type": ["array", "object"]},
    }
    return {
        "InvocationsRequest": {"oneOf": [_object({name: schema}) for name, schema in forms.items()]},
        "InvocationsAnswer": _object({"predictions": {"type": "array", "items": {"type": ["number", "array"]}}}),
    }


def _feedback(scorer: BundleScorer, limits: ServingSection) -> dict[str, Any]:
    outcome = _NUMBER if scorer.outcomes is None else {"enum": list(scorer.outcomes)}
    entry = _object(
        {
            "request_id": {"type": "string", "pattern": "^[A-Za-z0-9._:/-]{1,220}$"},
            "outcome": outcome,
            "time": {
                "type": ["string", "number", "null"],
                "description": "ISO time or epoch seconds; now if left out.",
            },
            "value": {"type": ["number", "null"], "description": "What it was worth, in a unit of your own."},
        },
        required=["request_id", "outcome"],
    )
    entries = {"type": "array", "items": entry, "minItems": 1, "maxItems": limits.max_rows}
    return {
        "FeedbackRequest": _object({"feedback": entries}),
        "FeedbackAnswer": _object({"accepted": {"type": "integer"}, "new": {"type": "integer"}, "request_id": _TEXT}),
    }


def _open_inference(scorer: BundleScorer) -> dict[str, Any]:
    features = [feature.name for feature in scorer.schema.features]
    shape = {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 2}
    datatype = {"enum": list(DATATYPES)}
    tensor = {"name": {"type": "string", "examples": features}, "shape": shape, "datatype": datatype}
    wanted = {"name": {"enum": list(output_datatypes(scorer))}, "parameters": {"type": "object"}}
    given = {**tensor, "parameters": {"type": "object"}, "data": {"type": "array"}}
    request = {
        "id": _TEXT,
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _object(given, required=["name", "shape", "datatype"]), "minItems": 1},
        "outputs": {"type": "array", "items": _object(wanted, required=["name"])},
    }
    answer = {
        "model_name": _TEXT,
        "model_version": _TEXT,
        "id": _TEXT,
        "parameters": {"type": "object"},
        "outputs": {"type": "array", "items": _object(given, required=["name", "shape", "datatype"])},
    }
    told = _object({**tensor, "shape": {"type": "array", "items": {"type": "integer"}}})
    tensors = {"type": "array", "items": told}
    return {
        "InferRequest": {**_object(request, required=["inputs"]), "additionalProperties": True},
        "InferAnswer": _object(answer),
        "ModelMetadata": _object(
            {
                "name": _TEXT,
                "versions": {"type": "array", "items": _TEXT},
                "platform": _TEXT,
                "inputs": tensors,
                "outputs": tensors,
            }
        ),
        "ModelReady": _object({"name": _TEXT, "ready": _FLAG}),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
        "Live": _object({"live": _FLAG}),
        "ServerReady": _object({"ready": _FLAG}),
    }


def _state() -> dict[str, Any]:
    # A breaker where this replica asks a challenger no more.
    shown = {"arm": _TEXT, "version": _TEXT, "weight": _NUMBER, "breaker": _TEXT}
    arm = _object(shown, required=["arm", "version", "weight"])
    health = {
        "endpoint": _TEXT,
        "ready": _FLAG,
        "generation": {"type": "integer"},
        "arms": {"type": "array", "items": arm},
    }
    return {
        "Health": {**_object(health, required=["endpoint", "ready"]), "additionalProperties": True},
        "Ready": _object({"ready": _FLAG, "generation": {"type": "integer"}}),
    }


def _errors() -> dict[str, Any]:
    problem = _object({"path": _TEXT, "problem": _TEXT})
    error = {"error": _TEXT, "request_id": _TEXT, "problems": {"type": "array", "items": problem}, "hint": _TEXT}
    return {
        "Error": _object(error, required=["error"]),
        "InferError": {**_object({"error": _TEXT}), "additionalProperties": True},
    }


def _object(properties: dict[str, Any], *, required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
