"""What is wrong with a request is told in its protocol's own way, all at once, and nothing of the inside."""

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving_clients import ARROW, INFER, WAYS, stream_of, table_of, tensors_of
from serving_models import as_rows, examples, train_grades, train_small
from serving_replica import NAME, HeldReplica
from sluiceway.catalog.api_keys import ApiKey, digest_of
from sluiceway.config.serving import InputSection, ServingSection

ROW = {"delay": 3.0, "distance": 500.0, "carrier": "AA"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("model"), seed=3)


@pytest.fixture(scope="module")
def replica(model):
    return HeldReplica(model)


def told(answer):
    """Problems by path."""
    return {problem["path"]: problem["problem"] for problem in answer.json()["problems"]}


def test_every_problem_of_a_request_is_told_in_one_answer(replica):
    rows = [{"delay": "late", "distance": 1e39, "carier": "AA"}, {**ROW, "carrier": 7}]
    before = replica.refused(422)
    answer = replica.ask("POST", "/predict", json={"rows": rows})
    assert answer.status_code == 422
    assert answer.json()["error"] == "the request has 5 problems"
    assert told(answer) == {
        "$.rows[0].carier": "is not a feature of the model; did you mean 'carrier'?",
        "$.rows[0].delay": "is a text; a number is needed",
        "$.rows[0].distance": "is infinite, or too large for a 32-bit float",
        "$.rows[0].carrier": "is missing; null says that it is not known",
        "$.rows[1].carrier": "is a number; a text is needed",
    }
    assert replica.refused(422) == before + 1


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"columns": {**ROW, "delay": [1.0]}}, "$.columns.distance"),
        ({"columns": {"delay": [1, 2], "distance": [1], "carrier": ["AA", "B6"]}}, "$.columns.distance"),
        ({"columns": {"delay": [1, "x"], "distance": [1, 2], "carrier": ["AA", "B6"]}}, "$.columns.delay[1]"),
        ({"columns": {"delay": [1], "distance": [1]}}, "$.columns.carrier"),
        ({"columns": {"delay": [1], "distance": [1], "carrier": [None], "gate": [1]}}, "$.columns.gate"),
        ({"columns": []}, "$.columns"),
        ({"rows": [ROW], "columns": {}}, "$.columns"),
        ({"rows": [ROW], "row": 1}, "$.row"),
        ({}, "$.rows"),
        ([ROW], "$"),
    ],
)
def test_columns_with_a_problem_are_422_with_its_path(replica, body, path):
    answer = replica.ask("POST", "/predict", json=body)
    assert answer.status_code == 422
    assert path in told(answer)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"dataframe_split": {"columns": ["delay", "distance", "carrier"], "data": [[1, "x", 0]]}}, ".data[0][1]"),
        ({"dataframe_split": {"columns": ["delay", "distance", "carrier"], "data": [[1, 2]]}}, ".data[0]"),
        ({"dataframe_split": {"columns": ["delay", "carrier"], "data": [[1, "AA"]]}}, ".data"),
        ({"dataframe_split": {"columns": ["delay", "delay", "carrier"], "data": [[1, 2, "AA"]]}}, ".columns"),
        ({"dataframe_split": {"data": [[1, 2, 3]]}}, ".data[0][2]"),  # three carriers: 0 to 2
        ({"dataframe_split": {"data": [[1, 2, 1.5]]}}, ".data[0][2]"),
        ({"dataframe_split": {"data": []}}, ".data"),
        ({"dataframe_split": {"data": [[1, 2, 0]], "rows": 1}}, ".rows"),
    ],
)
def test_a_split_frame_with_a_problem(replica, body, path):
    answer = replica.ask("POST", "/invocations", json=body)
    assert answer.status_code == 422
    assert f"$.dataframe_split{path}" in told(answer)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"dataframe_records": [ROW, {**ROW, "delay": "x"}]}, "$.dataframe_records[1].delay"),
        ({"dataframe_records": [ROW, {"delay": 1}]}, "$.dataframe_records[1]"),
        ({"dataframe_records": [3]}, "$.dataframe_records[0]"),
        ({"dataframe_records": [{}]}, "$.dataframe_records[0].delay"),
        ({"instances": [[1, 2]]}, "$.instances[0]"),
        ({"instances": [1, 2]}, "$.instances[0]"),
        ({"inputs": {"delay": [[1, 2]], "distance": [1], "carrier": ["AA"]}}, "$.inputs.delay"),
        ({"inputs": "AA"}, "$.inputs"),
        ({"instances": [ROW], "params": {"top": 3}}, "$.params"),
        ({"instances": [ROW], "inputs": [ROW]}, "$"),
        ({"rows": [ROW]}, "$.rows"),
        ([], "$"),
    ],
)
def test_another_body_of_mlflow_with_a_problem(replica, body, path):
    answer = replica.ask("POST", "/invocations", json=body)
    assert answer.status_code == 422
    assert path in told(answer)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("delay,distance,carrier\n1,2,AA", 200),
        ("delay,distance,carrier\n1,,", 200),
        ("delay,distance,carrier\n1,2,2.0", 200),  # the position of UA
        ("delay,distance,carrier\n1,2,9", 422),
        ("delay,distance\n1,2", 422),
        ("delay,distance,carrier\n", 422),
        ("delay,distance,carrier\nlate,2,AA", 400),
        ("delay,delay,carrier\n1,2,AA", 400),
        ("delay,distance,carrier\n1,2", 400),
        ("", 400),
    ],
)
def test_csv(replica, text, status):
    answer = replica.ask("POST", "/invocations", content=text.encode(), headers={"Content-Type": "text/csv"})
    assert answer.status_code == status, answer.text


