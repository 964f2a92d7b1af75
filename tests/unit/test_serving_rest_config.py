"""Our entries in a Serve config that is not ours alone: races that a real cluster would have to be lucky to show.

What Serve does with a config is as its source has it (``application_state.py``): declared applications that are left
out go, those of programs stay. The real one is in ``tests/integration/test_serving_rest.py``.
"""

import copy
import json

import pytest

from sluiceway.catalog.leases import LeaseStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError, ConfigError, ConflictError
from sluiceway.serving.specs import EndpointSpec

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")

NEIGHBOUR = {
    "name": "shop",
    "route_prefix": "/shop",
    "import_path": "shop.app:build",
    "runtime_env": {"env_vars": {"A": "1"}},
    "deployments": [{"name": "Shop", "a key of tomorrow": [1, {"b": None}]}],
}
OPTIONS = {
    "proxy_location": "HeadOnly",
    "http_options": {"host": "0.0.0.0", "port": 8123, "root_path": "/x"},
    "target_capacity": 40.0,
}


class Serve:
    """A Serve that is asked by REST; ``meanwhile`` happens right before the next write."""

    def __init__(self, *declared, imperative=(), status="RUNNING"):
        self.applications = {entry["name"]: self._declared(entry) for entry in declared}
        for name in imperative:
            self.applications[name] = {"status": "RUNNING", "source": "imperative", "route_prefix": f"/{name}"}
        self.options, self.status, self.meanwhile, self.written = dict(OPTIONS), status, [], []

    def _declared(self, entry, status="RUNNING"):
        return {
            "status": status,
            "source": "declarative",
            "route_prefix": entry["route_prefix"],
            "deployed_app_config": copy.deepcopy(entry),
            "message": "no CPU" if status == "DEPLOY_FAILED" else "",
        }

    def read(self):
        told = self.told()
        for app in self.applications.values():  # a moment later
            if app["source"] == "declarative" and app.get("deployed_app_config") is None:
                app["status"] = "DELETING"
        return told

    def told(self):
        return json.loads(json.dumps({**self.options, "applications": self.applications}))

    def write(self, config):
        if self.meanwhile:
            self.meanwhile.pop(0)(self)
        self.put(config)
        self.written.append(config)

    def put(self, config):
        for app in self.applications.values():
            if app["source"] == "declarative":
                app["deployed_app_config"] = None
        for entry in config["applications"]:
            self.applications[entry["name"]] = self._declared(entry, self.status)
        self.options["target_capacity"] = config.get("target_capacity")

    def config_of(self, name):
        return self.applications[name]["deployed_app_config"]


@pytest.fixture
def declared(catalog):
    """Put endpoints into a Serve's config, or take them out."""
    from sluiceway.serving.rest_config import declare, withdraw  # noqa: PLC0415 (under the filter above)

    def put(serve, *names, gone=()):
        serving = ServingSection(replicas=3)
        specs = [EndpointSpec(name, f"/{name}", "postgresql://", serving, f"s3://log/{name}") for name in names]
        if gone:
            withdraw(serve, gone, leases=LeaseStore(catalog))
        else:
            declare(serve, specs, leases=LeaseStore(catalog), seconds=0.1)

    return put


def test_what_others_have_stays_as_it_is(declared):
    serve = Serve(NEIGHBOUR, imperative=["notebook"])
    declared(serve, "fraud", "late")
    assert serve.config_of("shop") == NEIGHBOUR
    assert serve.options == OPTIONS
    assert set(serve.applications) == {"shop", "notebook", "fraud", "late"}
    declared(serve, gone=["fraud"])
    assert serve.config_of("shop") == NEIGHBOUR
    assert serve.config_of("fraud") is None
    assert serve.applications["late"]["status"] == "RUNNING"
    assert all(config["http_options"] == OPTIONS["http_options"] for config in serve.written)


def test_an_entry_holds_no_code_and_what_is_not_the_default(declared):
    serve = Serve()
    declared(serve, "fraud")
    assert serve.config_of("fraud") == {
        "name": "fraud",
        "route_prefix": "/fraud",
        "import_path": "sluiceway.serving.app:build",
        "args": {
            "endpoint": "fraud",
            "catalog": "postgresql://",
            "serving": {"replicas": 3, "log": {"table": "s3://log/fraud"}},
        },
    }


def test_what_is_there_already_is_not_written_again(declared):
    serve = Serve(NEIGHBOUR)
    declared(serve, "fraud")
    declared(serve, "fraud")
    declared(serve, gone=["never there"])
    assert len(serve.written) == 1


