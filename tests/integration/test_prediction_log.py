"""The log of an endpoint's predictions: real replicas, a real recorder that is killed, a real Delta table."""

import json
import os
import signal
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pyarrow.compute as pc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving_models import as_rows, examples, train_numbers, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import PredictionLogSection, ServingSection
from sluiceway.core.traffic import TrafficDocument
from sluiceway.data.history import log as history
from sluiceway.data.tables import is_table, open_table
from sluiceway.serving.record_batches import LogPlan
from sluiceway.serving.specs import EndpointSpec

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

SAMPLE = 0.5


class Endpoint:
    """A running endpoint with a log."""

    def __init__(self, folder, name, **log):
        from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415

        url = f"sqlite:///{folder / 'catalog.db'}"
        self.name, self.engine = name, open_catalog(url)
        self.records, self.leases = RecordStore(self.engine), LeaseStore(self.engine)
        self.table = str(folder / "predictions")
        self.model = train_small(folder, seed=1)
        TrafficStore(self.engine).publish(TrafficDocument(name, 1, self.model.arm("1", 1.0)))
        serving = ServingSection(port=0, log=PredictionLogSection(flush_seconds=1.0, **log))
        address = start_serve(serving)
        deploy_endpoint(EndpointSpec(name, f"/{name}", url, serving, self.table))
        self.client = httpx.Client(base_url=f"{address.url}/{name}", timeout=30)

    def rows(self, columns=None):
        """What is in the table now."""
        return open_table(self.table).to_pyarrow_table(columns=columns) if is_table(self.table) else None

    def settled(self, check, seconds=30.0):
        """Wait for what becomes true soon."""
        deadline = time.monotonic() + seconds
        while not check() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert check()

    def scraped(self, name, component):
        """The sum of a series over the live processes of a kind, as Prometheus reads it."""
        total = 0.0
        for lease in self.leases.list(METRICS_LEASES):
            body = json.loads(lease.body)
            if body["component"] != component:
                continue
            try:
                text = urllib.request.urlopen(f"http://{body['address']}/metrics", timeout=5).read().decode()
            except OSError:  # of a process that was killed; its lease ends
                continue
            samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
            total += sum(sample.value for sample in samples if sample.name == name)
        return total

    def recorder_pid(self):
        """The process of the recorder, by the title that Ray gives it."""
        title = f"ray::ServeReplica:{self.name}:Recorder".encode()
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if entry.read_bytes().startswith(title):
                    return int(entry.parent.name)
            except OSError:
                continue
        return None


@pytest.fixture(scope="module")
def serving(ray_cluster):
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    yield
    stop_serve()


@pytest.fixture(scope="module")
def endpoint(serving, tmp_path_factory):
    running = Endpoint(tmp_path_factory.mktemp("log"), "flights_log", sample=SAMPLE, drop=("delay",), hash=("carrier",))
    yield running
    running.client.close()
    running.engine.dispose()


@pytest.fixture(scope="module")
def busy(serving, tmp_path_factory):
    running = Endpoint(tmp_path_factory.mktemp("busy"), "flights_busy")
    yield running
    running.client.close()
    running.engine.dispose()


def test_what_is_logged_is_what_was_answered(endpoint):
    matrix, _ = examples(60, seed=4)
    answers = {}
    for i, row in enumerate(as_rows(matrix[:40])):
        headers = {"X-Request-Id": f"single-{i}", "X-Routing-Key": f"customer {i % 7}"}
        answers[f"single-{i}"] = endpoint.client.post("/predict", json={"rows": [row]}, headers=headers).json()
    for i in range(10):
        headers = {"X-Request-Id": f"pair-{i}"}
        body = {"rows": as_rows(matrix[40 + 2 * i : 42 + 2 * i])}
        answers[f"pair-{i}"] = endpoint.client.post("/predict", json=body, headers=headers).json()
    expected = {}
    plan = LogPlan(SAMPLE)
    for name, answer in answers.items():
        for row, prediction in enumerate(answer["predictions"]):
            request = name if len(answer["predictions"]) == 1 else f"{name}/{row}"
            expected[request] = (prediction["score"], prediction["decision"], plan.takes(name))
    chosen = {name for name, (_, _, taken) in expected.items() if taken}
    assert 0 < len(chosen) < len(expected)
    endpoint.settled(lambda: endpoint.rows() is not None and endpoint.rows().num_rows == len(chosen))
    rows = {row["request_id"]: row for row in endpoint.rows().to_pylist()}
    assert set(rows) == chosen
    for name, row in rows.items():
        assert (row["score"], row["decision"]) == pytest.approx(expected[name][:2], abs=1e-6)
        assert (row["endpoint"], row["arm"], row["version"], row["generation"]) == (endpoint.name, "champion", "1", 1)
        assert 0 < row["latency_seconds"] < 30
        assert abs(row["time"].timestamp() - time.time()) < 300
        assert row["day"] == row["time"].date()
    keys = {row["key_hash"] for name, row in rows.items() if name.startswith("single")}
    assert 1 < len(keys) <= 7
    assert {row["key_hash"] for name, row in rows.items() if name.startswith("pair")} <= {None}
    # The dropped feature is nowhere, of the hashed one there are as many hashes as values.
    assert [name for name in next(iter(rows.values())) if name.startswith(("numeric", "category", "hashed"))] == [
        "numeric_distance",
        "hashed_carrier",
    ]
    assert len({row["hashed_carrier"] for row in rows.values()}) == 3
    # The catalog has all of them, for the rollout.
    endpoint.settled(lambda: _recorded(endpoint) == len(expected))
    assert endpoint.scraped("prediction_records_written_total", "recorder") == len(chosen)


