"""What the command does around the training itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
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
