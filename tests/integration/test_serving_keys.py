"""Endpoints that ask for keys, on a real Serve, asked over real HTTP."""

import concurrent.futures
import contextlib
import time

import httpx
import pytest
import sqlalchemy as sa
import yaml

from serving_models import as_rows, examples, train_small
from sluiceway.catalog.stores import open_stores
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.rollout.load import LoadGenerator
from sluiceway.serving.specs import EndpointSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

FRAUD, CHURN = "fraud", "churn"
ROWS = as_rows(examples(3, seed=2)[0])
REFUSED = "this needs a valid API key"


class World:
    """Two endpoints that ask for keys, one catalog, and who asks them."""

    def __init__(self, folder, address):
        from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)

        self.url, self.address = f"sqlite:///{folder / 'catalog.db'}", address
        self.stores = open_stores(self.url)
        self.keys = self.stores.api_keys
        self.serving = ServingSection(port=0, keys="required")
        self.engine = sa.create_engine(self.url)
        model = train_small(folder, seed=1)
        self.clients = {}
        for name, replicas in ((FRAUD, 2), (CHURN, 1)):
            self.stores.traffic.publish(TrafficDocument(name, 1, model.arm("7", 1.0)))
            serving = self.serving.model_copy(update={"replicas": replicas})
            deploy_endpoint(EndpointSpec(name, f"/{name}", self.url, serving))
            self.clients[name] = httpx.Client(base_url=f"{address.url}/{name}", timeout=30)

    def close(self):
        for client in self.clients.values():
            client.close()
        self.engine.dispose()

    def key(self, *scopes, endpoint="", name="a test"):
        """A key that every replica knows."""
        made = self.keys.create(name, scopes=scopes, endpoint=endpoint)
        self.settle()
        return made

    def settle(self):
        """Have both endpoints read their keys now."""
        from sluiceway.serving.key_follower import tell_replicas  # noqa: PLC0415

        for name in (FRAUD, CHURN):
            tell_replicas(name)

    def predict(self, token=None, *, endpoint=FRAUD, **headers):
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return self.clients[endpoint].post("/predict", json={"rows": ROWS}, headers=headers)

    def feedback(self, token=None, *, endpoint=FRAUD):
        headers = {} if token is None else {"X-API-Key": token}
        entries = [{"request_id": "r-1", "outcome": 1}]
        return self.clients[endpoint].post("/feedback", json={"feedback": entries}, headers=headers)

    def statuses(self, token, n=24):
        """What so many requests over several connections get: they fall on both replicas."""

        def ask(_):
            headers = {"Authorization": f"Bearer {token}"}
            return httpx.post(f"{self.address.url}/{FRAUD}/predict", json={"rows": ROWS}, headers=headers, timeout=30)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            return {answer.status_code for answer in pool.map(ask, range(n))}

    def becomes(self, token, statuses, seconds=10.0):
        """Wait until requests with a key get these statuses and no others; tells how long that took."""
        begun = time.monotonic()
        while self.statuses(token) != statuses and time.monotonic() - begun < seconds:
            time.sleep(0.05)
        assert self.statuses(token) == statuses
        return time.monotonic() - begun


@pytest.fixture(scope="module")
def world(ray_cluster, tmp_path_factory):
    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415 (Ray has to be up)

    stop_serve()  # of whoever was here before
    made = World(tmp_path_factory.mktemp("keys"), start_serve(ServingSection(port=0)))
    yield made
    made.close()
    stop_serve()


def test_without_a_good_key_nobody_is_told_anything_else(world):
    good = world.key("predict")
    revoked = world.keys.create("gone", scopes=["admin"])
    world.keys.revoke(revoked.key.id)
    world.settle()
    nearly = good.token[:-1] + ("A" if good.token[-1] != "A" else "B")
    answers = [world.predict(token) for token in (None, "nonsense", nearly, revoked.token)]
    answers += [world.feedback(), world.predict(Authorization=f"Basic {good.token}")]
    for answer in answers:
        body = answer.json()
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert body.pop("request_id")
        assert body == {"error": REFUSED, "hint": answers[0].json()["hint"]}
    answer = world.predict(good.token)
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == len(ROWS)


