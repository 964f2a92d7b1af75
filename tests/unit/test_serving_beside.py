"""What the catalog's traffic names is brought back with the endpoint, on a Serve that has begun anew."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.beside import absent_beside, redeploy_beside
from sluiceway.serving.specs import ChallengerSpec, ServeAddress

NAME = "flights_late-production"
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


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")
def test_a_challenger_that_does_not_come_up_leaves_the_endpoint_its_cpus(monkeypatch):
    from sluiceway.cli import serve as module  # noqa: PLC0415 (under the filter above)

    def refused(spec):
        raise BackendError("it does not come up")

    removed = []
    monkeypatch.setattr(module, "deploy_challenger", refused)
    monkeypatch.setattr(module, "remove_challenger", removed.append)
    assert len(list(redeploy_beside(DOCUMENT, ServingSection(), deploy=module._come_up_or_go))) == 3
    assert removed == NAMED


def test_what_is_not_there_is_told():
    told = list(absent_beside(DOCUMENT, [NAMED[0], NAME], because="a dashboard cannot"))
    assert [line.split(" of ")[0] for line in told] == ["version 3", "version 4"]
    assert told[1].endswith("as a shadow it scores nothing")
    assert list(absent_beside(DOCUMENT, NAMED, because="")) == []


class Asked:
    """What `serve up` does to a Serve."""

    def __init__(self, monkeypatch, module, *, dashboard):
        self.done = []
        monkeypatch.setattr(module, "joined", lambda *_, **__: contextlib.nullcontext(self))
        monkeypatch.setattr(module, "start_serve", lambda serving: ServeAddress("127.0.0.1", 8000))
        monkeypatch.setattr(module, "deploy_endpoint", lambda spec: self.done.append(spec.name))
        monkeypatch.setattr(module, "deploy_challenger", lambda spec: self.done.append(spec.application))
        monkeypatch.setattr(module, "declare", lambda door, specs, **_: self.done.extend(s.name for s in specs))
        monkeypatch.setattr(module, "is_own", lambda: not dashboard)

    def read(self):
        return {"applications": {}}

    def nodes(self):
        return 1


@pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")
@pytest.mark.parametrize("address", [None, "http://head:8265"])
def test_serve_up_brings_the_challengers_back_or_says_that_it_cannot(tmp_path, monkeypatch, capsys, address):
    from sluiceway.cli import serve as module  # noqa: PLC0415 (under the filter above)

    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    TrafficStore(open_catalog(url)).publish(DOCUMENT)
    asked = Asked(monkeypatch, module, dashboard=address is not None)
    module.up(str(CONFIG), [f"platform.state={tmp_path}", f"platform.catalog={url}"], address, 0.0)
    told = capsys.readouterr().out
    if address is None:
        assert asked.done == [*NAMED, NAME]
        assert "is not deployed" not in told
    else:
        assert asked.done == [NAME]
        assert told.count("is not deployed") == 3
        assert "--address auto" in told
