"""Every protocol gives what ``Booster.predict`` gives, for every kind of model, missing values and categories."""

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
import xgboost

from serving_clients import ARROW, INFER, NAMES, WAYS, as_columns, read_stream, stream_of, table_of, tensors_of
from serving_models import (
    CARRIERS,
    GRADES,
    KINDS,
    SmallModel,
    as_rows,
    examples,
    predicted,
    rows_with_gaps,
    train_numbers,
    train_small,
)
from serving_replica import NAME, HeldReplica
from sluiceway.config.serving import InputSection, ServingSection
from sluiceway.core.calibrator import Calibrator
from sluiceway.core.traffic import TrafficDocument
from sluiceway.features.schema import FeatureSchema
from sluiceway.registry import bundle
from sluiceway.serving.inputs import TableInput
from sluiceway.serving.protocols.invocations import read_csv
from sluiceway.serving.route import load_route, load_scorer


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: train(folder, seed=3) for kind, train in KINDS.items()}


@pytest.fixture(scope="module")
def replicas(models):
    return {kind: HeldReplica(model) for kind, model in models.items()}


def asked(replica, way, rows):
    content, headers = way.request(rows)
    answer = replica.ask("POST", way.path.format(model=NAME), content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    return way.scores(answer)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_protocol_gives_the_booster_s_scores(models, replicas, kind, way):
    matrix, rows = rows_with_gaps(60)
    found = asked(replicas[kind], WAYS[way], rows)
    np.testing.assert_allclose(found, predicted(models[kind], matrix), atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_one_row_in_every_protocol(models, replicas, way):
    matrix, rows = rows_with_gaps(8)
    for i in (0, 7):  # the last one has nothing but missing values
        found = asked(replicas["binary"], WAYS[way], rows[i : i + 1])
        np.testing.assert_allclose(found, predicted(models["binary"], matrix[i : i + 1]), atol=1e-6)


def test_arrow_of_any_type_and_chunking_gives_the_same(models, replicas):
    matrix, rows = rows_with_gaps(60)
    table = table_of(rows)
    carrier = table.column("carrier").cast(pa.dictionary(pa.int8(), pa.string()))
    parts = [
        table.set_column(2, "carrier", carrier).set_column(0, "delay", table.column("delay").cast(pa.float32())),
        table.set_column(2, "carrier", table.column("carrier").cast(pa.large_string())),
        pa.concat_tables([table[:17], table[17:18], table[18:]]),
    ]
    for part in parts:
        answer = replicas["binary"].ask("POST", "/predict", content=stream_of(part), headers={"Content-Type": ARROW})
        found = read_stream(answer).column("score").to_numpy()
        np.testing.assert_allclose(found, predicted(models["binary"], matrix), atol=1e-6)


def test_what_an_arrow_answer_says_besides(replicas):
    _, rows = rows_with_gaps(60)
    rows[0]["carrier"] = "ZZ"
    headers = {"Content-Type": ARROW, "X-Request-Id": "mine-7"}
    answer = replicas["several classes"].ask("POST", "/predict", content=stream_of(table_of(rows)), headers=headers)
    table = read_stream(answer)
    told = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert told == {
        "model": NAME,
        "version": "1",
        "arm": "champion",
        "request_id": "mine-7",
        "classes": json.dumps(GRADES).replace(", ", ","),
        "unseen_categories": "1",
    }
    assert table.schema.field("probabilities").type == pa.list_(pa.float64(), 3)
    scores = np.array(table.column("probabilities").to_pylist())
    assert table.column("decision").to_pylist() == [GRADES[place] for place in scores.argmax(axis=1)]
    assert table.column("score").to_pylist() == scores.max(axis=1).tolist()


def test_a_large_batch_is_read_in_a_thread_and_gives_the_same(models, replicas):
    matrix, _ = examples(20_000, seed=5)
    content = stream_of(table_of(as_rows(matrix)))
    assert len(content) > 200_000
    answer = replicas["binary"].ask("POST", "/predict", content=content, headers={"Content-Type": ARROW})
    found = read_stream(answer).column("score").to_numpy()
    np.testing.assert_allclose(found, predicted(models["binary"], matrix), atol=1e-6)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_one_tensor_in_the_order_of_the_features(tmp_path, datatype):
    model = train_numbers(tmp_path, seed=4)
    replica = HeldReplica(model)
    matrix = np.random.default_rng(2).normal(10, 20, (30, 2)).astype(np.float32)
    matrix[4, 1] = np.nan
    values = [[None if np.isnan(value) else float(value) for value in row] for row in matrix]
    expected = predicted(model, matrix)
    for data in (values, [value for row in values for value in row]):
        tensor = {"name": "anything", "shape": [30, 2], "datatype": datatype, "data": data}
        answer = replica.ask("POST", INFER.format(model=NAME), json={"inputs": [tensor]})
        np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected, atol=1e-6)


def test_a_model_of_one_feature_takes_columns_tensors_and_plain_values(tmp_path):
    model = train_numbers(tmp_path, seed=5, features=1)
    replica = HeldReplica(model)
    expected = predicted(model, np.array([[3.0], [30.0]], dtype=np.float32))
    tensor = {"name": "input-0", "shape": [2, 1], "datatype": "FP32", "data": [3.0, 30.0]}
    answer = replica.ask("POST", INFER.format(model=NAME), json={"inputs": [tensor]})
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected, atol=1e-6)
    for body in ({"instances": [3.0, 30.0]}, {"inputs": [[3.0], [30.0]]}, {"inputs": {"f0": [[3.0], [30.0]]}}):
        answer = replica.ask("POST", "/invocations", json=body)
        np.testing.assert_allclose(answer.json()["predictions"], expected, atol=1e-6)
    answer = replica.ask("POST", "/predict", json={"rows": [{"f0": 3.0}, {"f0": 30.0}]})
    np.testing.assert_allclose([p["score"] for p in answer.json()["predictions"]], expected, atol=1e-6)


