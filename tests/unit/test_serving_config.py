"""The Serve configs of the repository are what Ray and the endpoint take."""

import pytest
import yaml
from pydantic import ValidationError

from sluiceway.serving.app import EndpointArguments, build
from sluiceway.serving.specs import ENDPOINT_DEPLOYMENT, ENDPOINT_IMPORT_PATH

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")

HOSTS = {"local": "127.0.0.1", "staging": "0.0.0.0", "production": "0.0.0.0"}


@pytest.fixture(params=HOSTS)
def name(request):
    """Of a config."""
    return request.param


@pytest.fixture
def config(repository, name):
    """As Ray reads it."""
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 (under the filter above)

    text = (repository / "serve_configs" / f"{name}.yaml").read_text()
    return ServeDeploySchema.model_validate(yaml.safe_load(text))


def test_there_is_no_other_one(repository):
    assert {path.stem for path in (repository / "serve_configs").iterdir()} == set(HOSTS)


def test_it_is_ray_s_and_uploads_no_code(config, name):
    assert config.http_options.host == HOSTS[name]
    assert config.proxy_location == "EveryNode"
    for application in config.applications:
        assert application.import_path == ENDPOINT_IMPORT_PATH == f"{build.__module__}:{build.__name__}"
        assert not application.runtime_env
        assert not application.deployments


def test_its_arguments_are_the_endpoint_s(config):
    for application in config.applications:
        arguments = EndpointArguments.model_validate(application.args)
        assert arguments.endpoint == application.name
        assert application.route_prefix == f"/{application.name.replace('-', '/')}"
        assert arguments.serving.scaling.max_replicas > arguments.serving.scaling.min_replicas
        assert arguments.predictions  # or there would be no log


def test_what_it_builds_scales_and_sheds_as_it_says(config):
    for application in config.applications:
        serving = EndpointArguments.model_validate(application.args).serving
        deployment = build(application.args)._bound_deployment
        options = deployment._deployment_config
        assert deployment.name == ENDPOINT_DEPLOYMENT
        assert options.autoscaling_config.max_replicas == serving.scaling.max_replicas
        assert (options.max_ongoing_requests, options.max_queued_requests) == (
            serving.ongoing_requests,
            serving.queued_requests,
        )
        assert options.backpressure_config.retry_after_s == serving.retry_after_seconds
        assert deployment.ray_actor_options["num_cpus"] == serving.replica_cpus


def test_a_queue_of_none_is_refused(config):
    application = config.applications[0]
    with pytest.raises(ValidationError, match="1 or more, or -1 to shed none"):
        build({**application.args, "serving": {"queued_requests": 0}})


def test_a_misspelt_argument_is_refused(config):
    application = config.applications[0]
    with pytest.raises(ValidationError, match="replica_cpu\n"):
        build({**application.args, "serving": {"replica_cpu": 1}})
