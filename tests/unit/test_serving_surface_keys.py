"""What the port of an endpoint offers to whom: no path of it changes anything but what feedback adds."""

import asyncio
import itertools

import pytest

from serving_clients import INFER
from serving_models import as_rows, examples, train_small
from serving_replica import NAME, HeldReplica
from sluiceway.catalog.api_keys import ADMIN, ApiKeyStore
from sluiceway.catalog.engine import empty_catalog
from sluiceway.core.errors import BackendError, ModelError, NotReadyError, RequestError
from sluiceway.serving.exchange import Exchange

KEYS = ApiKeyStore(empty_catalog())
ADMIN_KEY = KEYS.create("admin", scopes=[ADMIN])
HEADERS = {"Authorization": f"Bearer {ADMIN_KEY.token}"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "LOAD")
SCORING = {"/predict", "/invocations", INFER.format(model=NAME), f"/v2/models/{NAME}/versions/1/infer"}
ADDING = {"/feedback"}
# What servers of this kind offer to administrators, and what ours offers elsewhere.
ELSEWHERE = (
    "/admin",
    "/keys",
    "/keys/revoke",
    "/traffic",
    "/apply",
    "/read_keys",
    "/describe",
    "/metrics",
    "/shutdown",
    "/reload",
    "/v2/repository/index",
    f"/v2/repository/models/{NAME}/load",
    f"/v2/repository/models/{NAME}/unload",
    f"/v2/models/{NAME}/load",
    f"/v2/models/{NAME}/config",
    f"/v2/models/{NAME}/stats",
    f"/v2/models/{NAME}/trace/setting",
    "/v2/logging",
    "/api/serve/applications/",
)
ROWS = {"rows": as_rows(examples(2, seed=2)[0])}
SECRET = "/srv/private/catalog.db?password=hunter2"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("model"), seed=1)


@pytest.fixture
def replica(model):
    made = HeldReplica(model, keys=True)
    made.guard.follow(KEYS.list())
    return made


def operations(replica):
    """Every path that the surface knows, with its method and scope."""
    surface = replica.app
    found = {path: (one.method, one.scope) for path, one in surface._operations.items()}
    for rest, (method, _, scope) in surface._of_model.items():
        for of_version in ("", "/versions/1"):
            asked = scope or ("predict" if of_version else None)
            found[f"/v2/models/{NAME}{of_version}/{rest}".rstrip("/")] = (method, asked)
    return found


def test_every_path_reads_scores_or_adds_feedback(replica):
    found = operations(replica)
    assert {path for path, (method, _) in found.items() if method != "GET"} == SCORING | ADDING
    assert {method for method, _ in found.values()} == {"GET", "POST"}
    assert {path: scope for path, (method, scope) in found.items() if method == "POST"} == {
        **dict.fromkeys(SCORING, "predict"),
        **dict.fromkeys(ADDING, "feedback"),
    }
    # Nothing asks for more than a client's key has: what an administrator alone may do is not here.
    assert {scope for _, scope in found.values()} == {"predict", "feedback", None}


def test_no_path_is_hidden_from_the_documentation(replica):
    told = replica.ask("GET", "/openapi.json", headers=HEADERS).json()["paths"]
    paths = {path.replace("{version}", "1"): set(methods) for path, methods in told.items()}
    assert paths == {path: {method.lower()} for path, (method, _) in operations(replica).items()}


def test_every_path_but_the_probes_asks_for_a_key(replica):
    for path, (method, scope) in operations(replica).items():
        answer = replica.ask(method, path)
        assert answer.status_code == (200 if scope is None else 401), path
        if scope is None:
            assert ("version" in answer.text, "weight" in answer.text) == (False, False), path


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/predict", {"X-Request-Id": "no spaces please"}, 400),
        ("POST", INFER.format(model="another"), {}, 404),
        ("GET", "/v2/models/another/versions/1", {}, 404),
        ("GET", f"/v2/models/{NAME}/nothing", {}, 404),
        ("GET", "/nothing", {}, 404),
        ("PUT", "/predict", {}, 405),
        ("POST", "/version", {}, 405),
    ],
)
def test_what_is_refused_before_the_key_tells_nothing_of_models(replica, method, path, headers, status):
    answer = replica.ask(method, path, headers=headers, json=ROWS)
    assert answer.status_code == status
    told = answer.text + str(dict(answer.headers))
    secret = (*ROWS["rows"][0], "champion", "weight", "version", replica.route.champion.arm.digest)
    assert not [one for one in secret if one in told]


