"""The Open Inference Protocol over gRPC, asked without Serve: the same answers as over REST, by keys only."""

import asyncio

import grpc
import numpy as np
import pytest

from serving_clients import NAMES
from serving_models import (
    GRADES,
    KINDS,
    predicted,
    rows_with_gaps,
)
from serving_replica import NAME, HeldReplica
from sluiceway.catalog.api_keys import ApiKey, digest_of
from sluiceway.config.serving import ServingSection
from sluiceway.serving.grpc_options import SERVICER_FUNCTION, grpc_options
from sluiceway.serving.grpc_surface import GrpcMethods
from sluiceway.serving.protocols import grpc_service
from sluiceway.serving.protocols.grpc_messages import METHODS, SERVICE, message_class

KEY = {"authorization": "Bearer sw_0123abcd_" + "s" * 43}


class GrpcReplica(HeldReplica, GrpcMethods):
    """A held replica that Serve could call by gRPC."""

    def call(self, method, request, **headers):
        """The answer, the status and its text."""
        context = Context({**KEY, **headers})
        answer = asyncio.run(getattr(self, method)(request, grpc_context=context))
        return answer, context.code, context.details

    def let_in(self, *scopes):
        """Make the key good for these."""
        self.guard.follow([ApiKey("0123abcd", "mine", digest_of("s" * 43), scopes, "", 0.0, None)])


class Context:
    """Serve's, of a call."""

    def __init__(self, headers):
        self._headers, self.code, self.details = list(headers.items()), grpc.StatusCode.OK, ""

    def invocation_metadata(self):
        return self._headers

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {kind: train(folder, seed=3) for kind, train in KINDS.items()}


def replica_of(model, **options):
    found = GrpcReplica(model, keys=True, **options)
    found.let_in("predict")
    return found


@pytest.fixture(scope="module")
def replica(models):
    return replica_of(models["binary"])


def infer_request(rows, *, raw, **more):
    found = message_class("ModelInferRequest")(model_name=NAME, **more)
    for name in NAMES:
        values = [row[name] for row in rows]
        if name == "carrier":
            texts = [(value or "").encode() for value in values]
            tensor = found.inputs.add(name=name, datatype="BYTES", shape=[len(rows)])
            if raw:
                parts = [part for text in texts for part in (len(text).to_bytes(4, "little"), text)]
                found.raw_input_contents.append(b"".join(parts))
            else:
                tensor.contents.bytes_contents.extend(texts)
            continue
        numbers = np.array([np.nan if value is None else value for value in values], "<f4")
        tensor = found.inputs.add(name=name, datatype="FP32", shape=[len(rows), 1])
        if raw:
            found.raw_input_contents.append(numbers.tobytes())
        else:
            tensor.contents.fp32_contents.extend(numbers.tolist())
    return found


def tensors_of(answer):
    found = {}
    for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            texts, at = [], 0
            while at < len(raw):
                size = int.from_bytes(raw[at : at + 4], "little")
                texts.append(raw[at + 4 : at + 4 + size].decode())
                at += 4 + size
            found[output.name] = texts
        else:
            kind = {"FP64": "<f8", "INT64": "<i8"}[output.datatype]
            found[output.name] = np.frombuffer(raw, kind).reshape(list(output.shape))
    return found


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "contents"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_booster_s(models, kind, raw):
    matrix, rows = rows_with_gaps(30)
    answer, code, details = replica_of(models[kind]).call("ModelInfer", infer_request(rows, raw=raw, id="mine"))
    assert code == grpc.StatusCode.OK, details
    expected, found = predicted(models[kind], matrix), tensors_of(answer)
    if expected.ndim == 2:
        np.testing.assert_allclose(found["probabilities"], expected, atol=1e-6)
        assert found["decision"] == [GRADES[place] for place in expected.argmax(axis=1)]
    else:
        np.testing.assert_allclose(found["score"], expected, atol=1e-6)
    assert (answer.model_name, answer.model_version, answer.id) == (NAME, "1", "mine")
    assert answer.parameters["arm"].string_param == "champion"


def test_only_the_outputs_that_are_asked_for(replica):
    _, rows = rows_with_gaps(30)
    request = infer_request(rows, raw=True)
    request.outputs.add(name="decision")
    answer, _, _ = replica.call("ModelInfer", request, **{"x-request-id": "r-7"})
    assert [output.name for output in answer.outputs] == ["decision"]
    assert answer.parameters["request_id"].string_param == answer.id == "r-7"