def test_binary_tensors_in_and_out(models, replicas):
    matrix, rows = rows_with_gaps(60)
    delay = matrix[:, 0].astype("<f8").tobytes()
    texts = [(row["carrier"] or "").encode() for row in rows]
    carrier = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
    tensors = tensors_of(rows)
    tensors[0] = {**tensors[0], "parameters": {"binary_data_size": len(delay)}}
    tensors[2] = {**tensors[2], "parameters": {"binary_data_size": len(carrier)}}
    del tensors[0]["data"], tensors[2]["data"]
    outputs = [{"name": "decision"}, {"name": "probabilities", "parameters": {"binary_data": True}}]
    head = json.dumps({"id": "any text is mine", "inputs": tensors, "outputs": outputs}).encode()
    answer = replicas["several classes"].ask(
        "POST",
        INFER.format(model=NAME),
        content=head + delay + carrier,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    assert (document["id"], document["model_name"], document["model_version"]) == ("any text is mine", NAME, "1")
    assert [output["name"] for output in document["outputs"]] == ["decision", "probabilities"]
    found = np.frombuffer(answer.content[length:], dtype="<f8").reshape(document["outputs"][1]["shape"])
    expected = predicted(models["several classes"], matrix)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert document["outputs"][0]["datatype"] == "BYTES"
    assert document["outputs"][0]["data"] == [GRADES[place] for place in expected.argmax(axis=1)]
    assert json.loads(document["parameters"]["classes"]) == list(GRADES)


def test_all_outputs_are_binary_where_the_request_says_so(models, replicas):
    matrix, rows = rows_with_gaps(60)
    body = {"inputs": tensors_of(rows), "parameters": {"binary_data_output": True}}
    answer = replicas["several classes"].ask("POST", INFER.format(model=NAME), json=body)
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    sizes = [output["parameters"]["binary_data_size"] for output in document["outputs"]]
    assert length + sum(sizes) == len(answer.content)
    scores = np.frombuffer(answer.content[length : length + sizes[0]], dtype="<f8")
    np.testing.assert_allclose(scores, predicted(models["several classes"], matrix).max(axis=1), atol=1e-6)
    first = answer.content[length + sizes[0] :][: sizes[1]]
    assert first[4 : 4 + int.from_bytes(first[:4], "little")].decode() in GRADES


def test_nan_is_missing_for_clients_that_write_it(models, replicas):
    matrix, rows = rows_with_gaps(60)
    for way in ("tensors", "split, positions", "records"):
        content, headers = WAYS[way].request(rows)
        written = content.replace(b"null", b"NaN")
        assert written != content
        path = WAYS[way].path.format(model=NAME)
        answer = replicas["binary"].ask("POST", path, content=written, headers=headers)
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(WAYS[way].scores(answer), predicted(models["binary"], matrix), atol=1e-6)


def train_united(folder, carriers):
    """A model that knows UA from the other carriers, and sees nothing else."""
    matrix, _ = examples(400, seed=7, carriers=carriers)
    labels = matrix[:, 2] == carriers.index("UA")
    data = xgboost.DMatrix(matrix, label=labels, feature_types=["q", "q", "c"], enable_categorical=True)
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 2, "nthread": 1}, data, 15)
    small = train_small(folder, seed=1, carriers=carriers).bundle
    made = bundle.Bundle(bytes(booster.save_raw("ubj")), small.schema, small.decision, {})
    return SmallModel(booster, made, bundle.write(made, folder / made.digest))


