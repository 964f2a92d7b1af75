"""An endpoint that a Serve config has deployed, beside others; and a Serve that is stopped."""

import contextlib
import os
import signal
import threading
import time

import httpx
import pytest
import yaml

from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.errors import ConfigError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]


class Deployed:
    """A Serve with the endpoint of the local config, as KubeRay and `serve deploy` would have put it there."""

    def __init__(self, repository, folder):
        from ray.serve.context import _get_global_client  # noqa: PLC0415 (Ray has to be up)
        from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

        from sluiceway.serving.instance import start_serve  # noqa: PLC0415

        document = yaml.safe_load((repository / "serve_configs" / "local.yaml").read_text())
        (self.application,) = document["applications"]
        arguments = self.application["args"]
        arguments["catalog"] = f"sqlite:///{folder / 'catalog.db'}"
        arguments["predictions"] = str(folder / "predictions")
        self.name = self.application["name"]
        self.engine = open_catalog(arguments["catalog"])
        self.leases = LeaseStore(self.engine)
        self.model = train_small(folder, seed=1)
        TrafficStore(self.engine).publish(TrafficDocument(self.name, 1, self.model.arm("7", 1.0)))
        self.address = start_serve(ServingSection(port=0))
        self.spec = EndpointSpec(
            self.name, self.application["route_prefix"], arguments["catalog"], ServingSection(max_rows=1)
        )
        # By way of the dashboard, which the tests' Ray does without.
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(document), _blocking=False)

    def ask(self, rows=3):
        """One request."""
        url = f"{self.address.url}{self.application['route_prefix']}/predict"
        return httpx.post(url, json={"rows": as_rows(examples(rows, seed=2)[0])}, timeout=30)


@pytest.fixture
def deployed(ray_cluster, repository, tmp_path):
    """A Serve of the test's own, with a declared endpoint."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

    made = Deployed(repository, tmp_path)
    yield made
    stop_serve()
    made.engine.dispose()


@pytest.mark.soak
def test_a_declared_endpoint_is_left_alone_and_goes_for_good(deployed):
    import ray  # noqa: PLC0415
    from ray import serve  # noqa: PLC0415
    from ray.serve.context import _get_global_client  # noqa: PLC0415

    from sluiceway.serving.deploy import (  # noqa: PLC0415
        deploy_application,
        deploy_challenger,
        deploy_endpoint,
        remove_endpoint,
    )
    from sluiceway.serving.doors import JoinedServe  # noqa: PLC0415

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Notebook:
        def __call__(self) -> str:
            return "here"

    door = JoinedServe()
    # A rollout finds an endpoint whose config is another one than its own: it is waited for, and not replaced.
    deploy_endpoint(deployed.spec)
    assert (deployed.ask().status_code, deployed.ask().json()["version"]) == (200, "7")
    deploy_application(Notebook.bind(), name="notebook", route_prefix="/notebook")
    taken = EndpointSpec("notebook", "/x", deployed.spec.catalog_url, deployed.spec.serving)
    with pytest.raises(ConfigError, match="notebook is there that is no endpoint of ours"):
        deploy_endpoint(taken)
    with pytest.raises(ConfigError, match="notebook is no endpoint of ours"):
        remove_endpoint(door, "notebook", leases=deployed.leases)
    model = deployed.model
    challenger = deploy_challenger(
        ChallengerSpec(deployed.name, "8", str(model.folder), model.bundle.digest, None, deployed.spec.serving)
    )

    removed = remove_endpoint(door, deployed.name, leases=deployed.leases)
    assert removed == [deployed.name, challenger]
    assert remove_endpoint(door, deployed.name, leases=deployed.leases) == []
    assert list(door.read()["applications"]) == ["notebook"]
    assert deployed.ask().status_code == 404

    # A controller that starts again reads the Serve config: what was only deleted, and stands in it, would be back.
    pid = ray.get(_get_global_client()._controller.get_pid.remote())
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(ray.exceptions.RayError):
            if ray.get(_get_global_client()._controller.get_pid.remote(), timeout=5) != pid:
                break
        time.sleep(0.2)
    assert list(door.read()["applications"]) == ["notebook"]


def test_serve_is_stopped_though_its_controller_is_busy(ray_cluster):
    import ray  # noqa: PLC0415 (Ray has to be up)
    from ray import serve  # noqa: PLC0415
    from ray.serve.context import _get_global_client  # noqa: PLC0415

    from sluiceway.serving.instance import serve_address, start_serve, stop_serve  # noqa: PLC0415

    @serve.deployment(ray_actor_options={"num_cpus": 0.5})
    class Holder:
        def __call__(self) -> str:
            return "here"

    start_serve(ServingSection(port=0))
    serve.run(Holder.bind(), name="holder", route_prefix=None)
    pid = ray.get(_get_global_client()._controller.get_pid.remote())
    os.kill(pid, signal.SIGSTOP)
    waking = threading.Timer(7, os.kill, (pid, signal.SIGCONT))  # Ray takes it for dead after 5 s
    waking.start()
    try:
        stop_serve()
    finally:
        waking.join()
    assert serve_address() is None
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2
