"""An endpoint on a real Serve, asked over real HTTP."""

import concurrent.futures
import itertools
import json
import threading
import time
import urllib.request
from collections import Counter

import httpx
import numpy as np
import pytest

from serving_models import GRADES, as_rows, examples, train_grades, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import BreakerSection, ServingSection
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.scorer import BundleScorer
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

NAME = "flights_late"


class Endpoint:
    """A running endpoint and everything that a test asks it."""

    def __init__(self, folder):
        from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415
        from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

        self.url_of_catalog = f"sqlite:///{folder / 'catalog.db'}"
        self.engine = open_catalog(self.url_of_catalog)
        self.traffic_store, self.records = TrafficStore(self.engine), RecordStore(self.engine)
        # A drill of many failures: what a breaker does is told elsewhere.
        breaker = BreakerSection(errors_total=1000)
        self.serving = ServingSection(port=0, challenger_timeout_seconds=5.0, breaker=breaker)
        self.address = start_serve(self.serving)
        self.spec = EndpointSpec(NAME, f"/{NAME}", self.url_of_catalog, self.serving)
        deploy_endpoint(self.spec)
        self.traffic = ServeTraffic(NAME, self.traffic_store)
        self.client = httpx.Client(base_url=f"{self.address.url}/{NAME}", timeout=30)
        self.models = {
            "1": train_small(folder, seed=1),
            "2": train_small(folder, seed=2),
            "3": train_small(folder, seed=3, flipped=True),
            "grades": train_grades(folder, seed=4),
            "more grades": train_grades(folder, seed=5, grades=("cancelled", *GRADES)),
        }
        self.scorers = {version: BundleScorer(model.bundle, threads=1) for version, model in self.models.items()}
        self._ids = itertools.count()

    def route(self, champion, *challengers):
        """Publish and apply the next generation; a challenger is (version, weight, application)."""
        current = self.traffic.current()
        document = TrafficDocument(
            NAME,
            (current.generation if current else 0) + 1,
            self.models[champion].arm(champion, 1 - sum(weight for _, weight, _ in challengers)),
            tuple(self.models[version].arm(version, weight, app) for version, weight, app in challengers),
        )
        self.traffic_store.publish(document)
        self.traffic.apply(document)
        return document.generation

    def challenger(self, version, raise_every=None):
        """Deploy a challenger."""
        from sluiceway.serving.deploy import deploy_challenger  # noqa: PLC0415

        model = self.models[version]
        spec = ChallengerSpec(NAME, version, str(model.folder), model.bundle.digest, raise_every, self.serving)
        return deploy_challenger(spec)

    def send(self, rows, **headers):
        """POST rows."""
        return self.client.post("/predict", json={"rows": rows}, headers=headers)

    def send_many(self, n, *, seed=9):
        """Send n single rows over four connections; their answers, with the row's true outcome."""
        matrix, labels = examples(n, seed=seed)
        rows = as_rows(matrix)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            responses = list(pool.map(lambda row: self.send([row]), rows))
        assert {response.status_code for response in responses} == {200}
        return [response.json() for response in responses], matrix, labels

    def settled(self, check, seconds=5.0):
        """Wait for what replicas write four times a second."""
        deadline = time.monotonic() + seconds
        while not check() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert check()

    def counts(self, generation):
        """Requests and errors by arm and version."""
        return {(c.arm, c.version): (c.requests, c.errors) for c in self.records.counts(NAME, [generation])}


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory):
    """One endpoint for the module; before its first traffic it has no model."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    running = Endpoint(tmp_path_factory.mktemp("endpoint"))
    waiting = running.send([{}])
    assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "1")
    assert running.client.get("/ready").status_code == 503
    assert running.client.get("/health").json() == {"endpoint": NAME, "ready": False}
    running.route("1")
    yield running
    running.client.close()
    stop_serve()
    running.engine.dispose()


def expected(endpoint, version, matrix):
    return endpoint.scorers[version].score_matrix(matrix)


def test_answers_equal_the_model(endpoint):
    endpoint.route("1")
    matrix, _ = examples(40, seed=4)
    response = endpoint.send(as_rows(matrix), **{"X-Request-Id": "mine-1"})
    body = response.json()
    np.testing.assert_allclose([p["score"] for p in body["predictions"]], expected(endpoint, "1", matrix), atol=1e-6)
    assert [p["decision"] for p in body["predictions"]] == [float(p["score"] >= 0.5) for p in body["predictions"]]
    assert (body["model"], body["version"], body["arm"]) == (NAME, "1", "champion")
    assert body["request_id"] == "mine-1"
    assert response.headers.get_list("x-request-id") == ["mine-1"]
    health = endpoint.client.get("/health").json()
    assert health["arms"] == [{"arm": "champion", "version": "1", "weight": 1.0}]


@pytest.mark.parametrize(
    ("content", "status", "path"),
    [
        (b'{"rows": [', 400, None),
        (b'{"rows": [{"delay": 1, "distance": 2}]}', 422, "$.rows[0].carrier"),
        (b'{"rows": [{"delay": 1, "distance": 2, "carrier": "AA", "gate": 7}]}', 422, "$.rows[0].gate"),
        (b'{"rows": [{"delay": "late", "distance": 2, "carrier": "AA"}]}', 422, "$.rows[0].delay"),
        (b'{"rows": [{"delay": 1e999, "distance": 2, "carrier": "AA"}]}', 422, "$.rows[0].delay"),
        (b'{"rows": [{"delay": 1, "distance": 2, "carrier": "AA"}], "model": 1}', 422, "$.model"),
        (b'{"rows": "' + b"x" * 10_000_000 + b'"}', 413, None),
        (json.dumps({"rows": [{}] * 1001}).encode(), 413, None),
    ],
    ids=["malformed", "missing", "extra", "type", "infinity", "key", "10 MB", "rows"],
)
def test_a_bad_request_is_told_what_is_wrong(endpoint, content, status, path):
    response = endpoint.client.post("/predict", content=content)
    assert response.status_code == status
    body = response.json()
    assert body["error"]
    if path:
        assert path in [problem["path"] for problem in body["problems"]]
    assert endpoint.send(as_rows(examples(1, seed=1)[0])).status_code == 200


def test_a_stream_without_a_length_is_cut_off(endpoint):
    def parts():
        for _ in range(30):
            yield b" " * 100_000

    assert endpoint.client.post("/predict", content=parts()).status_code == 413


def test_a_path_or_method_that_nobody_serves_is_told_in_json(endpoint):
    for method, path, status in (("GET", "/predict", 405), ("GET", "/", 404), ("POST", "/predikt", 404)):
        answer = endpoint.client.request(method, path)
        assert answer.status_code == status
        assert answer.json()["hint"] == "GET /docs lists what is served here"


def test_an_unknown_category_is_missing_and_counted(endpoint):
    row = {"delay": 3.0, "distance": 500.0, "carrier": "ZZ"}
    before = scraped(endpoint, "unseen_categories_total")
    answer, missing = (endpoint.send([one]).json() for one in (row, {**row, "carrier": None}))
    assert answer.pop("unseen_categories") == 1
    assert answer | {"request_id": ""} == missing | {"request_id": ""}
    assert scraped(endpoint, "unseen_categories_total") == before + 1


def scraped(endpoint, name):
    """The sum of a series over the endpoint's replicas, read as Prometheus reads it."""
    found = []
    endpoint.settled(lambda: bool(LeaseStore(endpoint.engine).list("metrics:")))
    for lease in LeaseStore(endpoint.engine).list("metrics:"):
        text = urllib.request.urlopen(f"http://{json.loads(lease.body)['address']}/metrics").read().decode()
        found += [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + "{")]
    return sum(found)


