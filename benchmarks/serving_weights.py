"""How fast a change of weights arrives: by broadcast, and by Serve's ``user_config`` over its REST API, under load.

``weights`` is run in a process of its own, whose Ray has a dashboard: the REST API is a part of it.
"""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import ray
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
from serving_model import Model, native, train, write_bodies
from serving_wrk import Load, Target, load, wait_until

from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.load import set_environment_defaults
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.environment import free_port, serve_environment
from sluiceway.serving.handles import driver_handle
from sluiceway.serving.traffic import ServeTraffic

REPLICAS = 2
CHANGES = int(os.environ.get("BENCH_CHANGES", "50"))
ENDPOINT, CONFIGURED = "late", "configured"
HOST = "127.0.0.1"
CONNECTIONS = 4
ANSWER_SECONDS = 30.0
ASKED = 8  # requests that look for an old generation after each change


def weights(folder: Path) -> None:
    """Measure, and tell in one line of JSON."""
    set_environment_defaults(serve_environment())
    port = free_port(HOST)
    context = ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=200 * 2**20,
        include_dashboard=True,
        dashboard_host=HOST,
        dashboard_port=port,
        log_to_driver=False,
        logging_level="ERROR",
    )
    try:
        print(json.dumps(_measured(folder, f"http://{context.dashboard_url}")))
    finally:
        ray.shutdown()


def _measured(folder: Path, dashboard: str) -> dict[str, Any]:
    models = [train(folder / "one"), train(folder / "two", seed=8)]
    catalog = f"sqlite:///{folder / 'weights.db'}"
    store = TrafficStore(open_catalog(catalog))
    store.publish(_document(models, 1))
    rest = _Rest(dashboard, catalog, free_port(HOST))
    rest.put(0)
    wait_until(rest.running, seconds=90, what=f"the applications do not run: {rest.told}")
    told = {}
    # A replica looks into the catalog once a second: a few changes tell enough.
    for name, change, count in (
        ("broadcast", _Broadcast(store, models), CHANGES),
        ("user_config", _UserConfig(rest), CHANGES),
        ("catalog alone", _Unheard(store, models, rest.url), max(2, CHANGES // 5)),
    ):
        url = f"{rest.url}/{CONFIGURED if name == 'user_config' else f'{ENDPOINT}/predict'}"
        bodies = write_bodies(folder / "bodies", native)
        told[name] = _under_load(Target(name, url, bodies), change, count)
    return told


def _under_load(target: Target, change: Callable[[int], float], count: int) -> dict[str, Any]:
    """Make changes one after the other while requests come in."""
    taken: list[Load] = []
    stop = threading.Event()

    def keep_loading() -> None:
        while not stop.is_set():
            taken.append(load(target, connections=CONNECTIONS, seconds=2))

    change(0)  # the first one opens the way
    loading = threading.Thread(target=keep_loading)
    loading.start()
    time.sleep(0.5)
    began = time.perf_counter()
    seconds = [change(number) for number in range(1, count + 1)]
    took = time.perf_counter() - began
    stop.set()
    loading.join()
    return {
        "seconds": sorted(seconds),
        "median": statistics.median(seconds),
        "p99": statistics.quantiles(seconds, n=100, method="inclusive")[98],
        "per_second": count / took,
        "requests": sum(each.requests for each in taken),
        "failed": sum(each.failed for each in taken),
        "gap": max(each.largest for each in taken) / 1000,
    }


def _document(models: list[Model], generation: int) -> TrafficDocument:
    """Each generation has the other one of two champions, so that answers tell which one is followed."""
    return TrafficDocument(ENDPOINT, generation, models[generation % 2].arm(str(generation % 2), 1.0))


class _Broadcast:
    """As the platform does it: into the catalog, then to every replica, until each has confirmed."""

    def __init__(self, store: TrafficStore, models: list[Model]) -> None:
        self._store, self._models = store, models
        self._traffic = ServeTraffic(ENDPOINT, store)

    def __call__(self, number: int) -> float:
        document = _document(self._models, _newest(self._store) + 1)
        began = time.perf_counter()
        self._store.publish(document)
        self._traffic.apply(document)
        return time.perf_counter() - began


class _Unheard:
    """Into the catalog only: what a replica that the broadcast has missed finds by itself."""

    def __init__(self, store: TrafficStore, models: list[Model], url: str) -> None:
        self._store, self._models = store, models
        self._client = httpx.Client(base_url=f"{url}/{ENDPOINT}", timeout=ANSWER_SECONDS)

    def __call__(self, number: int) -> float:
        document = _document(self._models, _newest(self._store) + 1)
        began = time.perf_counter()
        self._store.publish(document)
        wait_until(lambda: self._followed(document), seconds=ANSWER_SECONDS, what="not followed")
        return time.perf_counter() - began

    def _followed(self, document: TrafficDocument) -> bool:
        # HAProxy sends them to both replicas in turn.
        seen = [self._client.get("/health").json()["generation"] for _ in range(ASKED)]
        return min(seen) >= document.generation


class _UserConfig:
    """The documented way: another ``user_config`` in the Serve config, by the REST API."""

    def __init__(self, rest: _Rest) -> None:
        self._rest = rest
        self._handle: Any = None

    def __call__(self, number: int) -> float:
        began = time.perf_counter()
        self._rest.put(number + 1)
        while min(self._weights()) <= number:
            time.sleep(0.002)
            if time.perf_counter() - began > ANSWER_SECONDS:
                raise TimeoutError(f"the change did not arrive in {ANSWER_SECONDS:g} s")
        return time.perf_counter() - began

    def _weights(self) -> list[int]:
        if self._handle is None:
            self._handle = driver_handle("Configured", application=CONFIGURED)
        found = self._handle.broadcast("weight").results(timeout_s=ANSWER_SECONDS)
        # A replica that is being changed is not in the handle's list.
        return [int(each) for each in found] if len(found) == REPLICAS else [-1]


class _Rest:
    """Both applications in one Serve config, put as a whole each time."""

    def __init__(self, dashboard: str, catalog: str, port: int) -> None:
        self._client = ServeSubmissionClient(dashboard)
        self._catalog, self._port = catalog, port
        self.url = f"http://{HOST}:{port}"
        self.told: dict[str, str] = {}

    def put(self, weight: int) -> None:
        """Deploy, or change the weight."""
        self._client.deploy_applications(
            {
                "proxy_location": "EveryNode",
                "http_options": {"host": HOST, "port": self._port},
                "applications": [
                    {
                        "name": ENDPOINT,
                        "route_prefix": f"/{ENDPOINT}",
                        "import_path": "sluiceway.serving.app:build",
                        "args": {
                            "endpoint": ENDPOINT,
                            "catalog": self._catalog,
                            "serving": {"host": HOST, "port": self._port, "replicas": REPLICAS},
                        },
                    },
                    {
                        "name": CONFIGURED,
                        "route_prefix": f"/{CONFIGURED}",
                        "import_path": "serving_configured:app",
                        "deployments": [{"name": "Configured", "user_config": {"weight": weight}}],
                    },
                ],
            }
        )

    def running(self) -> bool:
        """Whether both applications run."""
        found = self._client.get_serve_details()["applications"]
        self.told = {name: f"{each['status']} {each['message']}" for name, each in found.items()}
        return len(found) == 2 and all(each["status"] == "RUNNING" for each in found.values())


def _newest(store: TrafficStore) -> int:
    found = store.newest(ENDPOINT)
    assert found is not None
    return found.generation
