"""What Serve is asked for each of our deployments: how many replicas, how long a queue, how they are swapped."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from sluiceway.config.serving import ScalingSection, ServingSection
from sluiceway.serving.challenger import Challenger
from sluiceway.serving.endpoint import EndpointReplica
from sluiceway.serving.recorder import Recorder
from sluiceway.serving.specs import (
    CHALLENGER_DEPLOYMENT,
    ENDPOINT_DEPLOYMENT,
    RECORDER_DEPLOYMENT,
    ChallengerSpec,
    EndpointSpec,
)

# A replica that is replaced goes when its successor answers; with Serve's own 0 it goes before. Up to a quarter more
# replicas, and one at least, are there meanwhile.
SURGE_PERCENT = 25

# Serve asks three times before it replaces a replica that does not answer: one that is frozen is gone in 45 s and not
# in 105 s, and a machine that is only busy has 10 s for an answer.
HEALTH_PERIOD_SECONDS = 5.0
HEALTH_TIMEOUT_SECONDS = 10.0

# Requests that are under way when a replica is told to go have their own time limit, and a little for the answer.
LAST_ANSWER_SECONDS = 5.0

# A recorder waits for disks and databases most of its time; each replica has one parcel on its way to it.
RECORDER_CPUS = 0.1
RECORDER_ONGOING = 64
# For the commit that is under way.
RECORDER_LAST_SECONDS = 15.0

# Throughput mode keeps 1,000 lines of the access log and writes them at once, in the event loop: some 20 ms in which
# nobody is answered. Counts and times are in the metrics, requests in the prediction log.
LOGGING = {"enable_access_log": False, "log_level": "WARNING"}

# How often within the time that the load is averaged over a replica tells the controller of it.
LOOKS_PER_LOOK_BACK = 5


def endpoint_application(spec: EndpointSpec) -> serve.Application:
    """The Serve application of an endpoint."""
    deployment = serve.deployment(
        serve.ingress()(EndpointReplica), name=ENDPOINT_DEPLOYMENT, **endpoint_options(spec.serving)
    )
    recorder = serve.deployment(Recorder, name=RECORDER_DEPLOYMENT, **recorder_options())
    return deployment.bind(spec, recorder.bind(spec))


def challenger_application(spec: ChallengerSpec) -> serve.Application:
    """The Serve application of a challenger."""
    deployment = serve.deployment(Challenger, name=CHALLENGER_DEPLOYMENT, **challenger_options(spec.serving))
    return deployment.bind(spec)


def endpoint_options(serving: ServingSection) -> dict[str, Any]:
    """Options of an endpoint's deployment.

    Behind HAProxy the queue is a replica's own: each holds ``queued_requests`` beside the ``ongoing_requests`` that it
    works on. Behind the Python proxy it is one per proxy.

    Args:
        serving: sizes and limits.

    Returns:
        Arguments of ``serve.deployment``.
    """
    return {
        **_shared(serving),
        **_replicas(serving.replicas, serving.scaling),
        "backpressure_config": BackpressureConfig(
            status_code=serving.shed_status, retry_after_s=float(serving.retry_after_seconds)
        ),
        "max_surge_percent": SURGE_PERCENT,
    }


def challenger_options(serving: ServingSection) -> dict[str, Any]:
    """Options of a challenger's deployment.

    With ``min_replicas: 0`` it begins with one, so that a model that cannot be loaded is found when it is deployed.

    Args:
        serving: sizes and limits.

    Returns:
        Arguments of ``serve.deployment``.
    """
    return {**_shared(serving), **_replicas(serving.challenger_replicas, serving.challenger_scaling)}


def recorder_options() -> dict[str, Any]:
    """Options of a recorder's deployment: one replica, for one process writes an endpoint's records.

    Returns:
        Arguments of ``serve.deployment``.
    """
    return {
        "num_replicas": 1,
        "ray_actor_options": {"num_cpus": RECORDER_CPUS},
        "max_ongoing_requests": RECORDER_ONGOING,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": RECORDER_LAST_SECONDS,
        "health_check_period_s": HEALTH_PERIOD_SECONDS,
        "health_check_timeout_s": HEALTH_TIMEOUT_SECONDS,
    }


def _shared(serving: ServingSection) -> dict[str, Any]:
    return {
        "ray_actor_options": {"num_cpus": serving.replica_cpus},
        "logging_config": LOGGING,
        "max_ongoing_requests": serving.ongoing_requests,
        "max_queued_requests": serving.queued_requests,
        "graceful_shutdown_wait_loop_s": 0.1,
        "graceful_shutdown_timeout_s": serving.request_timeout_seconds + LAST_ANSWER_SECONDS,
        "max_constructor_retry_count": 2,
        "health_check_period_s": HEALTH_PERIOD_SECONDS,
        "health_check_timeout_s": HEALTH_TIMEOUT_SECONDS,
    }


def _replicas(fixed: int, scaling: ScalingSection | None) -> dict[str, Any]:
    if scaling is None:
        return {"num_replicas": fixed}
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=scaling.min_replicas,
            initial_replicas=max(1, scaling.min_replicas),
            max_replicas=scaling.max_replicas,
            target_ongoing_requests=scaling.target_ongoing_requests,
            upscale_delay_s=scaling.upscale_delay_seconds,
            downscale_delay_s=scaling.downscale_delay_seconds,
            look_back_period_s=scaling.look_back_seconds,
            # Ray calls it deprecated in favour of two environment variables, which it reads and then uses for nothing.
            # Left at its 10 s, a load that lasts less than that is not seen.
            metrics_interval_s=scaling.look_back_seconds / LOOKS_PER_LOOK_BACK,
        )
    }
