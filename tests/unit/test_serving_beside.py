"""What the catalog's traffic names is brought back with the endpoint, on a Serve that has begun anew."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest
from ray.exceptions import RayError

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.beside import absent_beside, redeploy_beside
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec, ServeAddress

NAME, STAGING = "flights_late-production", "flights_late-staging"
RAY_WARNS = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")
CONFIG = Path(__file__).parents[2] / "jobs" / "configs" / "flights.yaml"


def beside(version, weight, *, fault=None):
    spec = ChallengerSpec(NAME, version, f"/b/{version}", f"d{version}" * 8, fault, ServingSection())
    return Arm(version, weight, spec.bundle_uri, spec.digest, spec.application)


DOCUMENT = TrafficDocument(
    NAME,
    1,
    Arm("1", 0.8, "/b/1", "d1"),
    (beside("2", 0.1), beside("3", 0.1, fault=3), Arm("5", 0.0, "/b/5", "d5")),
    shadows=(beside("4", 0.2),),
    salt="s",
)
NAMED = [arm.application for arm in (DOCUMENT.challengers[0], DOCUMENT.challengers[1], DOCUMENT.shadows[0])]


def test_challengers_and_shadows_are_deployed_under_the_names_that_the_traffic_has():
    deployed = []
    assert (
        list(redeploy_beside(DOCUMENT, ServingSection(), deploy=lambda spec: deployed.append(spec.application))) == []
    )
    assert deployed == NAMED


def test_one_that_does_not_come_up_is_told_and_keeps_nobody_else_away():
    deployed = []

    def deploy(spec):
        if spec.version == "2":
            raise BackendError("its bundle is damaged")
        deployed.append(spec.application)

    (note,) = redeploy_beside(DOCUMENT, ServingSection(), deploy=deploy)
    assert deployed == NAMED[1:]
    assert "version 2" in note
    assert "its bundle is damaged" in note
    assert "its share, 0.1, is the champion's" in note


@pytest.fixture
def serve(tmp_path, monkeypatch):
    return Serve(monkeypatch, TrafficStore(open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")))


class Serve:
    """A Serve that has begun anew, and what is done there to bring an endpoint up."""

    def __init__(self, monkeypatch, store):
        from sluiceway.serving import bring_up as module  # noqa: PLC0415 (brings Ray)

        self.store, self.module, self.done, self.runs = store, module, [], set[str]()
        self.failed, self.broken, self.cpus, self.meanwhile = set[str](), set[str](), 9, lambda name: None
        store.publish(DOCUMENT)
        monkeypatch.setattr(module, "JoinedServe", lambda: self)
        monkeypatch.setattr(module, "deploy_challenger", lambda spec: self.deploy(spec.application))
        monkeypatch.setattr(module, "deploy_endpoint", lambda spec: self.deploy(spec.name))
        monkeypatch.setattr(module, "remove_challenger", self.remove)

    def read(self):
        found = {**dict.fromkeys(self.runs, "RUNNING"), **dict.fromkeys(self.failed, "DEPLOY_FAILED")}
        return {"applications": {name: {"status": status} for name, status in found.items()}}

    def deploy(self, name):
        self.done.append(name)
        self.meanwhile(name)
        if name in self.broken or len(self.runs | {name}) > self.cpus:
            raise BackendError(f"{name} does not come up")
        self.runs.add(name)

    def remove(self, name):
        self.done.append(f"remove {name}")
        self.runs.discard(name)
        if self.broken:
            raise RayError("the controller does not answer")

    def bring_up(self, *names):
        specs = [EndpointSpec(name, "/flights", "sqlite://", ServingSection()) for name in names or (NAME,)]
        return self.module.bring_up(specs, self.store)


@RAY_WARNS
def test_challengers_come_up_before_the_endpoint_and_shadows_after_it(serve):
    assert serve.bring_up() == []
    assert serve.done == [*NAMED[:2], NAME, NAMED[2]]


@RAY_WARNS
def test_what_does_not_come_up_leaves_the_others_its_cpus_and_keeps_none_away(serve):
    serve.broken = set(NAMED)
    notes = serve.bring_up()
    assert serve.done == [
        NAMED[0],
        f"remove {NAMED[0]}",
        NAMED[1],
        f"remove {NAMED[1]}",
        NAME,
        NAMED[2],
        f"remove {NAMED[2]}",
    ]
    assert [note.split(" of ")[0] for note in notes] == ["version 2", "version 3", "version 4"]


@RAY_WARNS
def test_challengers_give_way_to_an_endpoint_that_does_not_come_up_beside_them(serve):
    serve.cpus, serve.runs = 2, {NAMED[1]}  # which ran before, and is not this call's to take away
    notes = serve.bring_up()
    assert serve.done == [*NAMED[:2], NAME, f"remove {NAMED[0]}", NAME, NAMED[2], f"remove {NAMED[2]}"]
    assert serve.runs == {NAMED[1], NAME}
    assert [note.split(" of ")[0] for note in notes] == ["version 2", "version 4"]
    assert "it went so that an endpoint comes up" in notes[0]


@RAY_WARNS
@pytest.mark.parametrize("ran", [True, False])
def test_one_that_ran_is_not_taken_away_where_serve_does_not_answer_and_one_that_had_failed_is(serve, ran):
    serve.broken = {NAMED[0]}
    (serve.runs if ran else serve.failed).add(NAMED[0])
    (note,) = serve.bring_up()
    assert note.startswith("version 2 of ")
    assert (f"remove {NAMED[0]}" in serve.done) is not ran


@RAY_WARNS
def test_challengers_of_another_endpoint_give_way_too_and_each_is_told_once(serve):
    serve.cpus, serve.runs = 3, {NAMED[1]}
    notes = serve.bring_up(NAME, STAGING)
    assert serve.done[:3] == [*NAMED[:2], NAME]
    assert serve.done[3:6] == [STAGING, f"remove {NAMED[0]}", STAGING]
    assert serve.runs == {NAMED[1], NAME, STAGING}
    assert [note.split(" of ")[0] for note in notes] == ["version 2", "version 4"]


@RAY_WARNS
def test_an_endpoint_that_comes_up_beside_nobody_is_tried_once_more_only(serve):
    serve.broken = {STAGING}
    with pytest.raises(BackendError, match=f"{STAGING} does not come up"):
        serve.bring_up(NAME, STAGING)
    assert serve.done.count(STAGING) == 2


@RAY_WARNS
def test_an_endpoint_that_does_not_come_up_alone_ends_the_command(serve):
    serve.cpus = 0
    with pytest.raises(BackendError, match=f"{NAME} does not come up"):
        serve.bring_up()
    assert serve.done.count(NAME) == 1


@RAY_WARNS
@pytest.mark.parametrize("at", [NAMED[0], NAME])
def test_what_the_traffic_names_no_more_is_not_put_back(serve, at):
    back = replace(DOCUMENT, generation=2, champion=replace(DOCUMENT.champion, weight=1.0), challengers=(), shadows=())
    serve.meanwhile = lambda name: serve.store.publish(back) if name == at else None
    assert serve.bring_up() == []
    assert serve.done == ([NAMED[0], f"remove {NAMED[0]}", NAME] if at == NAMED[0] else [*NAMED[:2], NAME])


@RAY_WARNS
def test_a_serve_that_does_not_answer_is_an_error_of_ours(monkeypatch):
    from sluiceway.serving import deploy  # noqa: PLC0415 (brings Ray)

    def silent():
        raise RayError("the controller is gone")

    monkeypatch.setattr(deploy.serve, "status", silent)
    with pytest.raises(BackendError, match="the controller is gone"):
        deploy.deploy_challenger(ChallengerSpec(NAME, "2", "/b/2", "d2", None, ServingSection()))


def test_what_is_not_there_is_told():
    told = list(absent_beside(DOCUMENT, [NAMED[0], NAME], because="a dashboard cannot"))
    assert [line.split(" of ")[0] for line in told] == ["version 3", "version 4"]
    assert told[1].endswith("as a shadow it scores nothing")
    assert list(absent_beside(DOCUMENT, NAMED, because="")) == []


class Asked:
    """What `serve up` does to a Serve."""

    def __init__(self, monkeypatch, module, *, dashboard):
        from sluiceway.serving import bring_up  # noqa: PLC0415 (brings Ray)

        self.done = []
        monkeypatch.setattr(module, "joined", lambda *_, **__: contextlib.nullcontext(self))
        monkeypatch.setattr(module, "start_serve", lambda serving: ServeAddress("127.0.0.1", 8000))
        monkeypatch.setattr(bring_up, "JoinedServe", lambda: self)
        monkeypatch.setattr(bring_up, "deploy_endpoint", lambda spec: self.done.append(spec.name))
        monkeypatch.setattr(bring_up, "deploy_challenger", lambda spec: self.done.append(spec.application))
        monkeypatch.setattr(module, "declare", lambda door, specs, **_: self.done.extend(s.name for s in specs))
        monkeypatch.setattr(module, "is_own", lambda: not dashboard)

    def read(self):
        return {"applications": {}}

    def nodes(self):
        return 1


@RAY_WARNS
@pytest.mark.parametrize("address", [None, "http://head:8265"])
def test_serve_up_brings_the_challengers_back_or_says_that_it_cannot(tmp_path, monkeypatch, capsys, address):
    from sluiceway.cli import serve as module  # noqa: PLC0415 (under the filter above)

    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    TrafficStore(open_catalog(url)).publish(DOCUMENT)
    asked = Asked(monkeypatch, module, dashboard=address is not None)
    module.up(str(CONFIG), [f"platform.state={tmp_path}", f"platform.catalog={url}"], address, 0.0)
    told = capsys.readouterr().out
    if address is None:
        assert asked.done == [*NAMED[:2], NAME, NAMED[2]]
        assert "is not deployed" not in told
    else:
        assert asked.done == [NAME]
        assert told.count("is not deployed") == 3
        assert "--address auto" in told
