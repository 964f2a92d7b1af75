"""The engine ``xgboost_ray``: its versions, what it refuses, and what it is asked. No engine is spoken here."""

from __future__ import annotations

from typing import Any

from sluiceway.config.experiment import TrainingSection
from sluiceway.core.errors import ConfigError
from sluiceway.training.loop import LoopSpec

# The last of each that work together (docs/training/legacy.md).
PACKAGES = ("xgboost==2.0.3", "xgboost-ray==0.1.19", "numpy<2", "pyarrow<20", "pandas<3.1")


def check_legacy(training: TrainingSection, *, base: bytes | None = None) -> None:
    """Refuse what that library cannot do; a report that looks the same must mean the same.

    Args:
        training: as configured.
        base: a model to go on from, or None.

    Raises:
        ConfigError: all that it cannot do.
    """
    given = training.model_fields_set
    problems = [
        problem
        for wrong, problem in (
            (training.final != "refit", f"training.final: {training.final}; it has refit only"),
            (training.parallel_folds != 1, "training.parallel_folds: its folds run one after the other"),
            (training.device != "cpu", f"training.device: {training.device}; its environment is for CPUs"),
            (training.memory_per_worker is not None, "training.memory_per_worker: it cannot train from disk"),
            (
                training.cpus_per_worker is not None and training.cpus_per_worker % 1 != 0,
                "training.cpus_per_worker: its actors take whole CPUs",
            ),
            ("checkpoint_rounds" in given, "training.checkpoint_rounds: it goes on from no checkpoint of ours"),
            ("retries" in given and training.retries > 0, "training.retries: a worker that dies ends the run"),
            (base is not None, "it cannot go on from a model"),
        )
        if wrong
    ]
    if problems:
        raise ConfigError(
            "training.engine: xgboost_ray cannot do this",
            problems=tuple(problems),
            hint="training.engine: xgboost can",
        )


def legacy_request(spec: LoopSpec, *, actors: int, threads: int) -> dict[str, Any]:
    """What the environment of that library is asked: plain values, which every version of numpy understands.

    Args:
        spec: of the loop.
        actors: of xgboost-ray.
        threads: of each; the library wants as many as the actor's CPUs.
    """
    return {
        "params": {**spec.params, "nthread": threads},
        "rounds": spec.rounds,
        "early_stopping": spec.early_stopping,
        "maximise": spec.maximise,
        "metric": spec.metric,
        "folds": spec.folds,
        "names": None if spec.names is None else list(spec.names),
        "types": list(spec.types),
        "actors": actors,
    }