def tensor(**changes):
    first = {"name": "delay", "shape": [1], "datatype": "FP64", "data": [1.0], **changes}
    return {"inputs": [{name: value for name, value in first.items() if value is not None}, *tensors_of([ROW])[1:]]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (tensor(name="dely"), ("did you mean 'delay'", "$.inputs[?(@.name=='delay')] is missing")),
        (tensor(name=None), ("$.inputs[0] name has to be a text",)),
        (tensor(shape=[2]), ("$.inputs[0] has 1 values; the shape says 2",)),
        (tensor(shape=[1, 1, 1]), ("shape has to be [n] or [n, m]",)),
        (tensor(shape=[-1]), ("shape has to be [n] or [n, m]",)),
        (tensor(shape=[2], data=[1.0, 2.0]), ("$.inputs[1] has 1 rows, the first tensor 2",)),
        (tensor(shape=[1, 2], data=[1.0, 2.0]), ("send a tensor a feature",)),
        (tensor(datatype="BF16"), ("datatype has to be one of BOOL",)),
        (tensor(data=["late"]), ("$.inputs[0].data[0] is a text; a number is needed",)),
        (tensor(data=None), ("$.inputs[0] has to be a list of values",)),
        (tensor(data=None, parameters={"binary_data_size": 8}), ("has 0 bytes; 1 values of FP64 are 8",)),
        (tensor(parameters={"binary_data_size": 8}), ("has data, and binary_data_size too",)),
        (tensor(data=None, parameters={"shared_memory_region": "x"}), ("shared memory is not supported",)),
        ({**tensor(), "outputs": [{"name": "probabilities"}]}, ("has to be one of score, decision",)),
        ({**tensor(), "outputs": [{"name": "score", "parameters": {"classification": 2}}]}, ("not supported",)),
        ({**tensor(), "outputs": 3}, ("has to be a list of tensors",)),
        ({**tensor(), "id": 7}, ("$.id has to be a text",)),
        ({"inputs": [*tensor()["inputs"], tensor()["inputs"][0]]}, ("'delay' is there more than once",)),
        ({"inputs": []}, ("$.inputs has to be a list of at least one tensor",)),
        ({"inputs": [3]}, ("has to be an object, not a number",)),
        ([], ("has to be an object with inputs",)),
    ],
)
def test_tensors_with_a_problem_are_told_as_the_protocol_says(replica, body, words):
    answer = replica.ask("POST", INFER.format(model=NAME), json=body)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    for text in words:
        assert text in answer.json()["error"]


