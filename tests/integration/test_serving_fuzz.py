"""Requests that schemathesis makes up from the OpenAPI document: whatever comes, no answer is a failure of ours."""

import subprocess
import sys
from pathlib import Path

import pytest

from served_models import ServedModels
from serving_models import train_grades, train_small
from sluiceway.config.serving import InputSection, ServingSection

pytestmark = [
    pytest.mark.integration,
    # Ray's own schema, when ray.serve is imported for the first time.
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]

# That valid data are accepted is left out: no schema says that columns have one length, or what a tensor's shape does.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def endpoint(ray_cluster, tmp_path_factory):
    rules = InputSection(ranges={"distance": (0, 6000)}, extra=("comment",))
    serving = ServingSection(input=rules, routing_field="customer")
    running = ServedModels(tmp_path_factory.mktemp("endpoint"), "flights_late", serving=serving)
    yield running
    running.close()


def fuzzed(endpoint, folder, *, examples, phases):
    """What schemathesis says at its end; fails where a check did."""
    done = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{endpoint.client.base_url}openapi.json"),
            *("--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(examples)),
            *("--seed", "7", "--no-color", "--continue-on-failure", "--suppress-health-check", "all"),
            *("--request-timeout", "60", "--warnings", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_no_made_up_request_is_a_failure_of_ours(endpoint, tmp_path):
    endpoint.follow(train_small(tmp_path, seed=3), "1")
    told = fuzzed(endpoint, tmp_path, examples=5, phases="examples,coverage,fuzzing")
    assert "Tested: 17" in told
    assert endpoint.client.get("/ready").status_code == 200


@pytest.mark.soak  # minutes of requests; the same with few of them is above
@pytest.mark.parametrize("train", [train_small, train_grades], ids=["binary", "several classes"])
def test_no_request_of_very_many_is_a_failure_of_ours(endpoint, tmp_path, train):
    endpoint.follow(train(tmp_path, seed=4), "2" if train is train_small else "3")
    told = fuzzed(endpoint, tmp_path, examples=150, phases="examples,coverage,fuzzing,stateful")
    assert "Tested: 17" in told
    assert endpoint.client.get("/ready").status_code == 200