def test_the_weights_are_followed_and_pairs_are_scored(endpoint):
    application = endpoint.challenger("2")
    for weight, n in ((0.0, 100), (0.25, 400), (1.0, 100)):
        generation = endpoint.route("1", ("2", weight, application))
        answers, matrix, _ = endpoint.send_many(n)
        arms = Counter(answer["arm"] for answer in answers)
        # Five standard errors of a quarter in 400 draws.
        assert abs(arms["challenger"] / n - weight) <= (0.11 if 0 < weight < 1 else 0)
        for i, answer in enumerate(answers):
            score = expected(endpoint, answer["version"], matrix[i : i + 1])[0]
            assert answer["predictions"][0]["score"] == pytest.approx(score, abs=1e-6)
        counted = {("champion", "1"): (arms["champion"], 0), ("challenger", "2"): (arms["challenger"], 0)}
        endpoint.settled(lambda g=generation, c=counted: endpoint.counts(g) == c)
        endpoint.settled(
            lambda g=generation, k=arms: endpoint.records.pairs(NAME, "2", [g]).predictions == k["challenger"]
        )
    assert "failover" not in answers[0]


def test_feedback_joins_the_pairs_once_and_durably(endpoint):
    application = endpoint.challenger("3")
    generation = endpoint.route("1", ("3", 1.0, application))
    answers, matrix, labels = endpoint.send_many(120, seed=21)
    entries = [
        {"request_id": answer["request_id"], "outcome": int(label)}
        for answer, label in zip(answers, labels, strict=True)
    ]
    begun = time.perf_counter()
    response = endpoint.client.post("/feedback", json={"feedback": entries})
    assert (response.status_code, response.json()["accepted"]) == (200, 120)
    assert time.perf_counter() - begun < 2
    turned = [{**entry, "outcome": 1 - entry["outcome"]} for entry in entries]
    assert endpoint.client.post("/feedback", json={"feedback": turned}).status_code == 200
    # Acknowledged means that another connection sees it at once.
    endpoint.settled(lambda: endpoint.records.pairs(NAME, "3", [generation]).n == 120)
    pairs = endpoint.records.pairs(NAME, "3", [generation])
    champion = (expected(endpoint, "1", matrix) >= 0.5) == labels
    challenger = (expected(endpoint, "3", matrix) >= 0.5) == labels
    assert pairs.both_right == int((champion & challenger).sum())
    assert pairs.only_champion_right == int((champion & ~challenger).sum())
    assert pairs.only_challenger_right == int((~champion & challenger).sum())
    assert pairs.outcomes_without_prediction == 0
    endpoint.route("1")