def test_a_model_with_categories_takes_no_single_tensor(replica):
    body = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 0]}]}
    answer = replica.ask("POST", INFER.format(model=NAME), json=body)
    assert answer.status_code == 422
    assert "some are categories" in answer.json()["error"]


@pytest.mark.parametrize("length", ["-1", "x", "999999", "99999999999999999999", "²"])
def test_a_wrong_length_of_the_json_is_400(replica, length):
    headers = {"Inference-Header-Content-Length": length.encode()}
    answer = replica.ask("POST", INFER.format(model=NAME), content=b"{}", headers=headers)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize("raw", [b"", b"\x02\0\0", b"\x05\0\0\0AA", b"\x02\0\0\0AAA", b"\x02\0\0\0\xff\xff"])
def test_damaged_texts_behind_the_json_are_422(replica, raw):
    tensors = tensors_of([ROW])
    tensors[2] = {**tensors[2], "parameters": {"binary_data_size": len(raw)}}
    del tensors[2]["data"]
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = replica.ask("POST", INFER.format(model=NAME), content=head + raw, headers=headers)
    assert answer.status_code == 422
    assert "$.inputs[2]" in answer.json()["error"]


def test_bytes_that_no_tensor_names_are_422(replica):
    head = json.dumps({"inputs": tensors_of([ROW])}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = replica.ask("POST", INFER.format(model=NAME), content=head + b"more", headers=headers)
    assert "4 stand behind the JSON" in answer.json()["error"]


def arrow(replica, content):
    return replica.ask("POST", "/predict", content=content, headers={"Content-Type": ARROW})


def test_arrow_tables_with_problems(replica):
    table = table_of([ROW, {**ROW, "delay": math.inf}])
    answer = arrow(replica, stream_of(table))
    assert told(answer) == {"$.delay[1]": "is infinite, or too large for a 32-bit float"}
    answer = arrow(replica, stream_of(table.rename_columns(["delay", "dist", "carrier"])))
    assert set(told(answer)) == {"$.dist", "$.distance"}
    answer = arrow(replica, stream_of(table.set_column(2, "carrier", [[1, 2]])))
    assert told(answer) == {"$.carrier": "has type int64; texts are needed"}
    answer = arrow(replica, stream_of(table.append_column("delay", [[1, 2]])))
    assert told(answer)["$.delay"] == "is there more than once"
    assert arrow(replica, stream_of(table[:0])).status_code == 422


def test_what_is_no_arrow_stream_is_400(replica):
    whole = stream_of(table_of([ROW] * 50))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table_of([ROW]).schema) as writer:
        writer.write_table(table_of([ROW]))
    for content in (b"", b"not arrow", whole[:100], whole[: len(whole) // 2], sink.getvalue().to_pybytes()):
        answer = arrow(replica, content)
        assert (answer.status_code, answer.json()["error"]) == (400, "the body is not an Arrow IPC stream")


def test_a_stream_with_flipped_bytes_never_harms(replica):
    whole = bytearray(stream_of(table_of([ROW] * 20)))
    random = np.random.default_rng(1)
    statuses = set()
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 3):
            damaged[place] = random.integers(0, 256)
        statuses.add(arrow(replica, bytes(damaged)).status_code)
    assert statuses <= {200, 400, 413, 415, 422}
    assert {200, 400} <= statuses


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("dictionary", [False, True], ids=["plain", "dictionary"])
def test_compressed_buffers_are_refused_before_they_are_unpacked(replica, codec, dictionary):
    table = table_of([ROW] * 5_000)
    if dictionary:
        table = table.set_column(2, "carrier", table.column("carrier").dictionary_encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table)
    answer = arrow(replica, sink.getvalue().to_pybytes())
    assert (answer.status_code, answer.json()["hint"]) == (415, "write them uncompressed")


def test_nulls_without_a_byte_are_still_rows(model):
    replica = HeldReplica(model, serving=ServingSection(max_arrow_rows=1000))
    table = pa.table({name: pa.nulls(10**9) for name in ROW})
    content = stream_of(table)
    assert len(content) < 2000
    assert arrow(replica, content).status_code == 413


def test_what_is_too_large_is_413(model):
    replica = HeldReplica(
        model, serving=ServingSection(max_rows=3, max_arrow_rows=5, max_body_bytes=2000, max_arrow_bytes=5000)
    )
    for name, way in WAYS.items():
        for n, status in ((3, 200), (6, 413)):
            content, headers = way.request([ROW] * n)
            answer = replica.ask("POST", way.path.format(model=NAME), content=content, headers=headers)
            assert answer.status_code == status, (name, n, answer.text)
    assert arrow(replica, b"x" * 5001).status_code == 413
    for path in ("/predict", "/invocations", "/feedback", INFER.format(model=NAME)):
        answer = replica.ask("POST", path, content=b" " * 2001)
        assert answer.status_code == 413

        async def parts():
            for _ in range(3):
                yield b" " * 1000

        assert replica.ask("POST", path, content=parts()).status_code == 413


def test_content_that_nobody_reads_is_415(replica):
    for path in ("/predict", "/invocations", "/feedback", INFER.format(model=NAME)):
        for headers in (
            {"Content-Type": "application/xml"},
            {"Content-Type": "application/x-www-form-urlencoded"},
            {"Content-Type": "application/json; charset=latin-1"},
            {"Content-Encoding": "gzip"},
        ):
            answer = replica.ask("POST", path, content=b"{}", headers=headers)
            assert answer.status_code == 415, (path, headers)
    said = {"Content-Type": "Application/JSON; charset=UTF-8"}
    assert replica.ask("POST", "/predict", content=json.dumps({"rows": [ROW]}), headers=said).status_code == 200


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"rows": [NaN]}', b"\xef\xbb\xbf{}", b'"\\ud800"']
)
@pytest.mark.parametrize("path", ["/predict", "/feedback", "/invocations", INFER.format(model=NAME)])
def test_what_is_no_json_is_400_and_says_where(replica, path, content):
    answer = replica.ask("POST", path, content=content)
    if b"NaN" in content and path not in ("/predict", "/feedback"):
        assert answer.status_code == 422  # it is understood, and the rest is wrong
        return
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the body is not JSON")


