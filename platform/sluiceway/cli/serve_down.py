"""``sluiceway serve down``: take an endpoint away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from sluiceway.cli.output import ConfigOption, Json, print_json
from sluiceway.cli.serve_address import Address
from sluiceway.config.load import load_platform
from sluiceway.core.errors import BackendError, ModelError
from sluiceway.serving.deploy import remove_endpoint
from sluiceway.wiring.serving import joined, known_ray, replicas_live
from sluiceway.wiring.stores import build_stores


def down(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="As `serve status` names it.")],
    address: Address = None,
    config: ConfigOption = None,
    as_json: Json = False,
) -> None:
    """Take an endpoint and its challengers away; everything else on the cluster stays.

    Its weights stay in the catalog: `serve up` serves the same models again. Where it is not there, nothing happens.
    """
    platform = load_platform(config)
    stores = build_stores(platform)
    now = datetime.now(UTC)
    where = known_ray(address, platform, stores.leases, now=now, endpoint=endpoint)
    removed: list[str] = []
    known = stores.traffic.endpoints()
    if where is None and endpoint in known and replicas_live(stores.leases, now=now):
        raise BackendError(
            f"replicas run, and it is not known which Ray {endpoint} is on: nothing was taken away",
            hint="say --address, e.g. HOST:6379",
        )
    if where is not None:
        with joined(where, platform) as door:
            removed = remove_endpoint(door, endpoint, leases=stores.leases)
    if not removed and endpoint not in known:
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise ModelError(f"no endpoint {endpoint} has ever had a model", hint=f"{there}; see `serve status`")
    if as_json:
        print_json({"endpoint": endpoint, "removed": removed})
        return
    told = ", ".join(removed) if removed else f"nothing of {endpoint} is deployed"
    Console().print(f"taken away: {told}" if removed else told, soft_wrap=True)
