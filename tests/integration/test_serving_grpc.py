"""The Open Inference Protocol over gRPC, through a real Serve, asked by Triton's client."""

import threading
import time

import httpx
import numpy as np
import pytest
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException

from served_models import ServedModels
from serving_clients import NAMES
from serving_models import (
    GRADES,
    KINDS,
    predicted,
    rows_with_gaps,
)
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import ConfigError
from sluiceway.serving.environment import free_port

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

NAME = "flights_late"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: train(folder, seed=3) for kind, train in KINDS.items()}


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory, models):
    serving = ServingSection(grpc_port=free_port("127.0.0.1"), keys="required", replicas=2)
    running = ServedModels(tmp_path_factory.mktemp("endpoint"), NAME, serving=serving)
    running.follow(models["binary"], "1")
    yield running
    running.close()


@pytest.fixture(scope="module")
def key(endpoint):
    """The headers of who may predict; replicas learn of a key within a second."""
    found = {"authorization": f"Bearer {endpoint.key('predict')}"}
    deadline = time.monotonic() + 30
    known = 0
    while known < 20 and time.monotonic() < deadline:  # of either replica
        known = known + 1 if endpoint.client.get("/version", headers=found).status_code == 200 else 0
        time.sleep(0.05)
    assert known == 20
    return found


@pytest.fixture
def client(endpoint):
    with triton.InferenceServerClient(f"127.0.0.1:{endpoint.serving.grpc_port}") as found:
        yield found


def inputs_of(rows):
    given = []
    for name in NAMES:
        if name == "carrier":
            values, datatype = np.array([(row[name] or "").encode() for row in rows], dtype=np.object_), "BYTES"
        else:
            values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=np.float32)
            datatype = "FP32"
        tensor = triton.InferInput(name, [len(rows), 1], datatype)
        tensor.set_data_from_numpy(values.reshape(-1, 1))
        given.append(tensor)
    return given


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_booster_s(endpoint, models, client, key, kind):
    endpoint.follow(models[kind], kind.replace(" ", "-"))
    matrix, rows = rows_with_gaps(40)
    expected = predicted(models[kind], matrix)
    result = client.infer(NAME, inputs_of(rows), headers=key, request_id="mine")
    name = "score" if expected.ndim == 1 else "probabilities"
    np.testing.assert_allclose(result.as_numpy(name), expected, atol=1e-6)
    assert result.get_response().id == "mine"
    if expected.ndim == 2:
        told = [value.decode() for value in result.as_numpy("decision")]
        assert told == [GRADES[place] for place in expected.argmax(axis=1)]


def test_what_a_client_asks_first(endpoint, models, client, key):
    endpoint.follow(models["binary"], "7")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(NAME)
    assert not client.is_model_ready("another")
    assert client.get_server_metadata(headers=key).name == "sluiceway"
    metadata = client.get_model_metadata(NAME, headers=key)
    assert [tensor.name for tensor in metadata.inputs] == list(NAMES)
    assert list(metadata.versions) == ["7"]


def test_who_has_no_key_and_what_is_wrong_is_told(endpoint, models, client, key):
    endpoint.follow(models["binary"], "7")
    given = inputs_of(rows_with_gaps(8)[1])
    with pytest.raises(InferenceServerException) as caught:
        client.infer(NAME, given)
    assert caught.value.status() == "StatusCode.UNAUTHENTICATED"
    assert caught.value.message().startswith("this needs a valid API key")
    with pytest.raises(InferenceServerException, match=r"'distance'.* is missing") as caught:
        client.infer(NAME, given[::2], headers=key)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(InferenceServerException) as caught:
        client.infer("another", given, headers=key)
    assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_http_answers_beside_it_and_a_promotion_loses_no_call(endpoint, models, key):
    endpoint.follow(models["binary"], "7")
    matrix, rows = rows_with_gaps(40)
    right = {version: predicted(models[kind], matrix) for version, kind in (("7", "binary"), ("8", "regression"))}
    stop, failed, seen = threading.Event(), [], []

    def load():
        with triton.InferenceServerClient(f"127.0.0.1:{endpoint.serving.grpc_port}") as client:
            while not stop.is_set():
                try:
                    result = client.infer(NAME, inputs_of(rows), headers=key)
                except InferenceServerException as error:
                    failed.append(error)
                    continue
                version = result.get_response().model_version
                seen.append(version)
                if not np.allclose(result.as_numpy("score"), right[version], atol=1e-6):
                    failed.append(version)

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for version, kind in (("8", "regression"), ("7", "binary"), ("8", "regression")):
        time.sleep(0.3)
        endpoint.follow(models[kind], version)
        answer = endpoint.client.post("/predict", json={"rows": rows}, headers=key)
        assert answer.json()["version"] == version
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert set(seen) == {"7", "8"}


def test_a_serve_that_has_no_such_grpc_is_refused(endpoint):
    from sluiceway.serving.instance import start_serve  # noqa: PLC0415 (Ray has to be up)

    for port in (endpoint.serving.grpc_port, endpoint.serving.grpc_port + 1):
        serving = endpoint.serving.model_copy(update={"grpc_port": port})
        if port == endpoint.serving.grpc_port:
            assert start_serve(serving) == endpoint.address
        else:
            with pytest.raises(ConfigError, match="has no such gRPC"):
                start_serve(serving)


def test_a_client_that_speaks_no_grpc_does_no_harm(endpoint):
    # A request of HTTP/1.1 at the port is turned away, and the port goes on.
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://127.0.0.1:{endpoint.serving.grpc_port}/", timeout=10)
    with triton.InferenceServerClient(f"127.0.0.1:{endpoint.serving.grpc_port}") as client:
        assert client.is_server_live()
