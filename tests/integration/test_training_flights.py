"""The demo's own configuration, on the table's own rows, with both engines."""

import pytest

from sluiceway.config.load import load_settings
from sluiceway.core.doors import SilentProgress
from sluiceway.core.references import TableVersion
from sluiceway.data.commit import append
from sluiceway.data.digest import version_digest
from sluiceway.data.ray_profile import profile
from sluiceway.data.source_flights import flights_month
from sluiceway.data.tables import schema as table_schema
from sluiceway.features.schema import derive
from sluiceway.training.recipe import Recipe
from sluiceway.training.trainer import train

pytestmark = [pytest.mark.integration, pytest.mark.soak]


def test_two_workers_through_ray_train_find_what_auto_finds(repository, tmp_path, ray_cluster, capsys):
    settings = load_settings(repository / "jobs/configs/flights.yaml")
    uri, rows = str(tmp_path / "flights"), 0
    for month in (1, 2):
        rows += append(uri, flights_month(month), message=f"{month}", source="test").rows
    version = TableVersion(uri, 1, version_digest(uri, 1), rows, "newest")
    found = profile(version, (*settings.data.features, settings.data.target))
    features = derive(table_schema(uri), categories=found.categories, features=settings.data.features)
    reports = {}
    for workers in ("auto", 2):
        training = settings.training.model_copy(update={"workers": workers})
        recipe = Recipe(settings.data, settings.model, training, settings.experiment.seed, features, classes=(0, 1))
        oof = str(tmp_path / f"oof-{workers}")
        reports[workers] = train(version, recipe, oof_uri=oof, progress=SilentProgress())
    group, task = reports[2], reports["auto"]
    with capsys.disabled():
        print(f"\nRay Train: start-up {group.seconds['start']:.1f} s of {group.seconds['total']:.1f} s; {group.why}")  # noqa: T201
    assert (group.engine, task.engine) == ("group", "task")
    assert group.rows == task.rows
    assert group.metric == pytest.approx(task.metric, abs=1e-3)
    assert group.seconds["start"] > 0
