"""What a training run leaves in MLflow, and how it is written in few calls."""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from sluiceway.core.errors import InputError
from sluiceway.registry.data_input import DataInput, dataset_input

KEY_TAG = "sluiceway.run_key"
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_PARAMS_A_CALL, _METRICS_A_CALL, _TAGS_A_CALL = 100, 1000, 100
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")


@dataclass(frozen=True)
class RunRecord:
    """A training run, complete.

    Attributes:
        experiment: name of the MLflow experiment.
        name: of the run, for people.
        params: what it was told; values are written as text.
        metrics: what came out; None is left out, NaN is written.
        fold_metrics: one mapping a fold; written as ``fold_NAME`` with the fold as step.
        series: values over the rounds by name, e.g. ``fold_1.auc``: (round, value) each; infinite ones are left out.
        inputs: the data that it was trained on.
        tags: data version, digest and URI, code commit, dirty, config digest ...
        artifacts: content or file by relative path, e.g. ``config.yaml``, ``gates.json``, ``report.html``.
        key: what the run is the result of; a second record with the same key is the same run ("" never is).
    """

    experiment: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    fold_metrics: tuple[Mapping[str, float], ...] = ()
    series: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    inputs: tuple[DataInput, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, bytes | Path] = field(default_factory=dict)
    key: str = ""

    def __post_init__(self) -> None:
        for name in self.artifacts:
            path = PurePosixPath(name)
            if not path.name or path.is_absolute() or ".." in path.parts:
                raise InputError(f"{name!r} is no relative path for an artifact")


def write_run(client: MlflowClient, record: RunRecord, run_id: str) -> None:
    """Write everything of a record into an open run; a call for a thousand values, whatever they are.

    Args:
        client: the connection.
        record: what to write.
        run_id: an open run; it carries the record's key already.
    """
    params = [Param(_name(k), _shortened(v, _LONGEST_PARAM)) for k, v in record.params.items()]
    marks = [RunTag(_name(k), _shortened(v, _LONGEST_TAG)) for k, v in record.tags.items()]
    metrics = _metrics(record)
    for start in range(0, len(params), _PARAMS_A_CALL):
        client.log_batch(run_id, params=params[start : start + _PARAMS_A_CALL])
    for start in range(0, len(metrics), _METRICS_A_CALL):
        client.log_batch(run_id, metrics=metrics[start : start + _METRICS_A_CALL])
    for start in range(0, len(marks), _TAGS_A_CALL):
        client.log_batch(run_id, tags=marks[start : start + _TAGS_A_CALL])
    if record.inputs:
        client.log_inputs(run_id, datasets=[dataset_input(one) for one in record.inputs])
    _write_artifacts(client, record, run_id)


def _metrics(record: RunRecord) -> list[Metric]:
    now = int(time.time() * 1000)
    found = [Metric(_name(k), float(v), now, 0) for k, v in record.metrics.items() if v is not None]
    for fold, values in enumerate(record.fold_metrics):
        found += [Metric(_name(f"fold_{k}"), float(v), now, fold) for k, v in values.items() if not math.isinf(v)]
    for name, points in record.series.items():
        found += [Metric(_name(name), float(v), now, step) for step, v in points if not math.isinf(v)]
    return found


def _write_artifacts(client: MlflowClient, record: RunRecord, run_id: str) -> None:
    if not record.artifacts:
        return
    with tempfile.TemporaryDirectory(prefix="sluiceway-run-") as folder:
        for name, content in record.artifacts.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else Path(content).read_bytes())
        client.log_artifacts(run_id, folder)


def tag_text(text: str) -> str:
    """A tag's value, no longer than MLflow keeps."""
    return _shortened(text, _LONGEST_TAG)


def _name(text: str) -> str:
    """MLflow allows letters, digits and ``_-. :/`` in names, at most 250."""
    return _NOT_ALLOWED.sub("_", text)[:250]


def _shortened(value: Any, longest: int) -> str:
    text = str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"