def test_several_classes_are_answered_and_counted_by_both_arms(endpoint):
    application = endpoint.challenger("more grades")
    generation = endpoint.route("grades", ("more grades", 0.5, application))
    answers, matrix, _ = endpoint.send_many(80, seed=22)
    for i, answer in enumerate(answers):
        scores = expected(endpoint, answer["version"], matrix[i : i + 1])[0]
        classes = GRADES if answer["version"] == "grades" else ("cancelled", *GRADES)
        assert answer["classes"] == list(classes)
        assert answer["predictions"][0]["probabilities"] == pytest.approx(scores.tolist(), abs=1e-6)
        assert answer["predictions"][0]["decision"] == classes[scores.argmax()]
    assert {answer["arm"] for answer in answers} == {"champion", "challenger"}
    assert not any(answer.get("failover") for answer in answers)
    entries = [{"request_id": a["request_id"], "outcome": a["predictions"][0]["decision"]} for a in answers]
    assert endpoint.client.post("/feedback", json={"feedback": entries}).json()["accepted"] == 80
    asked = sum(answer["arm"] == "challenger" for answer in answers)
    endpoint.settled(lambda: endpoint.records.pairs(NAME, "more grades", [generation]).n == asked)
    pairs = endpoint.records.pairs(NAME, "more grades", [generation])
    assert pairs.both_right + pairs.only_challenger_right == asked
    refused = endpoint.client.post("/feedback", json={"feedback": [{"request_id": "x", "outcome": "diverted"}]})
    assert refused.status_code == 422
    told = "has to be early, late, on time or cancelled, not diverted"
    assert refused.json()["problems"] == [{"path": "$.feedback[0].outcome", "problem": told}]
    endpoint.route("1")


@pytest.mark.parametrize("entry", [{"request_id": "x", "outcome": 2}, {"outcome": 1}])
def test_feedback_with_a_problem_is_refused_whole(endpoint, entry):
    good = {"request_id": "never stored", "outcome": 1}
    response = endpoint.client.post("/feedback", json={"feedback": [{**good, "request_id": "never"}, entry]})
    assert response.status_code == 422
    assert response.json()["problems"][0]["path"].startswith("$.feedback[1]")


def test_a_faulty_challenger_is_seen_in_the_counts_and_not_by_clients(endpoint):
    application = endpoint.challenger("2", raise_every=3)
    generation = endpoint.route("1", ("2", 0.5, application))
    answers, matrix, _ = endpoint.send_many(240, seed=30)
    failovers = [i for i, answer in enumerate(answers) if answer.get("failover")]
    served = Counter(answer["arm"] for answer in answers)
    asked = served["challenger"] + len(failovers)
    assert len(failovers) == asked // 3
    for i in failovers:
        assert (answers[i]["arm"], answers[i]["version"]) == ("champion", "1")
        score = expected(endpoint, "1", matrix[i : i + 1])[0]
        assert answers[i]["predictions"][0]["score"] == pytest.approx(score, abs=1e-6)
    counted = {
        ("champion", "1"): (served["champion"] - len(failovers), 0),
        ("challenger", "2"): (asked, len(failovers)),
    }
    endpoint.settled(lambda: endpoint.counts(generation) == counted)
    endpoint.route("1")


