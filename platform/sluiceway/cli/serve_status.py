"""``sluiceway serve status``: what is meant to answer, and what does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sluiceway.catalog.stores import Stores
from sluiceway.cli.output import ConfigOption, Json, print_rows
from sluiceway.cli.serve_address import Address
from sluiceway.config.load import load_platform
from sluiceway.config.platform import PlatformSection
from sluiceway.core.errors import BackendError
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.specs import CHALLENGER_DEPLOYMENT, ENDPOINT_DEPLOYMENT
from sluiceway.serving.state import ApplicationState, applications, http_address
from sluiceway.wiring.serving import joined, known_ray
from sluiceway.wiring.stores import read_stores


def status(address: Address = None, config: ConfigOption = None, as_json: Json = False) -> None:
    """The arms of every endpoint: weights from the catalog, and what Serve says of who answers.

    A running `serve up` of this machine is found by itself. Without any cluster it shows what the catalog holds.
    STATUS and REPLICAS (running/meant) are those of the deployment that scores the arm, BREAKER says how many replicas
    have stopped asking a challenger, and why.
    """
    platform = load_platform(config)
    stores = read_stores(platform)
    details, problem = _asked(address, platform, stores)
    found, where = applications(details), http_address(details)
    rows = [
        row
        for endpoint in stores.traffic.endpoints()
        if (document := stores.traffic.newest(endpoint)) is not None
        for row in _rows(document, stores, found, url=where.url if where else "", problem=problem)
    ]
    print_rows(rows, as_json=as_json, empty="no endpoints yet")


def _asked(address: str | None, platform: PlatformSection, stores: Stores) -> tuple[Mapping[str, Any], str]:
    """What Serve says, and what is in the way where it says nothing."""
    place = known_ray(address, platform, stores.leases, now=datetime.now(UTC))
    if place is None:
        return {}, "no cluster is known: see --address"
    try:
        with joined(place, platform) as door:
            return door.read(), ""
    except BackendError as error:
        return {}, error.message


def _rows(
    document: TrafficDocument, stores: Stores, found: Mapping[str, ApplicationState], *, url: str, problem: str
) -> list[dict[str, Any]]:
    own = found.get(document.endpoint)
    opened = stores.breakers.opened(document.endpoint, [document.generation])
    rows = []
    for kind, arms in (
        ("champion", (document.champion,)),
        ("challenger", document.challengers),
        ("shadow", document.shadows),
        ("warm", document.warm),
    ):
        for arm in arms:
            scored_by = found.get(arm.application) if arm.application else own
            rows.append(
                {
                    "endpoint": document.endpoint,
                    "generation": document.generation,
                    "arm": kind,
                    "version": arm.version,
                    "weight": arm.weight,
                    "digest": arm.digest[:12],
                    "status": scored_by.status if scored_by else "not deployed" if not problem else None,
                    "replicas": _replicas(scored_by),
                    "breaker": _breaker([one.reason for one in opened if one.version == arm.version]),
                    "url": f"{url}{own.route}" if own and own.route and url else None,
                    "message": problem or (scored_by.failure if scored_by else ""),
                }
            )
    return rows


def _breaker(reasons: list[str]) -> str | None:
    if not reasons:
        return None
    return f"open in {len(reasons)} {'replica' if len(reasons) == 1 else 'replicas'}: {reasons[0]}"


def _replicas(app: ApplicationState | None) -> str | None:
    for name in (ENDPOINT_DEPLOYMENT, CHALLENGER_DEPLOYMENT):
        deployment = app.deployments.get(name) if app else None
        if deployment is not None:
            return f"{deployment.replicas.get('RUNNING', 0)}/{deployment.target}"
    return None
