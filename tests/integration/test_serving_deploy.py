"""The local Serve config, deployed by Serve itself, serves the champion of a catalog."""

import os
import signal
import threading
import time

import httpx
import pytest
import yaml

from serving_models import as_rows, examples, train_small
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.platform import ServingSection
from sluiceway.core.traffic import TrafficDocument

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on `Field`:DeprecationWarning"),
]


def test_the_local_config_serves(ray_cluster, repository, tmp_path):
    from ray import serve  # noqa: PLC0415 (Ray has to be up)
    from ray.serve.context import _get_global_client  # noqa: PLC0415
    from ray.serve.schema import ServeDeploySchema  # noqa: PLC0415

    from sluiceway.serving.instance import start_serve, stop_serve  # noqa: PLC0415

    document = yaml.safe_load((repository / "serve_configs" / "local.yaml").read_text())
    (application,) = document["applications"]
    name = application["name"]
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    application["args"]["catalog"] = url
    engine = open_catalog(url)
    model = train_small(tmp_path, seed=1)
    TrafficStore(engine).publish(TrafficDocument(name, 1, model.arm("7", 1.0)))
    address = start_serve(ServingSection(port=0))
    try:
        # What `serve deploy` and KubeRay do by way of the dashboard, which the tests' Ray does without.
        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(document), _blocking=False)
        deadline = time.monotonic() + 90
        while serve.status().applications[name].status != "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.2)
        matrix, _ = examples(3, seed=2)
        response = httpx.post(f"{address.url}/{name}/predict", json={"rows": as_rows(matrix)}, timeout=30)
        assert response.status_code == 200
        assert response.json()["version"] == "7"
    finally:
        stop_serve()
        engine.dispose()


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
