"""The Serve configs of the repository are what Ray and the endpoint take."""

import pytest
import yaml
from pydantic import ValidationError

from sluiceway.serving.app import EndpointArguments, build

pytestmark = pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning")


@pytest.fixture
def config(repository):
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415 (under the filter above)

    return ServeDeploySchema.model_validate(yaml.safe_load((repository / "serve_configs" / "local.yaml").read_text()))


def test_the_local_config_is_rays(config):
    (application,) = config.applications
    assert application.import_path == f"{build.__module__}:{build.__name__}"
    assert not application.runtime_env  # nothing is uploaded
    assert config.http_options.host == "127.0.0.1"


def test_its_arguments_are_the_endpoints(config):
    (application,) = config.applications
    arguments = EndpointArguments.model_validate(application.args)
    assert (arguments.endpoint, application.route_prefix) == (application.name, f"/{arguments.endpoint}")


def test_a_misspelt_argument_is_refused(config):
    (application,) = config.applications
    with pytest.raises(ValidationError, match="replica_cpu\n"):
        build({**application.args, "serving": {"replica_cpu": 1}})
