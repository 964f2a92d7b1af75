"""Which cluster the words of ``sluiceway serve`` are for."""

from __future__ import annotations

from typing import Annotated

import typer

Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A cluster's dashboard (http://HEAD:8265), or a Ray to join (auto, HOST:6379, ray://HEAD:10001); or else "
        "platform.ray.address, RAY_ADDRESS, or this machine.",
    ),
]