def test_a_key_is_good_for_its_scopes(world):
    predict, feedback, admin = (world.key(scope) for scope in ("predict", "feedback", "admin"))
    assert (world.predict(predict.token).status_code, world.feedback(feedback.token).status_code) == (200, 200)
    assert (world.predict(admin.token).status_code, world.feedback(admin.token).status_code) == (200, 200)
    refused = world.predict(feedback.token)
    assert (refused.status_code, refused.json()["error"]) == (403, f"the key {feedback.key.id} lacks the scope predict")
    refused = world.feedback(predict.token)
    assert (refused.status_code, refused.json()["error"]) == (403, f"the key {predict.key.id} lacks the scope feedback")


def test_a_key_opens_its_endpoint_and_no_other(world):
    bound, everywhere = world.key("predict", endpoint=CHURN), world.key("predict")
    assert world.predict(bound.token, endpoint=CHURN).status_code == 200
    assert world.predict(bound.token, endpoint=FRAUD).status_code == 401
    assert {world.predict(everywhere.token, endpoint=name).status_code for name in (FRAUD, CHURN)} == {200}


def test_a_key_is_known_and_forgotten_by_every_replica_by_itself(world):
    """Nobody tells the replicas: they look every second."""
    made = world.keys.create("rotated", scopes=["predict"])
    world.becomes(made.token, {200})
    world.keys.revoke(made.key.id)
    world.becomes(made.token, {401})


@contextlib.contextmanager
def catalog_away(world):
    """The catalog answers no question about keys."""
    with world.engine.begin() as connection:
        connection.execute(sa.text("alter table api_keys rename to away"))
    try:
        with pytest.raises(BackendError):
            world.settle()
        yield
    finally:
        with world.engine.begin() as connection:
            connection.execute(sa.text("alter table away rename to api_keys"))


def test_without_the_catalog_the_keys_that_are_known_stay_good_and_no_others(world):
    known, unknown = world.key("predict"), f"sw_ffffffff_{'x' * 43}"
    with catalog_away(world):
        time.sleep(1.5)  # longer than a replica waits between two looks
        assert (world.statuses(known.token), world.statuses(unknown)) == ({200}, {401})
        with world.engine.begin() as connection:
            revoked = sa.text("update away set revoked = 1.0 where id = :id")
            connection.execute(revoked, {"id": known.key.id})
        assert world.statuses(known.token) == {200}
    world.becomes(known.token, {401})


def test_probes_need_no_key_and_tell_no_more_than_they_have_to(world):
    client = world.clients[FRAUD]
    assert client.get("/ready").status_code == 200
    health = client.get("/health")
    assert health.status_code == 200
    assert health.json() == {"endpoint": FRAUD, "ready": True}
    key = world.key("predict")
    told = client.get("/health", headers={"Authorization": f"Bearer {key.token}"}).json()
    assert told["arms"] == [{"arm": "champion", "version": "7", "weight": 1.0}]


def test_a_replay_has_a_key_of_its_own_that_ends_with_it(world):
    from sluiceway.lifecycle.replay_key import replay_key  # noqa: PLC0415 (it imports Ray)

    where = {"endpoint": FRAUD, "rollout_id": "run-1/rollout", "serving": world.serving, "address": world.address}
    left = world.keys.create("replay of run-1/rollout", scopes=["predict"], endpoint=FRAUD)  # a killed process left it
    rows = [(row, 1) for row in ROWS]
    with replay_key(world.keys, **where) as headers:
        load = LoadGenerator(f"{world.address.url}/{FRAUD}", rows=rows, max_requests=60, headers=headers).start()
        report = load.wait()
        token = headers["Authorization"].removeprefix("Bearer ")
        assert world.predict(token, endpoint=CHURN).status_code == 401
    assert (report.ok, report.failed, report.feedback_sent, report.feedback_failed) == (60, 0, 60, 0), report.failures
    world.becomes(token, {401})
    state = {key.id: key.revoked is not None for key in world.keys.list() if key.name.startswith("replay of")}
    assert state == {left.key.id: True, token[3:11]: True}


