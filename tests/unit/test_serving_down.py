"""`serve down` takes away what is there, and does not say that nothing is where it cannot know."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

import pytest

from command_line import sluiceway
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import METRICS_LEASES, LeaseStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.core.traffic import Arm, TrafficDocument

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")

ENDPOINT = "flights-production"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a catalog, and what `serve down` does to which Ray."""
    from sluiceway.cli import serve_down  # noqa: PLC0415 (under the filter above)

    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    engine, asked = open_catalog(url), []
    TrafficStore(engine).publish(TrafficDocument(ENDPOINT, 1, Arm("1", 1.0, "/b", "d")))
    leases = LeaseStore(engine)

    def lives(owner, endpoint, ray):
        body = f'{{"endpoint": "{endpoint}", "ray": "{ray}"}}'
        leases.acquire(METRICS_LEASES + owner, owner=owner, ttl=600, now=datetime.now(UTC), body=body)

    monkeypatch.setattr(serve_down, "joined", lambda where, platform: contextlib.nullcontext(asked.append(where)))
    monkeypatch.setattr(serve_down, "remove_endpoint", lambda door, endpoint, *, leases: [endpoint])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("SLUICEWAY_PLATFORM__CATALOG", url)
    monkeypatch.setenv("SLUICEWAY_PLATFORM__STATE", str(tmp_path))
    return lives, asked, ("serve", "down", ENDPOINT)


def test_the_ray_of_the_endpoint_itself_is_asked(place, tmp_path):
    lives, asked, down = place
    lives("a", "loans-production", "one:1")
    lives("b", ENDPOINT, "two:2")
    assert sluiceway(tmp_path, *down)["removed"] == [ENDPOINT]
    assert asked == ["two:2"]


def test_where_it_runs_on_two_rays_nothing_is_said_to_be_gone(place, capsys):
    from sluiceway.cli.main import run_command  # noqa: PLC0415

    lives, asked, down = place
    lives("a", ENDPOINT, "one:1")
    lives("b", ENDPOINT, "two:2")
    assert run_command([*down]) == 4
    assert asked == []
    assert "--address" in capsys.readouterr().err


def test_where_nothing_lives_nothing_is_there(place, tmp_path):
    _, asked, down = place
    assert sluiceway(tmp_path, *down)["removed"] == []
    assert asked == []


def test_a_door_that_cannot_take_all_away_takes_nothing_away(catalog):
    from sluiceway.serving.deploy import remove_endpoint  # noqa: PLC0415
    from sluiceway.serving.doors import RestServe  # noqa: PLC0415

    declared = {
        "status": "RUNNING",
        "source": "declarative",
        "deployed_app_config": {"name": ENDPOINT, "import_path": "sluiceway.serving.app:build"},
    }
    challenger = {"status": "RUNNING", "source": "imperative"}

    class Door(RestServe):
        def read(self):
            return {"applications": {ENDPOINT: declared, f"{ENDPOINT}-challenger-v2-25080b08": challenger}}

        def write(self, config):
            raise AssertionError(config)

    with pytest.raises(ConfigError, match="REST API"):
        remove_endpoint(Door("http://head:8265"), ENDPOINT, leases=LeaseStore(catalog))


def test_only_challengers_of_the_endpoint_that_nobody_asks_are_taken_away(monkeypatch):
    from sluiceway.serving import deploy  # noqa: PLC0415
    from sluiceway.serving.specs import ChallengerSpec  # noqa: PLC0415

    def name(endpoint, version, raise_every=None):
        return ChallengerSpec(endpoint, version, "b", f"{version}5080b08", raise_every, None).application

    asked, left, drill = name(ENDPOINT, "2"), name(ENDPOINT, "3"), name(ENDPOINT, "4", 50)
    others = [ENDPOINT, name("loans", "3"), "somebody's", asked]
    states = dict.fromkeys([*others, left, drill], "RUNNING") | {name(ENDPOINT, "5"): "DELETING"}
    taken = []

    class Door:
        def read(self):
            return {"applications": {each: {"status": status} for each, status in states.items()}}

        def delete(self, names):
            taken.extend(names)
            if drill in names:
                raise TimeoutError("its controller is busy")

    monkeypatch.setattr(deploy, "JoinedServe", Door)
    with pytest.raises(BackendError, match=f"the challengers of {ENDPOINT} away: its controller is busy"):
        deploy.remove_unasked(ENDPOINT, asked=[asked])
    assert taken == [left, drill]
    deploy.remove_unasked(ENDPOINT, asked=[asked, left, drill])
    assert taken == [left, drill]