def test_nan_is_told_with_what_to_send_in_its_place(replica):
    for name in ("NaN", "Infinity"):
        answer = replica.ask("POST", "/predict", content=f'{{"rows": [{{"dél": {name}}}]}}'.encode())
        assert answer.status_code == 400
        assert f"{name} is no JSON value" in answer.json()["error"]
        assert answer.json()["hint"] == "send null where a value is missing"


def test_rules_of_the_configuration(model):
    rules = InputSection(categories="refuse", ranges={"distance": (0, 6000), "delay": (None, 0.1)})
    replica = HeldReplica(model, serving=ServingSection(input=rules))
    good = {"delay": 0.1, "distance": 6000, "carrier": None}
    bad = {"delay": 0.11, "distance": -1, "carrier": "ZZ"}
    assert replica.ask("POST", "/predict", json={"rows": [good]}).status_code == 200
    expected = {
        "delay": "is 0.11; at most 0.1 is allowed",
        "distance": "is -1; 0 to 6000 is allowed",
        "carrier": "is 'ZZ'; the model knows 'AA', 'B6', 'UA'",
    }
    rows = [good, bad]
    for name, place in (
        ("rows", "$.rows[1].{}"),
        ("columns", "$.columns.{}[1]"),
        ("arrow", "$.{}[1]"),
        ("records", "$.dataframe_records[1].{}"),
        ("inputs", "$.inputs.{}[1]"),
        ("csv", "$.{}[1]"),
    ):
        content, headers = WAYS[name].request(rows)
        answer = replica.ask("POST", WAYS[name].path, content=content, headers=headers)
        assert answer.status_code == 422, name
        assert told(answer) == {place.format(key): text for key, text in expected.items()}, name
    content, headers = WAYS["tensors"].request(rows)
    answer = replica.ask("POST", INFER.format(model=NAME), content=content, headers=headers)
    for j, text in enumerate(expected.values()):
        assert f"$.inputs[{j}].data[1] {text}" in answer.json()["error"]