def test_what_a_client_asks_first(replica):
    assert replica.call("ServerLive", message_class("ServerLiveRequest")())[0].live
    assert replica.call("ServerReady", message_class("ServerReadyRequest")())[0].ready
    for name, version, ready in ((NAME, "", True), (NAME, "1", True), (NAME, "2", False), ("another", "", False)):
        request = message_class("ModelReadyRequest")(name=name, version=version)
        assert replica.call("ModelReady", request)[0].ready is ready
    assert replica.call("ServerMetadata", message_class("ServerMetadataRequest")())[0].name == "sluiceway"
    told, _, _ = replica.call("ModelMetadata", message_class("ModelMetadataRequest")(name=NAME, version="1"))
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in told.inputs] == [
        ("delay", "FP32", [-1, 1]),
        ("distance", "FP32", [-1, 1]),
        ("carrier", "BYTES", [-1, 1]),
    ]
    assert list(told.versions) == ["1"]


def test_nobody_is_let_in_without_a_key(models):
    _, rows = rows_with_gaps(30)
    keyless = GrpcReplica(models["binary"])
    answer, code, details = keyless.call("ModelInfer", infer_request(rows, raw=True))
    assert (code, len(answer.outputs)) == (grpc.StatusCode.PERMISSION_DENIED, 0)
    assert "serving.keys: required" in details
    assert keyless.call("ServerLive", message_class("ServerLiveRequest")())[0].live
    guarded = replica_of(models["binary"])
    assert (
        guarded.call("ModelInfer", infer_request(rows, raw=True), authorization="x")[1]
        == grpc.StatusCode.UNAUTHENTICATED
    )
    guarded.let_in("feedback")
    for method, request in (
        ("ModelInfer", infer_request(rows, raw=True)),
        ("ModelMetadata", message_class("ModelMetadataRequest")(name=NAME)),
        ("ServerMetadata", message_class("ServerMetadataRequest")()),
    ):
        assert guarded.call(method, request)[1] == grpc.StatusCode.PERMISSION_DENIED


def test_a_version_is_named_by_an_admin_only(models):
    _, rows = rows_with_gaps(30)
    guarded = replica_of(models["binary"], warm={"2": models["several classes"]})
    for version, code in (("1", grpc.StatusCode.OK), ("2", grpc.StatusCode.PERMISSION_DENIED)):
        request = infer_request(rows, raw=True, model_version=version)
        assert guarded.call("ModelInfer", request)[1] == code
        request = message_class("ModelMetadataRequest")(name=NAME, version=version)
        assert guarded.call("ModelMetadata", request)[1] == code
    guarded.let_in("admin")
    answer, _, _ = guarded.call("ModelInfer", infer_request(rows, raw=True, model_version="2"))
    assert (answer.model_version, len(answer.outputs)) == ("2", 2)
    for version in ("9", "x" * 9000):
        request = message_class("ModelMetadataRequest")(name=NAME, version=version)
        answer, code, details = guarded.call("ModelMetadata", request)
        assert code == grpc.StatusCode.NOT_FOUND
        assert len(details) < 300


def changed(**changes):
    request = infer_request(rows_with_gaps(8)[1], raw=changes.pop("raw", False))
    for name, value in changes.items():
        if isinstance(value, list):
            del getattr(request.inputs[0], name)[:]
            getattr(request.inputs[0], name).extend(value)
        else:
            setattr(request.inputs[0], name, value)
    return request


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (changed(name="dely"), "did you mean 'delay'"),
        (changed(shape=[3]), "$.inputs[0] has 8 values; the shape says 3"),
        (changed(shape=[]), "shape has to be [n] or [n, m]"),
        (changed(datatype="BF16"), "datatype has to be one of"),
        (changed(datatype="FP16"), "$.inputs[0] has 0 values; the shape says 8"),
        (changed(datatype="INT64"), "$.inputs[0] has 0 values; the shape says 8"),
        (changed(raw=True, datatype="INT8"), "$.inputs[0] has 32 bytes; 8 values of INT8 are 8"),
    ],
)
def test_tensors_with_a_problem_are_told(replica, request_, words):
    answer, code, details = replica.call("ModelInfer", request_)
    assert (code, len(answer.outputs)) == (grpc.StatusCode.INVALID_ARGUMENT, 0)
    assert words in details


