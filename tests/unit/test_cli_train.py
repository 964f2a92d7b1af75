"""What the command does around the training itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import yaml

from command_line import sluiceway
from sluiceway.core.errors import InputError
from sluiceway.data.commit import append


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
