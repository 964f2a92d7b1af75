"""The engine ``xgboost_ray``: the library of that name in an environment of its own, which Ray builds from a registry.

The rows are put in order here and cross over as bytes; so do the scores on their way back (docs/training/legacy.md).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import ray
from ray.runtime_env import RuntimeEnv, RuntimeEnvConfig

from sluiceway.core.errors import BackendError, ConfigError
from sluiceway.training.fold_checks import check_folds
from sluiceway.training.job import MOST_SAMPLE_ROWS, Job, Outcome, scored_rows
from sluiceway.training.legacy import PACKAGES, legacy_request
from sluiceway.training.loop import Emit
from sluiceway.training.oof import keep_oof, oof_table
from sluiceway.training.plan import Plan
from sluiceway.training.ray_blocks import stored_blocks
from sluiceway.training.ray_errors import cause_of
from sluiceway.training.ray_legacy_worker import RESULT, boost_legacy
from sluiceway.training.ray_resources import reserve_cpus
from sluiceway.training.report import FoldReport
from sluiceway.training.rows import Rows
from sluiceway.training.workplace import workplace

SETUP_SECONDS = 1800
INSTALL_HINT = (
    f"Ray installs {', '.join(PACKAGES)} on the node, from a package registry or from wheels in its image; "
    "docs/training/legacy.md says how to prepare one. training.engine: xgboost needs none of it"
)


def run_legacy(blocks: Sequence[ray.ObjectRef], job: Job, plan: Plan, *, emit: Emit) -> Outcome:
    """Train with xgboost-ray.

    Args:
        blocks: encoded blocks in the object store; only tasks fetch them.
        job: what to train; see :func:`sluiceway.training.legacy.check_legacy` for what cannot be.
        plan: workers are actors of xgboost-ray.
        emit: called on the driver with each progress event.

    Raises:
        ConfigError: the rows need more memory than the workers have.
        BackendError: the environment cannot be built; a worker died; there is no whole CPU for an actor.
    """
    if plan.disk_rows:
        raise ConfigError(
            "training.engine: xgboost_ray cannot train from disk",
            problems=(plan.why,),
            hint="training.engine: xgboost can; or raise training.workers",
        )
    cpus = int(reserve_cpus(plan))  # and so many threads: the library refuses more than an actor has reserved
    if cpus < 1:
        raise BackendError(
            f"xgboost-ray needs a whole CPU for each of {plan.workers} actors, and they are not free",
            hint="stop what holds them, or take training.engine: xgboost",
        )
    asked = time.time()
    x, validation_x, columns, kept = _pack.options(num_returns=4).remote(list(blocks), job)
    request = legacy_request(job.spec, actors=plan.workers, threads=cpus)
    stream = boost_legacy.options(runtime_env=_environment()).remote(request, columns, x, validation_x)
    try:
        results = _follow(stream, emit)
        outcome: Outcome = ray.get(_finish.remote(job, kept, *results))
    except ray.exceptions.RayError as error:
        raise _told(error) from error
    except BaseException:
        # Its actors end with the process that owns them.
        ray.cancel(stream, force=True)
        raise
    seconds = dict(outcome.seconds)
    spent = seconds["load"] + seconds["folds"] + seconds["final"] + seconds["oof"]
    return replace(outcome, seconds={"start": max(time.time() - asked - spent, 0.0), **seconds})


def _environment() -> RuntimeEnv:
    return RuntimeEnv(
        # Wheels are kept between runs: xgboost's alone has 300 MB.
        pip={"packages": list(PACKAGES), "pip_check": False, "pip_install_options": ["--disable-pip-version-check"]},
        # A placement group would outlive a driver that gives up, and hold the CPUs.
        env_vars={"RXGB_USE_SPREAD_STRATEGY": "0"},
        config=RuntimeEnvConfig(setup_timeout_seconds=SETUP_SECONDS),
    )


def _follow(stream: ray.ObjectRefGenerator, emit: Emit) -> list[ray.ObjectRef]:
    """Tell of the progress; give references to the summary and the scores, which the driver does not fetch."""
    for ref in stream:
        item = ray.get(ref)
        if item == RESULT:
            return [next(stream), next(stream), next(stream)]
        emit(item)
    raise BackendError("xgboost-ray ended without a model")


def _told(error: ray.exceptions.RayError) -> Exception:
    if isinstance(error, ray.exceptions.RuntimeEnvSetupError):
        lines = [line.strip() for line in str(error).splitlines() if "ERROR" in line] or str(error).splitlines()
        return BackendError(f"the environment of xgboost-ray cannot be built: {lines[-1].strip()}", hint=INSTALL_HINT)
    return cause_of(error, "xgboost-ray")


# Without CPUs of their own: what waits for them holds none either, and the actors take all.
@ray.remote(num_cpus=0, max_retries=0)
def _pack(blocks: list[ray.ObjectRef], job: Job) -> tuple[bytes, bytes, dict[str, bytes], dict[str, Any]]:
    """Arrange the rows; give the features of both parts, the training rows' columns, and what is needed afterwards."""
    began = time.perf_counter()
    with workplace(stored_blocks(blocks, job.width), job) as place:
        train, validation = place.train, place.validation
        check_folds(train, folds=job.spec.folds, classes=job.spec.classes)
        weight = np.empty(0, np.float32) if train.weight is None else train.weight
        narrow = {"y": train.y, "fold": train.fold, "since": train.since, "weight": weight}
        columns = {name: column.tobytes() for name, column in narrow.items()}
        kept = {
            "train": replace(train, x=np.empty((len(train), 0), np.float32)),
            "labels": validation.y,
            "sample": np.array(validation.x[:MOST_SAMPLE_ROWS]),
            "load": time.perf_counter() - began,
        }
        return train.x.tobytes(), validation.x.tobytes(), columns, kept


@ray.remote(num_cpus=0, max_retries=0)
def _finish(job: Job, kept: dict[str, Any], summary: dict[str, Any], oof: bytes, validation: bytes) -> Outcome:
    """Keep the out-of-fold predictions, and tell of the run as the other engines do."""
    train: Rows = kept["train"]
    written = keep_oof(job.oof_uri, oof_table(train, _scores(oof, job)), version=job.version)
    return Outcome(
        model=summary["model"],
        rounds=summary["rounds"],
        folds=tuple(FoldReport(**fold) for fold in summary["folds"]),
        validation=scored_rows(kept["labels"], _scores(validation, job), kept["sample"]),
        rows={"train": len(train), "validation": len(kept["labels"])},
        seconds={"load": kept["load"], "build": 0.0, **summary["seconds"], "oof": written.seconds},
        oof_version=written.version,
    )


def _scores(scores: bytes, job: Job) -> np.ndarray:
    found = np.frombuffer(scores, np.float32)
    return found.reshape(-1, job.spec.classes) if job.spec.kind == "multiclass" else found