def test_more_that_is_refused(models):
    _, rows = rows_with_gaps(8)
    small = replica_of(models["binary"], serving=ServingSection(max_rows=7, max_body_bytes=3000))
    assert "at most 7" in small.call("ModelInfer", infer_request(rows, raw=True))[2]
    request = infer_request(rows[:1], raw=True, id="x" * 4000)
    assert "larger than 3000 bytes" in small.call("ModelInfer", request)[2]
    request = infer_request(rows[:7], raw=True)
    request.raw_input_contents.append(b"")
    assert "4 entries for 3 inputs" in small.call("ModelInfer", request)[2]
    request = infer_request(rows[:1], raw=False)
    request.inputs[2].contents.bytes_contents[0] = b"\xff"
    assert "not UTF-8" in small.call("ModelInfer", request)[2]
    assert (
        small.call("ModelInfer", message_class("ModelInferRequest")(model_name=NAME))[1]
        == grpc.StatusCode.INVALID_ARGUMENT
    )
    assert small.call("ModelInfer", message_class("ModelInferRequest")(model_name="b"))[1] == grpc.StatusCode.NOT_FOUND
    assert small.refused(422) == 3
    waiting = replica_of(None)
    assert waiting.call("ModelInfer", infer_request(rows, raw=True))[1] == grpc.StatusCode.UNAVAILABLE
    assert not waiting.call("ServerReady", message_class("ServerReadyRequest")())[0].ready


def test_nothing_of_the_inside_is_told_and_time_is_limited(models, caplog):
    _, rows = rows_with_gaps(8)
    broken = replica_of(models["binary"], serving=ServingSection(request_timeout_seconds=0.05))

    async def fails(*_):
        raise ZeroDivisionError("inside")

    async def hangs(*_):
        await asyncio.sleep(60)

    broken.answerer.answer = fails
    _, code, details = broken.call("ModelInfer", infer_request(rows, raw=True))
    assert (code, details) == (grpc.StatusCode.INTERNAL, "the model could not answer")
    assert "inside" in caplog.text
    broken.answerer.answer = hangs
    assert broken.call("ModelInfer", infer_request(rows, raw=True))[1] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert broken.refused(504) == 1


def test_serve_is_told_of_it_where_it_is_asked_for():
    assert grpc_options(ServingSection()) is None
    assert grpc_options(ServingSection(grpc_port=9000, keys="required")) == {
        "port": 9000,
        "grpc_servicer_functions": [SERVICER_FUNCTION],
        "enable_reflection": False,
    }
    for keys in ("auto", "none"):
        with pytest.raises(ValueError, match="listens on all interfaces"):
            ServingSection(grpc_port=9000, keys=keys)
    assert f"{grpc_service.__name__}.{grpc_service.add_service.__name__}" == SERVICER_FUNCTION


def test_the_service_answers_over_a_connection(replica):
    async def run():
        server = grpc.aio.server()

        class Servicer:
            """Hands each call to the replica, as Serve does."""

            def __getattr__(self, method):
                async def call(request, context):
                    told = Context(dict(context.invocation_metadata()))
                    answer = await getattr(replica, method)(request, grpc_context=told)
                    context.set_code(told.code)
                    context.set_details(told.details)
                    return answer

                return call

        grpc_service.add_service(Servicer(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            matrix, rows = rows_with_gaps(30)
            stub = channel.unary_unary(
                f"/{SERVICE}/ModelInfer",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=message_class("ModelInferResponse").FromString,
            )
            answer = await stub(infer_request(rows, raw=False), metadata=tuple(KEY.items()))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub(infer_request(rows, raw=False))
        await server.stop(None)
        return matrix, answer, caught.value.code()

    matrix, answer, refused = asyncio.run(run())
    np.testing.assert_allclose(tensors_of(answer)["score"], predicted_of(replica, matrix), atol=1e-6)
    assert refused == grpc.StatusCode.UNAUTHENTICATED
    assert len(METHODS) == 6


def predicted_of(replica, matrix):
    return replica.route.champion.scorer.score_matrix(matrix)