def test_paths_and_methods_that_nobody_serves(replica):
    for method, path, status in (
        ("GET", "/predict", 405),
        ("POST", "/health", 405),
        ("DELETE", "/feedback", 405),
        ("PUT", INFER.format(model=NAME), 405),
        ("POST", f"/v2/models/{NAME}", 405),
        ("GET", "/", 404),
        ("GET", "", 404),
        ("POST", "/predikt", 404),
        ("POST", "/predict/", 404),
        ("GET", "/v2/models", 404),
        ("GET", f"/v2/models/{NAME}/", 404),
        ("GET", f"/v2/models/{NAME}/versions", 404),
        ("GET", f"/v2/models/{NAME}/versions/1/more", 404),
        ("GET", "/v2/models/another", 404),
        ("POST", "/v2/models/another/infer", 404),
        ("GET", f"/v2/models/{NAME}/versions/8", 404),
    ):
        before = replica.refused(status)
        answer = replica.ask(method, path)
        assert answer.status_code == status, (method, path)
        assert answer.json()["error"]
        assert replica.refused(status) == before + 1
        assert ("allow" in answer.headers) == (status == 405)
    assert replica.ask("GET", "/predict").headers["allow"] == "POST"
    assert replica.ask("POST", "/health").headers["allow"] == "GET, HEAD"
    assert replica.ask("HEAD", "/health").status_code == 200


def test_nothing_of_the_inside_is_told(model, monkeypatch, caplog):
    replica = HeldReplica(model)
    monkeypatch.setattr(replica.answerer, "answer", lambda *_: 1 / 0)
    for way in WAYS.values():
        content, headers = way.request([ROW])
        headers |= {"X-Request-Id": "mine"}
        answer = replica.ask("POST", way.path.format(model=NAME), content=content, headers=headers)
        assert answer.status_code == 500
        assert answer.json() == {"error": "the model could not answer", "request_id": "mine"}
    assert "ZeroDivisionError" in caplog.text


KEY = "sw_0123abcd_" + "s" * 43


@pytest.fixture(scope="module")
def guarded(model, tmp_path_factory):
    other = train_grades(tmp_path_factory.mktemp("other"), seed=9)
    return HeldReplica(model, warm={"2": other}, keys=True)


def let_in(replica, *scopes):
    replica.guard.follow([ApiKey("0123abcd", "mine", digest_of("s" * 43), scopes, "", 0.0, None)])
    return {"Authorization": f"Bearer {KEY}"}


def test_health_is_open_and_everything_else_needs_a_key(guarded):
    let_in(guarded, "predict")
    for path in ("/health", "/ready", "/ping", "/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}/ready"):
        assert guarded.ask("GET", path).status_code == 200, path
    closed = [("GET", path) for path in ("/docs", "/openapi.json", "/v2", "/version", f"/v2/models/{NAME}")]
    closed += [("POST", path) for path in ("/predict", "/invocations", "/feedback", INFER.format(model=NAME))]
    for method, path in closed:
        answer = guarded.ask(method, path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), path


def test_a_key_opens_what_it_is_for(guarded):
    feedback = {"feedback": [{"request_id": "a", "outcome": 1}]}
    headers = let_in(guarded, "predict")
    assert guarded.ask("POST", "/predict", json={"rows": [ROW]}, headers=headers).status_code == 200
    assert guarded.ask("POST", "/feedback", json=feedback, headers=headers).status_code == 403
    headers = let_in(guarded, "feedback")
    assert guarded.ask("POST", "/predict", json={"rows": [ROW]}, headers=headers).status_code == 403
    assert guarded.ask("POST", "/feedback", json=feedback, headers=headers).status_code == 200
    assert guarded.feedback[-1].request_id == "a"