@pytest.mark.parametrize("path", sorted(SCORING | ADDING))
def test_no_body_is_read_before_the_key(replica, path):
    sent = []

    async def receive():
        raise AssertionError("the body is read")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": [(b"content-length", b"10")]}
    asyncio.run(replica.app(scope, receive, send))
    assert sent[0]["status"] == 401


def test_whatever_an_administrator_sends_changes_nothing(replica):
    route, known = replica.route, dict(replica.guard._known)
    for method, path in itertools.product(METHODS, [*operations(replica), *ELSEWHERE]):
        answer = replica.ask(method, path, headers=HEADERS, content=b"{}")
        assert answer.status_code in (200, 400, 404, 405, 415, 422), (method, path)
        if path in ELSEWHERE:
            assert answer.status_code == 404, (method, path)
    assert replica.route is route
    assert replica.guard._known == known
    assert replica.feedback == []


def raising(error):
    async def fails(*_args, **_kwargs):
        raise error

    return fails


ERRORS = [
    RuntimeError(SECRET),
    KeyError(SECRET),
    FileNotFoundError(2, "No such file", SECRET),
    ModelError(SECRET, hint=SECRET),
    BackendError(SECRET, hint=SECRET, path=SECRET),
    RecursionError(SECRET),
    MemoryError(SECRET),
    ExceptionGroup(SECRET, [ValueError(SECRET)]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_with_a_secret_in_its_text_does_not_reach_the_client(replica, error, monkeypatch, caplog):
    monkeypatch.setattr(replica.answerer, "answer", raising(error))
    monkeypatch.setattr(replica.ledger, "feedback", raising(error))
    feedback = {"feedback": [{"request_id": "r", "outcome": 1}]}
    for path, body in (("/predict", ROWS), ("/feedback", feedback)):
        answer = replica.ask("POST", path, json=body, headers=HEADERS | {"X-Request-Id": "mine"})
        assert answer.status_code == (503 if isinstance(error, BackendError) else 500)
        assert answer.json()["request_id"] == "mine"
        told = answer.text + str(answer.headers)
        for part in ("private", "catalog.db", "hunter2", "Traceback", type(error).__name__):
            assert part not in told
    assert "hunter2" in caplog.text  # who looks after it finds it there


def test_an_error_in_the_guard_itself_lets_nobody_through(replica, monkeypatch):
    def broken(*_):
        raise RuntimeError(SECRET)

    monkeypatch.setattr(replica.guard, "admit", broken)
    answer = replica.ask("POST", "/predict", json=ROWS, headers=HEADERS)
    assert answer.status_code == 500
    assert "predictions" not in answer.text


@pytest.mark.parametrize("error", [RequestError("no", status=401), NotReadyError("not yet")], ids=["401", "not yet"])
def test_who_is_not_let_in_is_not_read(replica, error, monkeypatch):
    """Neither the body nor the model: a stranger costs a look into a dictionary."""

    def refuses(*_):
        raise error

    monkeypatch.setattr(replica.guard, "admit", refuses)
    monkeypatch.setattr(replica.answerer, "answer", lambda *_: pytest.fail("the model was asked"))
    monkeypatch.setattr(Exchange, "body", lambda *_: pytest.fail("the body was read"))
    answer = replica.ask("POST", "/predict", json=ROWS, headers=HEADERS)
    assert answer.status_code == (401 if isinstance(error, RequestError) else 503)


def test_without_a_key_nobody_learns_which_version_answers(replica):
    assert replica.ask("GET", f"/v2/models/{NAME}/ready").status_code == 200
    for version in ("1", "2"):
        path = f"/v2/models/{NAME}/versions/{version}/ready"
        assert replica.ask("GET", path).status_code == 401
        assert replica.ask("GET", path, headers=HEADERS).status_code == (200 if version == "1" else 404)
