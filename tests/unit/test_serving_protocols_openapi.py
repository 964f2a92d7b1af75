"""The OpenAPI document is of the model that answers, and what it shows works."""

import json

import jsonschema
import pytest

from serving_models import GRADES, train_grades, train_minutes, train_small
from serving_replica import NAME, HeldReplica
from sluiceway.config.serving import InputSection, ServingSection
from sluiceway.serving.protocols.openapi import openapi_document
from sluiceway.serving.protocols.page import page_of

KINDS = {"binary": train_small, "several classes": train_grades, "regression": train_minutes}


@pytest.fixture(scope="module", params=KINDS)
def replica(request, tmp_path_factory):
    return HeldReplica(KINDS[request.param](tmp_path_factory.mktemp("model"), seed=3))


def checked(document, name, value):
    schema = {"$ref": f"#/components/schemas/{name}", **document}
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_its_example_is_answered_as_it_says(replica):
    document = replica.ask("GET", "/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert (document["info"]["title"], document["info"]["version"]) == (NAME, "1")
    assert document["servers"] == [{"url": f"/{NAME}"}]
    (row,) = document["components"]["schemas"]["Row"]["examples"]
    for body in ({"rows": [row, row]}, {"columns": {name: [value] for name, value in row.items()}}):
        checked(document, "PredictRequest", body)
        answer = replica.ask("POST", "/predict", json=body)
        assert answer.status_code == 200
        checked(document, "PredictAnswer", answer.json())
    bad = replica.ask("POST", "/predict", json={"rows": [{**row, "delay": "x"}]})
    checked(document, "Error", bad.json())
    with pytest.raises(jsonschema.ValidationError):
        checked(document, "PredictRequest", {"rows": [{**row, "delay": "x"}]})
    tensors = [
        {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
        for name, value in row.items()
    ]
    checked(document, "InferRequest", {"inputs": tensors})
    answer = replica.ask("POST", f"/v2/models/{NAME}/infer", json={"inputs": tensors})
    checked(document, "InferAnswer", answer.json())
    answer = replica.ask("POST", "/invocations", json={"dataframe_records": [row]})
    checked(document, "InvocationsAnswer", answer.json())
    outcome = document["components"]["schemas"]["FeedbackRequest"]["properties"]["feedback"]["items"]
    value = outcome["properties"]["outcome"].get("enum", [1.5])[0]
    body = {"feedback": [{"request_id": "a", "outcome": value, "value": 12.5}]}
    checked(document, "FeedbackRequest", body)
    checked(document, "FeedbackAnswer", replica.ask("POST", "/feedback", json=body).json())


def test_every_path_that_it_names_is_served(replica):
    document = replica.ask("GET", "/openapi.json").json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            answer = replica.ask(method.upper(), path.replace("{version}", "1"))
            assert answer.status_code not in (404, 405), path
            assert str(answer.status_code) in operation["responses"]
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind in operation["responses"][str(answer.status_code)]["content"]
            if method == "get" and kind == "application/json":
                schema = operation["responses"]["200"]["content"][kind]["schema"]
                jsonschema.validate(answer.json(), {**schema, **document}, cls=jsonschema.Draft202012Validator)


def test_it_tells_classes_categories_and_ranges(tmp_path):
    rules = InputSection(categories="refuse", ranges={"distance": (0, 6000)}, extra=("comment",))
    replica = HeldReplica(train_grades(tmp_path, seed=3), serving=ServingSection(input=rules), keys=False)
    schemas = replica.ask("GET", "/openapi.json").json()["components"]["schemas"]
    row = schemas["Row"]["properties"]
    assert row["carrier"] == {"enum": ["AA", "B6", "UA", None]}
    assert (row["distance"]["minimum"], row["distance"]["maximum"]) == (0, 6000)
    assert row["comment"] == {}
    assert schemas["Row"]["required"] == ["delay", "distance", "carrier"]
    prediction = schemas["PredictAnswer"]["properties"]["predictions"]["items"]
    assert prediction["properties"]["decision"] == {"enum": list(GRADES)}


def test_the_page_has_no_script_and_nothing_from_elsewhere(replica):
    answer = replica.ask("GET", "/docs")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for words in ("<script", "http://", "https://", "src="):
        assert words not in answer.text
    for path in ("/predict", "/invocations", f"/v2/models/{NAME}/infer", "delay", "openapi.json"):
        assert path in answer.text
    example = json.loads(answer.text.partition("application/json\n\n")[2].partition("</pre>")[0].replace("&quot;", '"'))
    assert replica.ask("POST", "/predict", json=example).status_code == 200


def test_names_of_features_are_escaped_in_the_page():
    schemas = {"Row": {"properties": {"<b>&": {"enum": ["<i>"]}}, "examples": [{"<b>&": "<i>"}]}}
    document = {
        "info": {"title": "<t>", "version": "<v>", "description": "<d>"},
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {"schemas": schemas},
    }
    page = page_of(document)
    assert not {"<b>", "<i>", "<t>", "<v>", "<d>"} & {page[i : i + 3] for i in range(len(page))}


def test_a_key_is_asked_for_where_one_is_needed(tmp_path):
    replica = HeldReplica(train_small(tmp_path, seed=3))
    assert "security" not in replica.ask("GET", "/openapi.json").json()
    scorer = replica.route.champion.scorer
    document = openapi_document(scorer, endpoint=NAME, version="1", limits=ServingSection(), keys=True, url="/")
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "security" not in document["paths"]["/predict"]["post"]
