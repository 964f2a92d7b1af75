"""What the command does around the training itself."""

from __future__ import annotations

import shlex

import numpy as np
import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
from sluiceway.cli.train_search import going_on
from sluiceway.config.load import load_settings
from sluiceway.core.errors import InputError
from sluiceway.data.commit import append


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A table of two versions, the second with a column more, and a configuration; Ray must not be asked for."""
    rows = pa.table({"a": np.arange(9.0), "late": np.arange(9) % 2})
    append(str(tmp_path / "t"), rows, message="x", source="test")
    wider = rows.append_column("b", pa.array(np.arange(9.0)))
    append(str(tmp_path / "t"), wider, message="y", source="test", more_columns=True)
    data = {"path": "t", "features": ["a", "b"], "target": "late", "key": ["a"]}
    document = {
        "experiment": {"name": "m"},
        "data": data,
        "search": {"space": {"max_depth": {"whole": [2, 3]}}, "trials": 2},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    for asked in ("train", "train_search"):
        monkeypatch.setattr(f"sluiceway.cli.{asked}.connect_ray", lambda *_, **__: pytest.fail("Ray was started"))
    return tmp_path


@pytest.mark.parametrize("search", [[], ["--search"]])
def test_columns_that_a_version_does_not_have_are_told_before_ray_is_started(place, search):
    told = sluiceway(place, "train", "c.yaml", "--version", "0", *search, expect=2)
    assert "has no column 'b'" in told["message"]
    misspelt = "evaluation.fairness.protected_attributes=[lat]"
    told = sluiceway(place, "train", "c.yaml", "--set", misspelt, *search, expect=2)
    assert told["problems"] == [
        "evaluation.fairness.protected_attributes[0]: 'lat' is no column of the table; did you mean 'late'?"
    ]


@pytest.mark.parametrize("version", [None, "7", "v1", "2026-01-01", "2026-01-01T00:00:00Z"])
def test_the_command_after_a_search_has_its_rows_and_its_settings(place, version):
    given = [
        "experiment.seed=9",
        "data.split={by: row, train: 0.6, validation: 0.2, test: 0.2}",
        "model.params={gamma: 1}",
    ]
    params = {"max_depth": 3, "monotone_constraints": {"it's": 1}, "learning_rate": 0.1}
    file = (place / "c.yaml").rename(place / "of mine.yaml")
    words = shlex.split(going_on(str(file), given, version=version, params=params))
    assert words[1:3] == ["run", str(file)]
    assert set(words[3::2]) == {"--set"}
    then, read = load_settings(file, overrides=given), load_settings(file, overrides=words[4::2])
    same = then.model_dump() | {"model": read.model.model_dump(), "data": then.data.model_dump() | {"version": version}}
    assert read.model_dump() == same
    assert read.model.params == params


def test_the_version_is_held_while_it_is_trained_on(tmp_path, monkeypatch):
    """Or a vacuum would delete its files, and the model would be lost at the end."""
    append(str(tmp_path / "t"), pa.table({"a": np.arange(9.0), "late": np.arange(9) % 2}), message="x", source="test")
    document = {"experiment": {"name": "m"}, "data": {"path": "t", "features": ["a"], "target": "late", "key": ["a"]}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    held = []

    def build(context, version):
        held.extend(lease.body for lease in context.stores.leases.list())
        raise InputError("that is enough")

    monkeypatch.setattr("sluiceway.cli.train.build_candidate", build)
    monkeypatch.setattr("sluiceway.cli.train.connect_ray", lambda *_, **__: None)
    monkeypatch.setattr("sluiceway.cli.train.disconnect", lambda: None)
    assert sluiceway(tmp_path, "train", "c.yaml", expect=2)["message"] == "that is enough"
    assert [body for body in held if str(tmp_path / "t") in body]
