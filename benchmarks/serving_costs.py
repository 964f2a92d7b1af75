"""What logging, validation, keys and metrics cost: the same endpoint with and without each, turn and turn about."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
from bench_line import Bench
from serving_model import FEATURES, Model
from serving_ours import Cluster, Endpoint
from serving_rates import CONNECTIONS
from serving_wrk import Load, Times, in_turn

from sluiceway.features.schema import FeatureSchema
from sluiceway.serving import applications, inputs
from sluiceway.serving.deploy import deploy_endpoint
from sluiceway.serving.endpoint import EndpointReplica
from sluiceway.serving.specs import EndpointSpec
from sluiceway.telemetry import metrics

ALL = "all on"
REPLICA = "ray::ServeReplica"


class WithoutValidation(EndpointReplica):
    """Takes every row for what it should be."""

    def __init__(self, spec: EndpointSpec, recorder: Any) -> None:
        inputs.RowsInput.encode = _unchecked  # type: ignore[method-assign]
        super().__init__(spec, recorder)


class WithoutMetrics(EndpointReplica):
    """Counts nothing for Prometheus."""

    def __init__(self, spec: EndpointSpec, recorder: Any) -> None:
        silent = _Silent()
        metrics.ServingMetrics.arm = lambda *_args, **_names: silent  # type: ignore[method-assign,assignment]
        super().__init__(spec, recorder)


class _Silent:
    """Every series at once, none of which keeps anything."""

    def __getattr__(self, _name: str) -> _Silent:
        return self

    def __call__(self, *_given: Any) -> _Silent:
        return self


def _unchecked(self: inputs.RowsInput, _schema: FeatureSchema) -> tuple[np.ndarray, int]:
    return np.array([[row[name] for name in FEATURES] for row in self.rows], dtype=np.float32), 0


def _with(replica: type[EndpointReplica]) -> Callable[[EndpointSpec], None]:
    """Deploys another replica in all that an endpoint has else."""

    def deploy(spec: EndpointSpec) -> None:
        with mock.patch.object(applications, "EndpointReplica", replica):
            deploy_endpoint(spec)

    return deploy


def costs(cluster: Cluster, model: Model, times: Times) -> dict[str, list[Load]]:
    """Measure all of them; the runs of each by name, the complete endpoint first."""
    variants: dict[str, dict[str, Any]] = {
        ALL: {},
        "without the log of predictions": {"log": {"enabled": False}},
        "without validation": {"deploy": _with(WithoutValidation)},
        "without keys": {"keyed": False},
        "without metrics": {"deploy": _with(WithoutMetrics)},
    }
    targets = []
    for number, (name, given) in enumerate(variants.items()):
        targets.append(Endpoint(cluster, f"cost{number}", model, **given).target(name))
    return in_turn(targets, connections=CONNECTIONS, times=times)


def tell(bench: Bench, taken: dict[str, list[Load]]) -> None:
    """A line each: requests a second, and CPU of the replica a request."""
    base, used = (_median(taken[ALL], each) for each in ("rate", "cpu"))
    for name, runs in taken.items():
        rate, cpu = _median(runs, "rate"), _median(runs, "cpu")
        more = "" if name == ALL else f"; {used - cpu:+.0f} us of CPU, {1 - base / rate:+.1%} of the rate is its cost"
        bench.tell(f"cost: {name}", f"{rate:,.0f} req/s, {cpu:.0f} us of the replica's CPU a request{more}")


def _median(runs: list[Load], what: str) -> float:
    return statistics.median(run.rate if what == "rate" else run.microseconds(REPLICA) for run in runs)