def by_position(rows, carriers):
    """Rows with positions among some carriers, in each form of ``/invocations``."""
    data = [[row["delay"], row["distance"], carriers.index(row["carrier"])] for row in rows]
    named = [dict(zip(NAMES, values, strict=True)) for values in data]
    bodies = [
        {"dataframe_split": {"columns": list(NAMES), "data": data}},
        {"dataframe_records": named},
        {"instances": data},
        {"inputs": as_columns(named)},
    ]
    text = "\n".join([",".join(NAMES), *(",".join("" if v is None else str(v) for v in values) for values in data)])
    sent = [{"json": body} for body in bodies]
    return [*sent, {"content": text.encode(), "headers": {"Content-Type": "text/csv"}}]


@pytest.mark.parametrize("theirs", [("9E", "AA", "B6", "UA"), ("UA", "AA", "B6"), ("AA", "UA")])
def test_a_position_means_the_same_category_to_an_arm_with_other_ones(tmp_path, theirs):
    own, other = train_united(tmp_path, CARRIERS), train_united(tmp_path, theirs)
    champion = HeldReplica(own)
    matrix, _ = examples(30, seed=6)
    rows = as_rows(matrix)
    theirs_of = [theirs.index(row["carrier"]) if row["carrier"] in theirs else np.nan for row in rows]
    seen = np.column_stack([matrix[:, :2], theirs_of]).astype(np.float32)
    document = TrafficDocument(NAME, 2, own.arm("1", 0.0), (other.arm("2", 1.0),))
    for sent in by_position(rows, CARRIERS):
        answer = champion.ask("POST", "/invocations", **sent)
        np.testing.assert_allclose(answer.json()["predictions"], predicted(own, matrix), atol=1e-6)
        challenged = HeldReplica(own)
        challenged.route, _ = load_route(document, {}, load=load_scorer)
        challenged.answerer.open(challenged.route)
        answer = challenged.ask("POST", "/invocations", **sent)
        np.testing.assert_allclose(answer.json()["predictions"], predicted(other, seen), atol=1e-6)


def test_a_position_is_of_the_version_that_a_request_names(tmp_path):
    theirs = ("UA", "9E", "AA", "B6")
    other = train_united(tmp_path, theirs)
    replica = HeldReplica(train_united(tmp_path, CARRIERS), warm={"2": other})
    matrix, _ = examples(30, seed=6, carriers=theirs)
    for sent in by_position(as_rows(matrix, theirs), theirs):
        headers = {**sent.pop("headers", {}), "X-Model-Version": "2"}
        answer = replica.ask("POST", "/invocations", headers=headers, **sent)
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["predictions"], predicted(other, matrix), atol=1e-6)