def test_a_version_is_named_by_an_admin_only(guarded):
    body = {"inputs": tensors_of([ROW])}
    of_version = f"/v2/models/{NAME}/versions/{{}}"
    headers = let_in(guarded, "predict")
    for version in ("1", "2"):
        named = {**headers, "X-Model-Version": version}
        assert guarded.ask("POST", "/predict", json={"rows": [ROW]}, headers=named).status_code == 403
        assert guarded.ask("POST", INFER.format(model=NAME), json=body, headers=named).status_code == 403
    answer = guarded.ask("POST", f"{of_version.format(1)}/infer", json=body, headers=headers)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "1")
    assert guarded.ask("POST", f"{of_version.format(2)}/infer", json=body, headers=headers).status_code == 403
    assert guarded.ask("GET", of_version.format(2), headers=headers).status_code == 403
    assert guarded.ask("GET", f"/v2/models/{NAME}", headers=headers).json()["versions"] == ["1"]
    headers = let_in(guarded, "admin")
    named = {**headers, "X-Model-Version": "2"}
    answer = guarded.ask("POST", "/predict", json={"rows": [ROW]}, headers=named)
    assert (answer.status_code, answer.json()["version"]) == (200, "2")
    assert "probabilities" in answer.json()["predictions"][0]
    answer = guarded.ask("POST", f"{of_version.format(2)}/infer", json=body, headers=headers)
    assert (answer.status_code, answer.json()["model_version"]) == (200, "2")
    assert guarded.ask("POST", f"{of_version.format(1)}/infer", json=body, headers=named).status_code == 400
    assert guarded.ask("GET", f"/v2/models/{NAME}", headers=headers).json()["versions"] == ["1", "2"]
    assert len(guarded.ask("GET", of_version.format(2), headers=headers).json()["outputs"]) == 3
    missing = {**headers, "X-Model-Version": "9"}
    assert guarded.ask("POST", "/predict", json={"rows": [ROW]}, headers=missing).status_code == 404


def test_what_is_told_back_is_cut(replica):
    name = "x" * 50_000
    answer = replica.ask("POST", "/predict", json={"rows": [{**ROW, name: 1, "carrier": name}]})
    assert answer.status_code == 422
    assert len(answer.content) < 1000
    answer = replica.ask("POST", "/predict", json={"rows": [{"a": 1}] * 1000})
    assert len(answer.json()["problems"]) == 101
    assert answer.json()["problems"][-1] == {"path": "$.rows", "problem": "3900 more problems"}


def test_rows_of_examples_pass(replica):
    matrix, _ = examples(5, seed=1)
    assert replica.ask("POST", "/predict", json={"rows": as_rows(matrix)}).status_code == 200


BODIES = st.binary(max_size=300) | st.text(max_size=100).map(str.encode)
TYPES = st.sampled_from(["application/json", ARROW, "application/octet-stream", "text/csv", "text/html", ""])
LENGTHS = st.none() | st.integers(-2, 400).map(str)
PATHS = st.sampled_from(["/predict", "/invocations", "/feedback", INFER.format(model=NAME)])


@example(path="/invocations", body=b"\x80\n1\n", kind="text/csv", length=None)
@given(path=PATHS, body=BODIES, kind=TYPES, length=LENGTHS)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_answered_with_a_refusal(replica, path, body, kind, length):
    headers = {"Content-Type": kind} | ({} if length is None else {"Inference-Header-Content-Length": length})
    answer = replica.ask("POST", path, content=body, headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"]


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_tensors_with_damaged_bytes_are_scored_or_refused(replica, data):
    tensors = tensors_of([ROW] * 3)
    raw = [np.array([1.0, 2.0, 3.0]).tobytes(), np.array([1, 2, 3], "<f8").tobytes(), b"\x02\0\0\0AA" * 3]
    for tensor, part in zip(tensors, raw, strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(part)}
    head = json.dumps({"inputs": tensors}).encode()
    whole = bytearray(head + b"".join(raw))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = replica.ask("POST", INFER.format(model=NAME), content=bytes(whole), headers=headers)
    assert answer.status_code in (200, 400, 413, 422), answer.text