def test_what_somebody_added_to_our_entry_stays(declared):
    serve = Serve()
    declared(serve, "fraud")
    serve.config_of("fraud")["deployments"] = [{"name": "Endpoint", "num_replicas": 9}]
    serve.config_of("fraud")["args"]["serving"] = {"replicas": 1}
    declared(serve, "fraud")
    assert serve.config_of("fraud")["deployments"] == [{"name": "Endpoint", "num_replicas": 9}]
    assert serve.config_of("fraud")["args"]["serving"]["replicas"] == 3


def test_a_serve_that_does_not_run_yet_is_started_as_the_platform_says(declared):
    serve = Serve()
    serve.options = {"target_capacity": None}
    declared(serve, "fraud")
    assert serve.written[0]["http_options"] == {"host": "127.0.0.1", "port": 8000}
    assert serve.written[0]["proxy_location"] == "EveryNode"


def test_ours_comes_back_when_another_write_has_removed_it(declared):
    serve = Serve()

    def overwritten(_serve):
        # Between our write and our look another one puts a config that was read before ours was there.
        real_read = serve.read

        def read():
            serve.read = real_read
            serve.put({"applications": [NEIGHBOUR]})
            return real_read()

        serve.read = read

    serve.meanwhile.append(overwritten)
    declared(serve, "fraud")
    assert serve.applications["fraud"]["status"] == "RUNNING"
    assert serve.config_of("shop") == NEIGHBOUR


def test_an_application_that_our_write_has_removed_is_told_by_name(declared):
    serve = Serve()
    serve.meanwhile.append(lambda serve: serve.put({"applications": [NEIGHBOUR]}))
    with pytest.raises(ConflictError, match="shop") as caught:
        declared(serve, "fraud")
    assert "deploy shop again" in caught.value.hint


def test_one_that_is_being_deleted_already_is_not_ours_to_bring_back(declared):
    serve = Serve(NEIGHBOUR)
    serve.applications["shop"] |= {"status": "DELETING", "deployed_app_config": None}
    declared(serve, "fraud")
    assert [entry["name"] for entry in serve.written[0]["applications"]] == ["fraud"]


def test_somebody_who_always_undoes_it_is_not_fought_for_ever(declared):
    serve = Serve()
    read = serve.read

    def undone():
        serve.applications.pop("fraud", None)
        return read()

    serve.read = undone
    with pytest.raises(ConflictError, match="5 times"):
        declared(serve, "fraud")


@pytest.mark.parametrize(
    ("neighbour", "message"),
    [
        ({**NEIGHBOUR, "name": "fraud"}, "an application fraud is there that is no endpoint of ours"),
        ({**NEIGHBOUR, "route_prefix": "/fraud"}, "the application shop answers at /fraud already"),
    ],
    ids=["name", "route"],
)
def test_what_is_somebody_else_s_is_not_taken_over(declared, neighbour, message):
    serve = Serve(neighbour)
    with pytest.raises(ConfigError, match=message):
        declared(serve, "fraud")
    assert serve.written == []


def test_what_serve_hides_is_not_written_back(declared):
    serve = Serve({**NEIGHBOUR, "runtime_env": {"env_vars": {"A": "<redacted>"}}})
    with pytest.raises(BackendError, match="hides values of the config of shop"):
        declared(serve, "fraud")
    assert serve.written == []


def test_what_serve_does_not_tell_for_long_is_not_written_over(declared, monkeypatch):
    from sluiceway.serving import rest_config  # noqa: PLC0415

    monkeypatch.setattr(rest_config, "SETTLE_SECONDS", 0.0)
    serve = Serve(NEIGHBOUR)
    serve.applications["shop"]["deployed_app_config"] = None
    serve.read = serve.told
    with pytest.raises(BackendError, match="does not tell the config of shop"):
        declared(serve, "fraud")
    assert serve.written == []


@pytest.mark.parametrize("status", ["DEPLOY_FAILED", "DEPLOYING"])
def test_one_that_does_not_come_up_is_an_error_with_serve_s_words(declared, status):
    with pytest.raises(BackendError, match=r"fraud does not come up: (no CPU|DEPLOYING)"):
        declared(Serve(status=status), "fraud")


def test_a_challenger_is_known_by_its_whole_name():
    from sluiceway.serving.specs import ChallengerSpec  # noqa: PLC0415
    from sluiceway.serving.state import is_challenger_of  # noqa: PLC0415

    def name(endpoint, **more):
        given = {"version": "7", "bundle_uri": "/b", "digest": "ab" * 32, "raise_every": None, "serving": None} | more
        return ChallengerSpec(endpoint=endpoint, **given).application

    assert is_challenger_of(name("fraud"), "fraud")
    assert is_challenger_of(name("fraud", raise_every=50), "fraud")
    assert not is_challenger_of(name("fraud-eu"), "fraud")
    assert not is_challenger_of("fraud-challenger-vault", "fraud")
    assert not is_challenger_of(name("fraud"), "fr.ud")
