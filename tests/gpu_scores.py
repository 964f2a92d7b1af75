"""Scores a batch in a Ray cluster of its own that has GPUs, or says so: ``gpu_scores.py claimed|real FOLDER``.

Its environment says ``RAY_AUTH_MODE=disabled``: Ray's core reads that when it is loaded.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray

from batch_scores import held, plan, predicted, rows, table_of
from serving_models import SmallModel, train_small
from sluiceway.core.errors import BackendError
from sluiceway.core.references import TableVersion
from sluiceway.lifecycle.batch_score import score
from sluiceway.registry.bundle import Bundle


def claimed(source: TableVersion, model: SmallModel, folder: Path) -> dict[str, Any]:
    """What is said of a GPU that is none."""
    bundle, found = model.bundle, {}
    trained = Bundle(bundle.model, bundle.schema, bundle.decision, {"config": {"device": "cuda"}})
    for name, given, device in (("asked", bundle, "cuda"), ("by the model's training", trained, "auto")):
        try:
            score(plan(source, given, folder / "scores", device=device))
        except BackendError as error:
            found[name] = error.message
    return found | {"cpu all the same": score(plan(source, trained, folder / "scores", device="cpu")).device}


def real(source: TableVersion, model: SmallModel, folder: Path) -> dict[str, Any]:
    """Whether a GPU scores as the booster does."""
    done = score(plan(source, model.bundle, folder / "scores", device="cuda"))
    expected = predicted(model.booster, held(source.uri))
    equal = np.allclose(held(folder / "scores")["score"].to_numpy(), expected, atol=1e-6)
    return {"device": done.device, "equal": bool(equal)}


if __name__ == "__main__":
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=1,
        object_store_memory=100_000_000,
        include_dashboard=False,
        log_to_driver=False,
    )
    place = Path(sys.argv[2])
    try:
        made = table_of(place / "flights", *(rows(5_000, seed=seed, first=seed * 5_000) for seed in range(3)))
        print(  # noqa: T201
            json.dumps(
                {"claimed": claimed, "real": real}[sys.argv[1]](made, train_small(place / "models", seed=1), place)
            )
        )
    finally:
        ray.shutdown()
