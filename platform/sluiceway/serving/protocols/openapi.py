"""The OpenAPI 3.1 document of an endpoint, made from the model that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluiceway.config.serving import ServingSection
from sluiceway.serving.exchange import ARROW, CSV, JSON, OCTETS
from sluiceway.serving.protocols.openapi_schemas import schemas_of
from sluiceway.serving.scorer import BundleScorer

HTML, TEXT = "text/html", "text/plain"
_HEADERS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    (
        "X-Request-Id",
        "Id of the request: stands in the answer, and is what feedback names.",
        {"type": "string", "pattern": "^[A-Za-z0-9._:/-]{1,200}$"},
    ),
    ("X-Routing-Key", "Requests of one key get one arm.", {"type": "string"}),
    ("X-Model-Version", "The version that is to answer; needs the scope admin.", {"type": "string"}),
)
_REFUSED = {
    "400": "The body or a header is malformed.",
    "401": "There is no API key, or none that is good here.",
    "403": "The key lacks the scope.",
    "404": "There is no such path, model or version.",
    "405": "The path is asked by another method.",
    "408": "The request was not complete in time.",
    "413": "The body is too large, or has too many rows.",
    "415": "The content type is not understood here.",
    "422": "The rows are not what the model takes: every problem, with its JSON path.",
    "429": "Too many requests wait.",
    "500": "The model could not answer.",
    "503": "There is no model yet, or too many requests wait.",
    "504": "There was no answer in time.",
}


def openapi_document(
    scorer: BundleScorer, *, endpoint: str, version: str, limits: ServingSection, keys: bool, url: str
) -> dict[str, Any]:
    """The document.

    Args:
        scorer: the champion.
        endpoint: name of the endpoint.
        version: of the champion.
        limits: what requests may hold.
        keys: whether an API key is needed.
        url: path below which the endpoint answers.
    """
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": endpoint,
            "version": version,
            "description": f"What the model version {version} takes and gives. A request may have {limits.max_rows:,} "
            f"rows and {limits.max_body_bytes:,} bytes; in Arrow {limits.max_arrow_rows:,} rows and "
            f"{limits.max_arrow_bytes:,} bytes.",
        },
        "servers": [{"url": url}],
        "paths": _paths(endpoint),
        "components": {"schemas": schemas_of(scorer, limits)},
    }
    if keys:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _paths(endpoint: str) -> dict[str, Any]:
    model = f"/v2/models/{endpoint}"
    named = f"{model}/versions/{{version}}"
    return {
        "/predict": {"post": _predict()},
        "/invocations": {"post": _invocations()},
        "/feedback": {"post": _feedback()},
        f"{model}/infer": {"post": _infer()},
        f"{named}/infer": {"post": _of_version(_infer())},
        model: {"get": _told("What the model takes and gives.", "ModelMetadata")},
        named: {"get": _of_version(_told("What a version takes and gives.", "ModelMetadata"))},
        f"{model}/ready": {"get": _told("Whether the model answers.", "ModelReady", is_open=True)},
        f"{named}/ready": {"get": _of_version(_told("Whether a version answers.", "ModelReady"))},
        "/v2": {"get": _told("What serves here.", "Server")},
        "/v2/health/live": {"get": _told("Whether the process is there.", "Live", is_open=True)},
        "/v2/health/ready": {"get": _told("Whether requests can be answered.", "ServerReady", is_open=True)},
        "/health": {"get": _told("Who is there, and its arms.", "Health", is_open=True)},
        "/ready": {"get": _told("Whether requests can be answered.", "Ready", is_open=True)},
        "/ping": {"get": _plain("Whether requests can be answered, as MLflow asks it.", TEXT, is_open=True)},
        "/version": {"get": _plain("Version of Sluiceway.", TEXT)},
        "/openapi.json": {"get": _plain("This document.", JSON)},
        "/docs": {"get": _plain("This document as a page.", HTML)},
    }


def _predict() -> dict[str, Any]:
    stream = {"type": "string", "format": "binary", "description": "An Arrow IPC stream, a column a feature."}
    return {
        "summary": "Score rows.",
        "parameters": _parameters(),
        "requestBody": _body({JSON: _ref("PredictRequest"), ARROW: stream}),
        "responses": _responses({JSON: _ref("PredictAnswer"), ARROW: {"type": "string", "format": "binary"}}),
    }


def _invocations() -> dict[str, Any]:
    return {
        "summary": "Score rows as MLflow's scoring server does: raw scores.",
        "parameters": _parameters(),
        "requestBody": _body({JSON: _ref("InvocationsRequest"), CSV: {"type": "string"}}),
        "responses": _responses({JSON: _ref("InvocationsAnswer")}),
    }


def _feedback() -> dict[str, Any]:
    return {
        "summary": "Say what became of requests; answered when it is durable.",
        "parameters": _parameters()[:1],
        "requestBody": _body({JSON: _ref("FeedbackRequest")}),
        "responses": _responses({JSON: _ref("FeedbackAnswer")}),
    }


def _infer() -> dict[str, Any]:
    length = {
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "Length of the JSON, where tensors stand behind it as bytes.",
        "schema": {"type": "integer", "minimum": 0},
    }
    binary = {"type": "string", "format": "binary"}
    return {
        "summary": "Score tensors: the Open Inference Protocol, version 2.",
        "parameters": [*_parameters(), length],
        "requestBody": _body({JSON: _ref("InferRequest"), OCTETS: binary}),
        "responses": _responses({JSON: _ref("InferAnswer"), OCTETS: binary}, error="InferError"),
    }


def _told(summary: str, schema: str, *, is_open: bool = False) -> dict[str, Any]:
    error = "Error" if schema in ("Health", "Ready") else "InferError"
    found: dict[str, Any] = {"summary": summary, "responses": _responses({JSON: _ref(schema)}, error=error)}
    return {**found, "security": []} if is_open else found


def _plain(summary: str, kind: str, *, is_open: bool = False) -> dict[str, Any]:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    found: dict[str, Any] = {"summary": summary, "responses": _responses({kind: schema})}
    return {**found, "security": []} if is_open else found


def _of_version(operation: dict[str, Any]) -> dict[str, Any]:
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}}
    return {**operation, "parameters": [*operation.get("parameters", []), version]}


def _parameters() -> list[dict[str, Any]]:
    return [{"name": name, "in": "header", "description": text, "schema": schema} for name, text, schema in _HEADERS]


def _body(content: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


def _responses(content: Mapping[str, Any], *, error: str = "Error") -> dict[str, Any]:
    answered = {kind: {"schema": schema} for kind, schema in content.items()}
    refused = {
        status: {"description": text, "content": {JSON: {"schema": _ref(error)}}} for status, text in _REFUSED.items()
    }
    return {"200": {"description": "The answer.", "content": answered}, **refused}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
