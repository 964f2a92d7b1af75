"""What a run offers at its end."""

import pytest

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.cli.summary import completed
from sluiceway.config.load import load_settings
from sluiceway.core.traffic import Arm, TrafficDocument, endpoint_name
from sluiceway.lifecycle.summary import RunSummary


@pytest.mark.parametrize("served", [False, True])
def test_serving_is_offered_where_there_is_a_champion(tmp_path, monkeypatch, served):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "fares.yaml"
    config.write_text("experiment: {name: fares}\ndata: {path: t, features: [fare], target: late}\n")
    settings = load_settings(config)
    if served:
        engine = open_catalog(f"sqlite:///{tmp_path / '.sluiceway' / 'catalog.db'}")
        endpoint = endpoint_name("fares", settings.deployment.environments[-1])
        TrafficStore(engine).publish(TrafficDocument(endpoint, 1, Arm("1", 1.0, "x", "d")))
        engine.dispose()
    offered = completed(RunSummary("r", (), 1.0), settings, config="fares.yaml").going_on
    assert any("models list -c fares.yaml" in line for line in offered)
    assert any("serve up fares.yaml" in line for line in offered) is served
