"""Our side of serving: Ray with Serve behind HAProxy, endpoints, challengers, and a deployment that does nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from ray import serve
from serving_model import BODIES, Format, Model, native, write_bodies
from serving_peers import check_scores
from serving_wrk import Target
from starlette.requests import Request
from starlette.responses import Response

from sluiceway.catalog.api_keys import PREDICT, ApiKeyStore
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.platform import RaySection
from sluiceway.config.serving import ServingSection
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.deploy import deploy_application, deploy_challenger, deploy_endpoint
from sluiceway.serving.instance import start_serve
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec
from sluiceway.serving.traffic import ServeTraffic
from sluiceway.wiring.cluster import connect_ray, disconnect

CANARY = 0.1
JSON = "Content-Type: application/json"


@dataclass
class Cluster:
    """A Ray of this machine with Serve on it.

    Attributes:
        folder: for catalogs and bodies.
        url: of Serve, without a trailing slash.
        host: that it listens on.
        port: likewise.
    """

    folder: Path
    url: str
    host: str
    port: int

    def processes(self) -> list[int]:
        """The processes that this one has started for Ray; all others of Ray are below them."""
        names = ("gcs_server", "raylet")
        return [child.pid for child in psutil.Process().children() if child.name() in names]

    def section(self, **given: Any) -> ServingSection:
        """The section ``platform.serving`` of a cluster's endpoint."""
        return ServingSection.model_validate({"host": self.host, "port": self.port, **given})


@contextlib.contextmanager
def cluster(folder: Path, *, cpus: int = 2, store_mb: int = 200) -> Iterator[Cluster]:
    """Start Ray and Serve, and end them afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    connect_ray(RaySection(num_cpus=cpus, object_store_mb=store_mb))
    try:
        address = start_serve(ServingSection(port=0))
        yield Cluster(folder, address.url, address.host, address.port)
    finally:
        disconnect()


class Endpoint:
    """An endpoint that runs, with a catalog of its own.

    Args:
        cluster: where.
        name: of it.
        model: the champion.
        keyed: whether requests need an API key.
        deploy: brings it up; :func:`deploy_endpoint` where left out.
        section: of ``platform.serving``.
    """

    def __init__(
        self,
        cluster: Cluster,
        name: str,
        model: Model,
        *,
        keyed: bool = True,
        deploy: Any = deploy_endpoint,
        **section: Any,
    ) -> None:
        self.cluster, self.name, self.model = cluster, name, model
        self.serving = cluster.section(keys="required" if keyed else "none", **section)
        self._catalog = f"sqlite:///{cluster.folder / name}.db"
        engine = open_catalog(self._catalog)
        self.store = TrafficStore(engine)
        self.traffic = ServeTraffic(name, self.store)
        self.headers: tuple[str, ...] = ()
        if keyed:
            token = ApiKeyStore(engine).create("bench", scopes=[PREDICT]).token
            self.headers = (f"Authorization: Bearer {token}",)
        log = str(cluster.folder / f"{name}-log") if self.serving.log.enabled else None
        self.spec = EndpointSpec(name, f"/{name}", self._catalog, self.serving, log)
        self.move(model.arm("1", 1.0), apply=False)
        deploy(self.spec)

    def challenger(self, version: str, model: Model, *, raise_every: int | None = None) -> str:
        """Deploy a challenger; gives its application."""
        return deploy_challenger(
            ChallengerSpec(self.name, version, str(model.bundle), model.digest, raise_every, self.serving)
        )

    def move(self, champion: Arm, *challengers: Arm, apply: bool = True) -> TrafficDocument:
        """Publish the next generation and wait until every replica follows it."""
        newest = self.store.newest(self.name)
        generation = newest.generation + 1 if newest else 1
        document = TrafficDocument(self.name, generation, champion, challengers)
        self.store.publish(document)
        if apply:
            self.traffic.apply(document)
        return document

    def canary(self, version: str, model: Model, application: str) -> None:
        """Send a tenth of the requests to a challenger; ``""`` scores it in the endpoint's replicas."""
        self.move(self.model.arm("1", 1 - CANARY), model.arm(version, CANARY, application))

    def alone(self) -> None:
        """Send everything to the champion."""
        self.move(self.model.arm("1", 1.0))

    def ask(self, path: str, content: bytes, kind: str = JSON) -> httpx.Response:
        """POST something once."""
        headers = dict(line.split(": ", 1) for line in (kind, *self.headers))
        return httpx.post(f"{self.cluster.url}/{self.name}{path}", content=content, headers=headers, timeout=30)

    def target(self, name: str, form: Format = native, *, rows: int = 1, count: int = BODIES, **given: Any) -> Target:
        """Where a load of native JSON goes; ``given`` as :class:`Target` has it."""
        bodies = self.cluster.folder / f"{self.name}-{form.__name__}-{rows}"
        if not bodies.exists():
            write_bodies(bodies, form, rows=rows, count=count)
        path, kind = given.pop("path", "/predict"), given.pop("kind", JSON)
        return Target(
            name,
            f"{self.cluster.url}/{self.name}{path}",
            bodies,
            (kind, *self.headers),
            rows=rows,
            processes=self.cluster.processes,
            **given,
        )

    def check(self) -> None:
        """Refuse to measure an endpoint that gives other scores than the model, or answers without a key.

        Raises:
            RuntimeError: it does.
        """
        rows = np.array([[0.5, -1.25, 0.0, 2.0, 0.1, -0.3, 1.5, -2.0, 0.75, 0.01], [0.1] * 10], dtype=np.float32)
        answer = self.ask("/predict", native(rows))
        answer.raise_for_status()
        scores = [each["score"] for each in answer.json()["predictions"]]
        check_scores(self.name, scores, self.model.scores(rows))
        without = httpx.post(f"{self.cluster.url}/{self.name}/predict", content=native(rows), headers={})
        if self.headers and without.status_code != 401:
            raise RuntimeError(f"{self.name} answers {without.status_code} to a request without a key")


class Nothing:
    """What Serve and HAProxy cost by themselves."""

    async def __call__(self, _request: Request) -> Response:
        """The same answer to everybody."""
        return Response(b"{}", media_type="application/json")


def nothing(cluster: Cluster, name: str, **options: Any) -> Target:
    """Deploy it, with as many requests at once as ours, and all else as Serve has it but for ``options``."""
    deployment = serve.deployment(
        Nothing, name="Nothing", max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.1}, **options
    )
    path = name.replace(" ", "-").replace(",", "")
    deploy_application(deployment.bind(), name=path, route_prefix=f"/{path}")
    bodies = write_bodies(cluster.folder / path, native)
    return Target(name, f"{cluster.url}/{path}", bodies, processes=cluster.processes)


def replicas(application: str) -> list[psutil.Process]:
    """The processes of an application's replicas."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if title.startswith(f"ray::ServeReplica:{application}:"):
                found.append(process)
    return found
