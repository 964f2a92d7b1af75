"""An endpoint on a real Serve, asked by clients that others wrote."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from served_models import ServedModels
from serving_clients import ARROW, CATEGORIES, NAMES, WAYS, read_stream, stream_of, table_of
from serving_models import (
    GRADES,
    KINDS,
    as_rows,
    examples,
    predicted,
    rows_with_gaps,
    train_numbers,
)
from sluiceway.registry.mlflow_folder import write_folder

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

NAME = "flights_late"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    found = {kind: train(folder, seed=3) for kind, train in KINDS.items()}
    return found | {
        "numbers": train_numbers(folder, seed=4),
        "numbers, many": train_numbers(folder, seed=5, features=16),
    }


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory):
    running = ServedModels(tmp_path_factory.mktemp("endpoint"), NAME)
    yield running
    running.close()


@pytest.fixture(params=KINDS)
def kind(request, endpoint, models):
    endpoint.follow(models[request.param], request.param.replace(" ", "-"))
    return request.param


def test_every_protocol_over_http(endpoint, models, kind):
    matrix, rows = rows_with_gaps(40)
    for name, way in WAYS.items():
        content, headers = way.request(rows)
        answer = endpoint.client.post(way.path.format(model=NAME), content=content, headers=headers)
        assert answer.status_code == 200, (name, answer.text)
        np.testing.assert_allclose(way.scores(answer), predicted(models[kind], matrix), atol=1e-6, err_msg=name)


@pytest.fixture
def client(endpoint):
    found = triton.InferenceServerClient(f"{endpoint.address.host}:{endpoint.address.port}/{NAME}")
    yield found
    found.close()


def triton_inputs(rows, *, binary, kind=np.float32):
    given = []
    for name in NAMES:
        if name == "carrier":
            values, datatype = np.array([(row[name] or "").encode() for row in rows], dtype=np.object_), "BYTES"
        else:
            values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=kind)
            datatype = "FP32" if kind is np.float32 else "FP64"
        tensor = triton.InferInput(name, [len(rows), 1], datatype)
        tensor.set_data_from_numpy(values.reshape(-1, 1), binary_data=binary)
        given.append(tensor)
    return given


@pytest.mark.parametrize("binary_out", [True, False], ids=["binary out", "json out"])
@pytest.mark.parametrize("binary_in", [True, False], ids=["binary in", "json in"])
def test_triton_s_client(endpoint, models, client, kind, binary_in, binary_out):
    matrix, rows = rows_with_gaps(40)
    expected = predicted(models[kind], matrix)
    name = "score" if expected.ndim == 1 else "probabilities"
    outputs = [triton.InferRequestedOutput(wanted, binary_data=binary_out) for wanted in (name, "decision")]
    result = client.infer(NAME, triton_inputs(rows, binary=binary_in), outputs=outputs, request_id="mine")
    np.testing.assert_allclose(result.as_numpy(name), expected, atol=1e-6)
    assert result.get_response()["id"] == "mine"
    decisions = result.as_numpy("decision")
    if expected.ndim == 2:
        told = [GRADES[place] for place in expected.argmax(axis=1)]
        assert [value.decode() if isinstance(value, bytes) else value for value in decisions] == told
    elif kind == "binary":
        np.testing.assert_array_equal(decisions, expected >= 0.5)
    else:
        np.testing.assert_allclose(decisions, expected, atol=1e-6)


def test_triton_s_client_without_outputs_and_with_a_version(endpoint, models, client):
    endpoint.follow(models["binary"], "7")
    matrix, rows = rows_with_gaps(40)
    given = triton_inputs(rows, binary=True, kind=np.float64)
    for version in ("", "7"):
        result = client.infer(NAME, given, model_version=version, timeout=1000)
        np.testing.assert_allclose(result.as_numpy("score"), predicted(models["binary"], matrix), atol=1e-6)
        assert result.get_response()["model_version"] == "7"


def test_what_triton_s_client_asks_before_it_infers(endpoint, models, client):
    endpoint.follow(models["binary"], "7")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert client.is_model_ready(NAME, "7")
    assert not client.is_model_ready("another")
    assert client.get_server_metadata()["name"] == "sluiceway"
    metadata = client.get_model_metadata(NAME)
    assert [(tensor["name"], tensor["datatype"]) for tensor in metadata["inputs"]] == [
        ("delay", "FP32"),
        ("distance", "FP32"),
        ("carrier", "BYTES"),
    ]
    assert metadata["versions"] == ["7"]


def test_triton_s_client_is_told_what_is_wrong(endpoint, models, client):
    endpoint.follow(models["binary"], "7")
    _, rows = rows_with_gaps(8)
    with pytest.raises(InferenceServerException, match=r"'distance'\)\] is missing"):
        client.infer(NAME, triton_inputs(rows, binary=True)[::2])
    with pytest.raises(InferenceServerException, match="there is no model 'another'"):
        client.infer("another", triton_inputs(rows, binary=True))


def test_one_tensor_of_numbers_from_triton_s_client(endpoint, models, client):
    endpoint.follow(models["numbers"], "8")
    matrix = np.random.default_rng(1).normal(10, 20, (50, 2)).astype(np.float32)
    matrix[3, 1] = np.nan
    tensor = triton.InferInput("input-0", [50, 2], "FP32")
    tensor.set_data_from_numpy(matrix)
    result = client.infer(NAME, [tensor])
    np.testing.assert_allclose(result.as_numpy("score"), predicted(models["numbers"], matrix), atol=1e-6)


# MLflow's own type hints, when its pyfunc is imported for the first time.
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")
def test_mlflow_s_client_gets_what_its_pyfunc_gives(endpoint, models, kind, tmp_path):
    import mlflow.pyfunc  # noqa: PLC0415
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient  # noqa: PLC0415

    write_folder(models[kind].bundle, tmp_path)
    pyfunc = mlflow.pyfunc.load_model(str(tmp_path))
    matrix, _ = rows_with_gaps(40)
    frame = pd.DataFrame(matrix.astype(float), columns=list(NAMES))
    expected = np.asarray(pyfunc.predict(frame))
    client = ScoringServerClient(endpoint.address.host, f"{endpoint.address.port}/{NAME}")
    client.wait_server_ready(timeout=30)
    assert re.fullmatch(r"\d+\.\d+\.\d+", client.get_version())
    for given in (frame, frame.to_numpy(), frame.to_dict(orient="records")):
        np.testing.assert_allclose(np.asarray(client.invoke(given)["predictions"]), expected, atol=1e-6)
    texts = frame.assign(carrier=[None if np.isnan(code) else CATEGORIES[int(code)] for code in frame["carrier"]])
    np.testing.assert_allclose(np.asarray(client.invoke(texts)["predictions"]), expected, atol=1e-6)


def test_arrow_from_pandas_and_in_many_rows(endpoint, models):
    endpoint.follow(models["binary"], "7")
    matrix, _ = examples(30_000, seed=5)
    frame = pd.DataFrame(as_rows(matrix))
    frame["carrier"] = frame["carrier"].astype("category")
    content = stream_of(pa.Table.from_pandas(frame, preserve_index=False))
    answer = endpoint.client.post("/predict", content=content, headers={"Content-Type": ARROW})
    table = read_stream(answer)
    np.testing.assert_allclose(table.column("score").to_numpy(), predicted(models["binary"], matrix), atol=1e-6)
    assert table.schema.metadata[b"request_id"].decode() == answer.headers["x-request-id"]


def test_a_batch_larger_than_a_message_between_replicas_is_the_challenger_s_too(endpoint, models):
    challenger = endpoint.challenger(models["numbers, many"], "9")
    endpoint.follow(models["numbers, many"], "8", challenger)
    matrix = np.random.default_rng(1).normal(10, 20, (100_000, 16)).astype(np.float32)
    assert matrix.nbytes > 4 * 2**20  # what Serve lets through from replica to replica
    content = stream_of(pa.table({f"f{i}": matrix[:, i] for i in range(16)}))
    answer = endpoint.client.post("/predict", content=content, headers={"Content-Type": ARROW})
    table = read_stream(answer)
    assert table.schema.metadata[b"arm"] == b"challenger"
    np.testing.assert_allclose(table.column("score").to_numpy(), predicted(models["numbers, many"], matrix), atol=1e-6)


def test_the_limits_hold_over_http(endpoint, models):
    endpoint.follow(models["binary"], "7")
    row = {"delay": 1.0, "distance": 2.0, "carrier": "AA"}
    table = table_of([row] * 100_001)
    for content, headers in (
        (stream_of(table), {"Content-Type": ARROW}),
        (b"x" * 64_000_001, {"Content-Type": ARROW}),
        (b" " * 1_000_001, {"Content-Type": "application/json"}),
    ):
        answer = endpoint.client.post("/predict", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/json")
