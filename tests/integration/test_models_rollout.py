"""A model that plain MLflow has logged is imported, rolled out to users, and answers as its own estimator does."""

from __future__ import annotations

import httpx
import pyarrow as pa
import pytest
import yaml

import plain_mlflow
from command_line import sluiceway
from sluiceway.data.commit import append
from sluiceway.registry.mlflow_registry import Registry

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("imported")
    (folder / ".sluiceway").mkdir()
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    """What plain MLflow has logged; the model is imported as the first version of ``flights``."""
    plain = plain_mlflow.logged(folder / ".sluiceway")
    told = sluiceway(folder, "models", "import", "models:/plain_late@live", "flights", "--target", "late")
    assert (told["version"], told["gated"]) == ("1", False)
    rows = plain["rows"] * 20
    columns = {name: [row[name] for row in rows] for name in ("delay", "distance", "carrier")}
    late = [int(score >= 0.5) for score in plain["late"]] * 20
    append(str(folder / "table"), pa.table({**columns, "late": late}), message="x", source="test")
    document = {
        "experiment": {"name": "flights"},
        "data": {"path": str(folder / "table"), "features": ["delay", "distance", "carrier"], "target": "late"},
        "platform": {
            "state": str(folder / ".sluiceway"),
            "serving": {"port": 0},
            "ray": {"num_cpus": 2, "object_store_mb": 200},
        },
    }
    (folder / "flights.yaml").write_text(yaml.safe_dump(document))
    return plain


def start(folder, *words, expect=0):
    return sluiceway(folder, "rollout", "start", "flights@1", "--config", "flights.yaml", *words, expect=expect)


def test_an_import_is_rolled_out_only_although_no_gate_has_judged_it(folder, plain):
    assert "no gate has judged version 1 of flights" in start(folder, expect=2)["message"]
    sluiceway(folder, "models", "retire", "flights@1")
    assert "is retired since" in start(folder, "--ungated", expect=2)["message"]
    sluiceway(folder, "models", "retire", "flights@1", "--undo")
    assert sluiceway(folder, "rollout", "history") == []


@pytest.mark.soak
def test_an_import_answers_requests_as_its_estimator_does(folder, plain, ray_cluster):
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
        try:
            (done,) = start(folder, "--ungated")
            assert done["rollout"]["status"] == "promoted"
            response = httpx.post(done["url"] + "/predict", json={"rows": plain["rows"]}, timeout=30)
            assert response.status_code == 200, response.text
            answer = response.json()
            assert answer["version"] == "1"
            assert [one["score"] for one in answer["predictions"]] == pytest.approx(plain["late"], abs=0)
            decided = [one["decision"] for one in answer["predictions"]]
            assert decided == [int(score >= 0.5) for score in plain["late"]]
        finally:
            stop_serve()
    state = folder / ".sluiceway"
    found = Registry(f"sqlite:///{state / 'mlflow.db'}", state / "artifacts").version("flights", "1")
    assert found.aliases == ("champion",)
    assert found.tags["rollout.flights-production.outcome"] == "promoted"
    assert "it is flights@champion" in sluiceway(folder, "models", "retire", "flights@1", expect=2)["message"]
    (one,) = sluiceway(folder, "models", "lineage", "flights@1")["rollouts"]
    assert (one["endpoint"], one["outcome"], one["instead_of"]) == ("flights-production", "promoted", None)