def test_a_category_that_only_a_challenger_has_has_to_be_its_text(models, tmp_path):
    numbers, other = train_numbers(tmp_path, seed=4), models["binary"]
    schema = {**other.bundle.schema, "features": other.bundle.schema["features"][:2]}
    made = bundle.Bundle(numbers.bundle.model, schema, numbers.bundle.decision, {})
    own = SmallModel(numbers.booster, made, bundle.write(made, tmp_path / made.digest))
    replica = HeldReplica(own, serving=ServingSection(input=InputSection(extra=("carrier",))))
    document = TrafficDocument(NAME, 2, own.arm("1", 0.0), (other.arm("2", 1.0),))
    replica.route, _ = load_route(document, {}, load=load_scorer)
    replica.answerer.open(replica.route)

    def ask(carrier):
        row = {"delay": 3.0, "distance": 700.0, "carrier": carrier}
        return replica.ask("POST", "/invocations", json={"dataframe_records": [row]}).json()["predictions"]

    seen = np.array([[3.0, 700.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(ask(CARRIERS[1]), predicted(other, seen), atol=1e-6)
    np.testing.assert_allclose(ask(1), predicted(own, seen[:, :2]), atol=1e-6)  # the champion answers in its place


def test_no_other_protocol_takes_a_number_for_a_category(replicas):
    row = {"delay": 1.0, "distance": 2.0, "carrier": 1}
    tensors = [{"name": name, "shape": [1], "datatype": "FP32", "data": [value]} for name, value in row.items()]
    ask = replicas["binary"].ask
    for body in ({"rows": [row]}, {"columns": as_columns([row])}):
        assert ask("POST", "/predict", json=body).status_code == 422
    assert ask("POST", INFER.format(model=NAME), json={"inputs": tensors}).status_code == 422
    table = stream_of(table_of([row]))
    assert ask("POST", "/predict", content=table, headers={"Content-Type": ARROW}).status_code == 422


def test_mlflow_s_answer_is_the_raw_score_of_a_calibrated_model(models, tmp_path):
    model = models["binary"]
    table = Calibrator([0.0, 0.5, 1.0], [0.1, 0.2, 0.9])
    decision = {**model.bundle.decision, "calibrator": table.to_dict()}
    made = bundle.Bundle(model.bundle.model, model.bundle.schema, decision, {})
    calibrated = HeldReplica(type(model)(model.booster, made, bundle.write(made, tmp_path / "calibrated")))
    matrix, rows = rows_with_gaps(60)
    raw = predicted(model, matrix)
    np.testing.assert_allclose(asked(calibrated, WAYS["split"], rows), raw, atol=1e-6)
    np.testing.assert_allclose(asked(calibrated, WAYS["rows"], rows), table(raw), atol=1e-6)


def test_fields_that_no_model_sees_are_taken_out_in_every_protocol(models):
    serving = ServingSection(routing_field="customer", input=InputSection(extra=("comment",)))
    replica = HeldReplica(models["binary"], serving=serving)
    matrix, rows = rows_with_gaps(10)
    for i, row in enumerate(rows):
        row |= {"customer": i, "comment": "none"}
    expected = predicted(models["binary"], matrix)
    tensors = tensors_of([{name: row[name] for name in NAMES} for row in rows])
    tensors.append({"name": "customer", "shape": [10], "datatype": "INT64", "data": list(range(10))})
    bodies = {
        "/predict": [{"rows": rows}, {"columns": as_columns(rows)}],
        INFER.format(model=NAME): [{"inputs": tensors}],
        "/invocations": [{"dataframe_records": rows}, {"inputs": as_columns(rows)}],
    }
    ways = {"/predict": "rows", INFER.format(model=NAME): "tensors", "/invocations": "records"}
    for path, sent in bodies.items():
        for body in sent:
            answer = replica.ask("POST", path, json=body)
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(WAYS[ways[path]].scores(answer), expected, atol=1e-6)
    answer = replica.ask("POST", "/predict", content=stream_of(table_of(rows)), headers={"Content-Type": ARROW})
    np.testing.assert_allclose(read_stream(answer).column("score").to_numpy(), expected, atol=1e-6)


def test_what_a_client_of_the_open_inference_protocol_asks_first(replicas):
    ask = replicas["several classes"].ask
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").json() == {"ready": True}
    assert ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data"]
    metadata = ask("GET", f"/v2/models/{NAME}").json()
    assert metadata["inputs"] == [
        {"name": "delay", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "distance", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "carrier", "datatype": "BYTES", "shape": [-1, 1]},
    ]
    assert metadata["outputs"] == [
        {"name": "score", "datatype": "FP64", "shape": [-1]},
        {"name": "decision", "datatype": "BYTES", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 3]},
    ]
    assert ask("GET", f"/v2/models/{NAME}/versions/1").json() == metadata
    for path in (f"/v2/models/{NAME}/ready", f"/v2/models/{NAME}/versions/1/ready"):
        assert ask("GET", path).json() == {"name": NAME, "ready": True}
    assert ask("GET", f"/v2/models/{NAME}/versions/2/ready").status_code == 404
    assert (ask("GET", "/ping").status_code, ask("GET", "/ping").text) == (200, "\n")


def test_before_the_first_model(models):
    replica = HeldReplica(None)
    assert replica.ask("GET", "/v2/health/live").json() == {"live": True}
    ready = replica.ask("GET", "/v2/health/ready")
    assert (ready.status_code, ready.json()) == (503, {"ready": False})
    for path in ("/ping", "/ready", f"/v2/models/{NAME}", f"/v2/models/{NAME}/ready", "/openapi.json", "/docs"):
        answer = replica.ask("GET", path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    _, rows = rows_with_gaps(8)
    for way in WAYS.values():
        content, headers = way.request(rows)
        assert replica.ask("POST", way.path.format(model=NAME), content=content, headers=headers).status_code == 503


def test_a_field_that_is_no_feature_is_text_in_csv_too(models):
    schema = FeatureSchema.from_dict(models["binary"].bundle.schema)
    for customer in ("007", "1e3", "0.10", "2013-07-01", "12345678901234567890"):
        body = f"delay,distance,carrier,customer\n1,1,UA,{customer}\n".encode()
        assert read_csv(body, schema, max_rows=10).first("customer") == customer


@pytest.mark.parametrize(
    ("value", "key"),
    [("7", "7"), ("7.00", "7"), ("0.10", "0.1"), ("-0.00", "0"), ("12345678901234567890123456789012.50", None)],
)
def test_a_decimal_of_arrow_is_the_key_that_the_same_number_is(value, key):
    column = pa.array([Decimal(value)], pa.decimal128(38, 2))
    key = key or value.rstrip("0")
    assert TableInput(pa.table({"customer": column})).first("customer") == key


# Values that Arrow holds and Python does not, or no text can be made of.
NO_KEYS = {
    "seconds": pa.array([2**60]).cast(pa.timestamp("s")),
    "nanoseconds": pa.array([1]).cast(pa.timestamp("ns")),
    "zone": pa.array([1]).cast(pa.timestamp("s", tz="Nowhere/Nothing")),
    "offset": pa.array([1]).cast(pa.timestamp("s", tz="+99:99")),
    "days": pa.array([2**31 - 1], pa.int32()).cast(pa.date32()),
    "milliseconds": pa.array([86_400_000 * 10**11]).cast(pa.date64()),
    "duration": pa.array([2**62]).cast(pa.duration("s")),
    "list": pa.ListArray.from_arrays([0, 1], pa.array([2**60]).cast(pa.timestamp("s"))),
    "struct": pa.StructArray.from_arrays([pa.array([2**60]).cast(pa.timestamp("s"))], names=["at"]),
}


@pytest.mark.parametrize("name", NO_KEYS)
def test_a_routing_field_of_any_arrow_type_is_a_key_or_none(models, name):
    replica = HeldReplica(models["binary"], serving=ServingSection(routing_field="customer"))
    table = table_of(as_rows(examples(1, seed=3)[0])).append_column("customer", NO_KEYS[name])
    answer = replica.ask("POST", "/predict", content=stream_of(table), headers={"Content-Type": ARROW})
    assert answer.status_code == 200, answer.text