def _recorded(endpoint, beginning=""):
    """Records in the catalog whose request ids begin so."""
    with endpoint.engine.connect() as connection:
        query = "select count(*) from predictions where request_id like ?"
        return connection.exec_driver_sql(query, (f"{beginning}%",)).scalar_one()


def test_feedback_for_one_row_of_several_finds_its_prediction(endpoint):
    body = {"rows": as_rows(examples(3, seed=9)[0])}
    answer = endpoint.client.post("/predict", json=body, headers={"X-Request-Id": "three"}).json()
    truth = [answer["predictions"][0]["decision"], 1 - answer["predictions"][2]["decision"]]
    entries = [{"request_id": "three/0", "outcome": truth[0]}, {"request_id": "three/2", "outcome": truth[1]}]
    told = endpoint.client.post("/feedback", json={"feedback": entries}).json()
    assert (told["accepted"], told["new"]) == (2, 2)
    turned = [{**entry, "outcome": 1 - entry["outcome"]} for entry in entries]
    more = [*turned, {"request_id": "three/1", "outcome": 1}]
    told = endpoint.client.post("/feedback", json={"feedback": more}).json()
    assert (told["accepted"], told["new"]) == (3, 1)
    endpoint.settled(lambda: endpoint.scraped("model_outcomes", "recorder") == 3)
    right = 1 + (answer["predictions"][1]["decision"] == 1)
    assert endpoint.scraped("model_accuracy", "recorder") == pytest.approx(right / 3)


def test_feedback_for_a_row_of_a_large_request_finds_it(endpoint):
    """Of 40 rows one record is kept, which the row leaves that is asked for."""
    body = {"rows": as_rows(examples(40, seed=10)[0])}
    answer = endpoint.client.post("/predict", json=body, headers={"X-Request-Id": "large"}).json()
    endpoint.settled(lambda: _folded(endpoint, "large") == [40])
    before = endpoint.scraped("model_outcomes", "recorder")
    entries = [{"request_id": f"large/{row}", "outcome": answer["predictions"][row]["decision"]} for row in (0, 39)]
    told = endpoint.client.post("/feedback", json={"feedback": entries}).json()
    assert (told["accepted"], told["new"]) == (2, 2)
    endpoint.settled(lambda: endpoint.scraped("model_outcomes", "recorder") == before + 2)
    (found,) = OutcomeStore(endpoint.engine).accuracy(endpoint.name)
    assert found.right >= 2
    assert (_recorded(endpoint, "large"), _folded(endpoint, "large")) == (2, [38])


def _folded(endpoint, beginning):
    """Rows of the folded requests whose ids begin so."""
    with endpoint.engine.connect() as connection:
        query = "select rows from folded_predictions where request_id like ? order by request_id"
        return connection.exec_driver_sql(query, (f"{beginning}%",)).scalars().all()


class Load:
    """Clients that ask without pause, so many rows a request, and count."""

    def __init__(self, endpoint, name, connections=4, rows=1):
        self.endpoint, self.name, self.answered, self.failed, self.size = endpoint, name, [], [], rows
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(connections)]

    def _ask(self, worker):
        rows = as_rows(examples(50, seed=worker)[0])
        with httpx.Client(base_url=str(self.endpoint.client.base_url), timeout=30) as client:
            sent = 0
            while not self.ends.is_set():
                name = f"{self.name}-{worker}-{sent}"
                sent += 1
                body = {"rows": [rows[(sent + i) % 50] for i in range(self.size)]}
                answer = client.post("/predict", json=body, headers={"X-Request-Id": name})
                (self.answered if answer.status_code == 200 else self.failed).append(name)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_a_recorder_that_is_killed_under_load_costs_no_request_and_no_row(busy, kills):
    def logged():
        ids = busy.rows(["request_id"])["request_id"].to_pylist()
        return Counter(name for name in ids if name.startswith(load.name))

    with Load(busy, f"kills{kills}") as load:
        busy.settled(lambda: busy.rows(["request_id"]) is not None)
        for _ in range(kills):
            time.sleep(1.5)
            pid = busy.recorder_pid()
            assert pid is not None
            before = len(load.answered)
            os.kill(pid, signal.SIGKILL)
            # Requests go on while there is none.
            busy.settled(lambda n=before: len(load.answered) > n + 20)
            busy.settled(lambda p=pid: busy.recorder_pid() not in (None, p), seconds=60)
    assert load.failed == []
    dropped = busy.scraped("prediction_records_dropped_total", "replica")
    dropped += busy.scraped("prediction_records_dropped_total", "recorder")
    assert dropped == 0
    wanted = Counter(load.answered)
    busy.settled(lambda: logged() == wanted, seconds=60)
    assert _recorded(busy, load.name) == len(load.answered)