def test_a_challenger_that_is_gone_is_a_failure_of_its_own(endpoint):
    generation = endpoint.route("1", ("2", 1.0, "no-such-application"))
    answer = endpoint.send(as_rows(examples(1, seed=1)[0])).json()
    assert (answer["arm"], answer["failover"]) == ("champion", True)
    endpoint.settled(lambda: endpoint.counts(generation).get(("challenger", "2")) == (1, 1))
    endpoint.route("1")


def test_promotion_under_load_loses_no_request(endpoint):
    endpoint.route("1")
    row = as_rows(examples(1, seed=5)[0])
    stop, seen, failed = threading.Event(), [], []

    def load():
        with httpx.Client(base_url=str(endpoint.client.base_url), timeout=30) as client:
            while not stop.is_set():
                response = client.post("/predict", json={"rows": row})
                (seen if response.status_code == 200 else failed).append(response.json())

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    for champion in ("2", "1", "3", "1"):
        time.sleep(0.3)
        endpoint.route(champion)
        fresh = endpoint.send(row).json()
        assert fresh["version"] == champion
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {answer["version"] for answer in seen} == {"1", "2", "3"}


def test_a_lower_generation_is_ignored_and_the_newest_is_found_alone(endpoint):
    newest = endpoint.traffic.current()
    older = TrafficDocument(NAME, newest.generation - 1, endpoint.models["3"].arm("3", 1.0))
    endpoint.traffic.apply(older)
    row = as_rows(examples(1, seed=1)[0])
    assert endpoint.send(row).json()["version"] == newest.champion.version
    document = TrafficDocument(NAME, newest.generation + 1, endpoint.models["2"].arm("2", 1.0))
    endpoint.traffic_store.publish(document)  # and nobody tells the replicas
    endpoint.settled(lambda: endpoint.send(row).json()["version"] == "2")
    endpoint.route("1")


def test_a_damaged_bundle_leaves_the_champion_where_it_is(endpoint, tmp_path):
    current = endpoint.traffic.current()
    model = train_small(tmp_path, seed=8)
    (model.folder / "model.ubj").write_bytes(b"{" + b"\0" * 100)
    document = TrafficDocument(NAME, current.generation + 1, model.arm("9", 1.0))
    endpoint.traffic_store.publish(document)
    impatient = type(endpoint.traffic)(NAME, endpoint.traffic_store, timeout_seconds=2)
    with pytest.raises(BackendError, match="did not follow"):
        impatient.apply(document)
    answer = endpoint.send(as_rows(examples(1, seed=1)[0])).json()
    assert answer["version"] == current.champion.version
    endpoint.route("1")


def test_deploying_again_and_removing_challengers_leaves_other_applications(endpoint):
    from ray import serve  # noqa: PLC0415

    from sluiceway.serving.deploy import deploy_endpoint, remove_challenger, remove_unasked  # noqa: PLC0415

    begun = time.perf_counter()
    deploy_endpoint(endpoint.spec)
    assert time.perf_counter() - begun < 5
    before = set(serve.status().applications)
    removed = endpoint.challenger("2", raise_every=3)
    remove_unasked(NAME, asked=before - {removed})
    remove_challenger("never there")
    endpoint.settled(lambda: set(serve.status().applications) == before - {removed}, seconds=20)
    assert endpoint.send(as_rows(examples(1, seed=1)[0])).status_code == 200


@pytest.mark.soak  # Serve tries twice; what a damaged bundle does to the champion is above
def test_a_challenger_whose_bundle_is_damaged_does_not_come_up(endpoint, tmp_path):
    from sluiceway.serving.deploy import deploy_challenger, remove_challenger  # noqa: PLC0415

    model = train_small(tmp_path, seed=8)
    (model.folder / "lineage.json").write_text("{}")
    spec = ChallengerSpec(NAME, "9", str(model.folder), model.bundle.digest, None, endpoint.serving)
    with pytest.raises(BackendError, match="digest"):
        deploy_challenger(spec)
    remove_challenger(spec.application)
