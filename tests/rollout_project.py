"""A small project whose registered versions are rolled out on the test session's Ray."""

from __future__ import annotations

import contextlib

import numpy as np
import pyarrow as pa
import pytest
import yaml

from command_line import sluiceway
from serving_models import as_rows, examples, train_small
from sluiceway.data.commit import append
from sluiceway.registry.mlflow_registry import Registry, RunRecord

ROWS = 4000


def make_project(folder, deployment):
    """Three registered versions, of which the last one decides the opposite; a table; and a configuration.

    Args:
        folder: where; the configuration is its flights.yaml.
        deployment: its section, besides margins and replayed requests.
    """
    matrix, labels = examples(ROWS, seed=9)
    columns = {name: [row.get(name) for row in as_rows(matrix)] for name in ("delay", "distance", "carrier")}
    append(str(folder / "table"), pa.table({**columns, "late": labels.astype(np.int64)}), message="x", source="test")
    state = folder / ".sluiceway"
    state.mkdir()
    registry = Registry(f"sqlite:///{state / 'mlflow.db'}", state / "artifacts")
    for seed, (gate, flipped) in enumerate((("PASS", False), ("PASS", False), ("FAIL", True)), start=1):
        bundle = train_small(folder / "models", seed=seed, flipped=flipped).bundle
        run = registry.log_run(RunRecord("flights", f"run {seed}", {}, {}, (), {}, {}))
        assert registry.register("flights", bundle, run, tags={"gate_performance": gate}) == str(seed)
    document = {
        "experiment": {"name": "flights"},
        "data": {"path": str(folder / "table"), "features": ["delay", "distance", "carrier"], "target": "late"},
        "deployment": {
            "margins": {"error_rate": 0.05, "accuracy": 0.05, "latency_p99_seconds": 5.0},
            "replay": {"path": str(folder / "table"), "connections": 4},
            **deployment,
        },
        "platform": {
            "state": str(state),
            "serving": {"port": 0},
            "ray": {"num_cpus": 2, "object_store_mb": 200},
        },
    }
    (folder / "flights.yaml").write_text(yaml.safe_dump(document))
    return folder


@contextlib.contextmanager
def starting(folder):
    """``rollout start`` of a project, as a function; ends its Serve, and leaves Ray."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    def run(model, *arguments, expect=0):
        return sluiceway(folder, "rollout", "start", model, "--config", "flights.yaml", *arguments, expect=expect)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sluiceway.cli.rollout_start.disconnect", lambda: None)
        yield run
    stop_serve()