def test_large_requests_survive_a_recorder_that_is_killed(busy):
    with Load(busy, "folded", connections=2, rows=20) as load:
        busy.settled(lambda: _folded(busy, "folded") != [])
        pid = busy.recorder_pid()
        before = len(load.answered)
        os.kill(pid, signal.SIGKILL)
        busy.settled(lambda: len(load.answered) > before + 20)
        busy.settled(lambda: busy.recorder_pid() not in (None, pid), seconds=60)
    assert load.failed == []
    wanted = sorted(f"{name}/{row}" for name in load.answered for row in range(20))

    def logged():
        ids = busy.rows(["request_id"])["request_id"].to_pylist()
        return sorted(name for name in ids if name.startswith("folded"))

    busy.settled(lambda: logged() == wanted, seconds=60)
    assert _folded(busy, "folded") == [20] * len(load.answered)
    assert _recorded(busy, "folded") == 0


def test_a_log_that_cannot_be_written_costs_no_request_and_comes_back(busy):
    folder = Path(busy.table)
    before = busy.rows(["request_id"]).num_rows
    away = folder.with_name("away")
    folder.rename(away)
    folder.write_text("no table")  # a file is in its place
    try:
        row = as_rows(examples(1, seed=1)[0])
        for i in range(30):
            answer = busy.client.post("/predict", json={"rows": row}, headers={"X-Request-Id": f"away-{i}"})
            assert answer.status_code == 200
        busy.settled(lambda: busy.scraped("prediction_log_commits_failed_total", "recorder") >= 1)
    finally:
        folder.unlink()
        away.rename(folder)
    busy.settled(lambda: busy.rows(["request_id"]).num_rows == before + 30)
    ids = busy.rows(["request_id"])["request_id"]
    assert len(pc.unique(ids)) == len(ids)


def test_commits_are_few_and_hold_the_replicas_numbers(busy):
    commits = history(busy.table)
    assert sum(commit.rows for commit in commits) == busy.rows(["request_id"]).num_rows
    assert all(commit.message.endswith(f"predictions of {busy.name}") for commit in commits)
    entry = Path(busy.table) / "_delta_log" / f"{0:020}.json"
    apps = [json.loads(line)["txn"]["appId"] for line in entry.read_text().splitlines() if '"txn"' in line]
    assert len(apps) == 1
    assert apps[0].startswith("sluiceway.sender:")


def test_an_id_is_one_endpoint_s_own_and_its_second_answer_is_counted(endpoint, busy):
    def repeated(one):
        return one.scraped("prediction_records_repeated_total", "recorder")

    (row,) = as_rows(examples(1, seed=4)[0])
    # What a recorder that was killed had taken has come to the next one once more.
    more = {one: repeated(one) + 1 for one in (endpoint, busy)}
    for outcome, one in enumerate(more):
        for _ in range(2):
            one.client.post("/predict", json={"rows": [row]}, headers={"X-Request-Id": "trace-1"})
        body = {"feedback": [{"request_id": "trace-1", "outcome": outcome}]}
        assert one.client.post("/feedback", json=body).json()["new"] == 1
    endpoint.settled(lambda: {one: repeated(one) for one in more} == more)
    assert [_recorded(one, "trace-1") for one in more] == [1, 1]


def test_another_version_with_other_features_adds_its_columns(endpoint, tmp_path):
    from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

    store = TrafficStore(endpoint.engine)
    other = train_numbers(tmp_path, seed=3)
    document = TrafficDocument(endpoint.name, store.newest(endpoint.name).generation + 1, other.arm("2", 1.0))
    store.publish(document)
    ServeTraffic(endpoint.name, store).apply(document)
    rows = [{"f0": 5.0, "f1": None}]
    names = [name for name in (f"numbers-{i}" for i in range(40)) if LogPlan(SAMPLE).takes(name)]
    for name in names:
        headers = {"X-Request-Id": name}
        assert endpoint.client.post("/predict", json={"rows": rows}, headers=headers).status_code == 200
    columns = ["request_id", "version", "numeric_f0", "numeric_f1", "numeric_distance"]

    def found():
        table = endpoint.rows()
        if "numeric_f0" not in table.schema.names:
            return None
        return [row for row in table.select(columns).to_pylist() if row["version"] == "2"]

    endpoint.settled(lambda: found() is not None and len(found()) == len(names))
    assert {(row["numeric_f0"], row["numeric_f1"], row["numeric_distance"]) for row in found()} == {(5.0, None, None)}
    older = endpoint.rows().filter(pc.field("version") == "1")
    assert older["numeric_f0"].null_count == older.num_rows
    assert np.isfinite(older["numeric_distance"].drop_null().to_numpy()).all()