def test_a_replay_that_fails_leaves_no_good_key(world):
    from sluiceway.lifecycle.replay_key import replay_key  # noqa: PLC0415

    where = {"endpoint": FRAUD, "rollout_id": "run-2/rollout", "serving": world.serving, "address": world.address}
    with pytest.raises(ZeroDivisionError), replay_key(world.keys, **where):
        raise ZeroDivisionError
    with pytest.raises(BackendError, match="nowhere"), replay_key(world.keys, **where | {"endpoint": "nowhere"}):
        pytest.fail("there is no such endpoint")
    assert [key for key in world.keys.list() if "run-2" in key.name and key.revoked is None] == []


def test_where_no_key_is_needed_a_replay_makes_none(world):
    from sluiceway.lifecycle.replay_key import replay_key  # noqa: PLC0415

    before = world.keys.list()
    keyless = ServingSection(port=0)
    with replay_key(world.keys, endpoint="any", rollout_id="r", serving=keyless, address=world.address) as headers:
        assert headers == {}
    assert world.keys.list() == before


@pytest.fixture(scope="module")
def everywhere(ray_cluster, tmp_path_factory):
    """A Serve that others can reach, and a catalog with a champion."""
    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("everywhere")
    stores = open_stores(f"sqlite:///{folder / 'catalog.db'}")
    stores.traffic.publish(TrafficDocument(FRAUD, 1, train_small(folder, seed=1).arm("7", 1.0)))
    stop_serve()
    yield start_serve(ServingSection(host="0.0.0.0", port=0)), stores
    stop_serve()


def deployed(repository, stores, **serving):
    """The local Serve config as ``serve deploy`` hands it in; gives the application's state once it has settled."""
    from ray import serve  # noqa: PLC0415
    from ray.serve.context import _get_global_client  # noqa: PLC0415
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    document = yaml.safe_load((repository / "serve_configs" / "local.yaml").read_text())
    (application,) = document["applications"]
    application |= {"name": FRAUD, "route_prefix": f"/{FRAUD}"}
    application["args"] |= {"endpoint": FRAUD, "catalog": stores.url, "serving": {"replica_cpus": 0.1, **serving}}
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(document), _blocking=False)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        state = serve.status().applications.get(FRAUD)
        if state is not None and state.status in ("RUNNING", "DEPLOY_FAILED"):
            return state
        time.sleep(0.2)
    pytest.fail(f"not settled: {state}")


def test_an_endpoint_asks_for_keys_wherever_others_can_reach_it(everywhere, repository):
    """Its own arguments say nothing of the host, and 127.0.0.1 is their default."""
    address, stores = everywhere
    state = deployed(repository, stores)
    assert state.status == "RUNNING", state
    url = f"{address.url}/{FRAUD}/predict"
    assert httpx.post(url, json={"rows": ROWS}, timeout=30).status_code == 401
    made = stores.api_keys.create("x", scopes=["predict"])
    headers = {"X-API-Key": made.token}
    deadline = time.monotonic() + 10
    while (answer := httpx.post(url, json={"rows": ROWS}, headers=headers, timeout=30)).status_code != 200:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.1)


@pytest.mark.soak
def test_an_endpoint_that_is_to_do_without_does_not_come_up_there(everywhere, repository):
    from sluiceway.serving.instance import start_serve  # noqa: PLC0415

    _, stores = everywhere
    told = "serving.keys is none, but HTTP listens on 0.0.0.0"
    with pytest.raises(ConfigError, match=told) as caught:
        start_serve(ServingSection(port=0, keys="none"))
    assert caught.value.exit_code == 2
    state = deployed(repository, stores, keys="none")
    assert state.status == "DEPLOY_FAILED"
    messages = [state.message, *(one.message for one in state.deployments.values())]
    assert any(told in message for message in messages), messages
