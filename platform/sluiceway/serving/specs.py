"""What is deployed: plain values that travel into replicas."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from sluiceway.config.serving import ServingSection

# One deployment name each: traffic documents name applications only.
ENDPOINT_DEPLOYMENT = "Endpoint"
CHALLENGER_DEPLOYMENT = "Challenger"
RECORDER_DEPLOYMENT = "Recorder"

# What builds an endpoint's application from an entry of a Serve config.
ENDPOINT_IMPORT_PATH = "sluiceway.serving.app:build"


@dataclass(frozen=True)
class ServeAddress:
    """Where HTTP listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Base URL without a trailing slash; loopback where HTTP listens on all interfaces."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "") else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint.

    Attributes:
        name: of the endpoint, of its Serve application, and of the model in answers and metrics.
        route_prefix: path under which it answers, e.g. ``/fraud``.
        catalog_url: SQLAlchemy URL of the catalog, reachable from every replica.
        serving: sizes and limits.
        log_table: path or URI of the prediction log; None: there is none.
    """

    name: str
    route_prefix: str
    catalog_url: str
    serving: ServingSection
    log_table: str | None = None

    @property
    def digest(self) -> str:
        """Hex digest; two specs with one digest are the same deployment."""
        return _digest({**asdict(self), "serving": self.serving.model_dump()})


@dataclass(frozen=True)
class ChallengerSpec:
    """A challenger's deployment.

    Attributes:
        endpoint: name of the endpoint that it stands beside.
        version: the registry's version of the model.
        bundle_uri: folder of the bundle.
        digest: of the bundle; another one is refused.
        raise_every: for drills: every so many requests end in an exception; None never.
        serving: sizes and limits.
    """

    endpoint: str
    version: str
    bundle_uri: str
    digest: str
    raise_every: int | None
    serving: ServingSection

    @property
    def application(self) -> str:
        """Name of its Serve application; another drill or bundle is another application."""
        fault = f"-fault{self.raise_every}" if self.raise_every else ""
        return f"{self.endpoint}-challenger-v{self.version}-{self.digest[:8]}{fault}"


def _digest(document: dict[str, object]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()
