"""What Serve is asked for, from the section ``platform.serving``."""

import pytest

from sluiceway.config.serving import ScalingSection, ServingSection
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")

SCALING = ScalingSection(
    min_replicas=2,
    max_replicas=5,
    target_ongoing_requests=4,
    upscale_delay_seconds=1,
    downscale_delay_seconds=20,
    look_back_seconds=3,
)


@pytest.fixture
def asked():
    """The deployment's own options, as Serve holds them."""
    from sluiceway.serving.applications import challenger_application, endpoint_application  # noqa: PLC0415

    def of(kind, **serving):
        section = ServingSection(**serving)
        if kind == "endpoint":
            application = endpoint_application(EndpointSpec("fraud", "/fraud", "sqlite://", section))
        else:
            application = challenger_application(ChallengerSpec("fraud", "7", "/b", "ab" * 32, None, section))
        return application._bound_deployment

    return of


@pytest.mark.parametrize(("kind", "replicas"), [("endpoint", 3), ("challenger", 2)])
def test_without_scaling_the_replicas_are_as_many_as_it_says(asked, kind, replicas):
    config = asked(kind, replicas=3, challenger_replicas=2)._deployment_config
    assert (config.num_replicas, config.autoscaling_config) == (replicas, None)


@pytest.mark.parametrize(("kind", "key"), [("endpoint", "scaling"), ("challenger", "challenger_scaling")])
def test_scaling_is_serve_s_autoscaling(asked, kind, key):
    scaling = asked(kind, **{key: SCALING})._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.initial_replicas, scaling.max_replicas) == (2, 2, 5)
    assert (scaling.target_ongoing_requests, scaling.upscale_delay_s, scaling.downscale_delay_s) == (4, 1, 20)
    assert scaling.look_back_period_s == 3
    # Several looks within the time that is averaged over, or Ray warns and a short load is not seen.
    assert scaling.metrics_interval_s < scaling.look_back_period_s


def test_one_kind_s_scaling_is_not_the_other_s(asked):
    assert asked("endpoint", challenger_scaling=SCALING)._deployment_config.autoscaling_config is None
    assert asked("challenger", scaling=SCALING)._deployment_config.autoscaling_config is None


def test_the_defaults_of_scaling_make_ray_warn_of_nothing(asked):
    scaling = asked("endpoint", scaling=ScalingSection(max_replicas=2))._deployment_config.autoscaling_config
    assert scaling.max_replicas == 2  # warnings are errors here


def test_a_challenger_that_may_go_begins_with_one_replica(asked):
    idle = ScalingSection(min_replicas=0, max_replicas=2)
    scaling = asked("challenger", challenger_scaling=idle)._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.initial_replicas) == (0, 1)


def test_the_queue_and_what_is_said_to_who_is_shed(asked):
    config = asked(
        "endpoint", ongoing_requests=7, queued_requests=11, shed_status=429, retry_after_seconds=3
    )._deployment_config
    assert (config.max_ongoing_requests, config.max_queued_requests) == (7, 11)
    assert (config.backpressure_config.status_code, config.backpressure_config.retry_after_s) == (429, 3)
    assert asked("endpoint", queued_requests=-1)._deployment_config.max_queued_requests == -1


def test_a_replica_that_goes_has_time_for_the_requests_that_it_has(asked):
    for kind in ("endpoint", "challenger"):
        assert asked(kind, request_timeout_seconds=20)._deployment_config.graceful_shutdown_timeout_s > 20


def test_an_endpoint_s_old_replicas_stay_until_new_ones_answer(asked):
    assert asked("endpoint")._deployment_config.max_surge_percent > 0


def test_every_replica_reserves_its_cpus(asked):
    for kind in ("endpoint", "challenger"):
        assert asked(kind, replica_cpus=0.3).ray_actor_options["num_cpus"] == 0.3
