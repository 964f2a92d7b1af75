"""An endpoint on a real Serve whose champion can be any of several models, for tests of what it answers."""

from __future__ import annotations

from pathlib import Path

import httpx

from serving_models import SmallModel
from sluiceway.catalog.api_keys import ApiKeyStore
from sluiceway.catalog.engine import open_catalog
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.config.serving import ServingSection
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.serving.specs import ChallengerSpec, EndpointSpec


class ServedModels:
    """A running endpoint; Ray has to be up.

    Args:
        folder: of its catalog.
        name: of the endpoint.
        serving: its limits; the port is a free one.
    """

    def __init__(self, folder: Path, name: str, *, serving: ServingSection | None = None) -> None:
        from sluiceway.serving.deploy import deploy_endpoint  # noqa: PLC0415 (Ray has to be up)
        from sluiceway.serving.instance import start_serve  # noqa: PLC0415
        from sluiceway.serving.traffic import ServeTraffic  # noqa: PLC0415

        self.name = name
        url = f"sqlite:///{folder / 'catalog.db'}"
        self._engine = open_catalog(url)
        self._store = TrafficStore(self._engine)
        self.serving = serving = (serving or ServingSection()).model_copy(update={"port": 0})
        self.address = start_serve(serving)
        deploy_endpoint(EndpointSpec(name, f"/{name}", url, serving))
        self._traffic = ServeTraffic(name, self._store)
        self._generation = 0
        self.client = httpx.Client(base_url=f"{self.address.url}/{name}", timeout=30)

    def challenger(self, model: SmallModel, version: str) -> Arm:
        """Deploy a challenger; the arm that gives it all requests."""
        from sluiceway.serving.deploy import deploy_challenger  # noqa: PLC0415

        spec = ChallengerSpec(self.name, version, str(model.folder), model.bundle.digest, None, self.serving)
        return model.arm(version, 1.0, deploy_challenger(spec))

    def follow(self, model: SmallModel, version: str, challenger: Arm | None = None) -> None:
        """Make a model the champion, and let a challenger answer for it."""
        self._generation += 1
        others = () if challenger is None else (challenger,)
        document = TrafficDocument(self.name, self._generation, model.arm(version, float(not others)), others)
        self._store.publish(document)
        self._traffic.apply(document)

    def key(self, *scopes: str) -> str:
        """A key that is good here, as a client sends it."""
        return ApiKeyStore(self._engine).create("a test", scopes=scopes, endpoint=self.name).token

    def close(self) -> None:
        """End Serve."""
        from sluiceway.serving.instance import stop_serve  # noqa: PLC0415

        self.client.close()
        stop_serve()
        self._engine.dispose()
