"""Three registered versions of a small model, of which the last one decides the opposite, a table, a configuration."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from serving_models import as_rows, examples, train_small
from sluiceway.data.commit import append
from sluiceway.registry.mlflow_registry import Registry, RunRecord

ROWS = 4000


def register_flights(folder: Path) -> Path:
    """Make all of it in a folder, ``flights.yaml`` in it the configuration; gives the folder."""
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
            "steps": [{"weight": 0.5, "max_seconds": 90}, {"weight": 1.0, "max_seconds": 90}],
            "margins": {"error_rate": 0.05, "accuracy": 0.05, "latency_p99_seconds": 5.0},
            "replay": {"path": str(folder / "table"), "connections": 4},
        },
        "platform": {"state": str(state), "serving": {"port": 0}, "ray": {"num_cpus": 2, "object_store_mb": 200}},
    }
    (folder / "flights.yaml").write_text(yaml.safe_dump(document))
    return folder
