"""What whole stories share."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def on_the_sessions_ray(ray_cluster: None) -> Iterator[None]:
    """The commands run in this process: a Ray and a Serve for each of them would take most of the time."""
    from sluiceway.serving.instance import stop_serve  # noqa: PLC0415 (Ray has to be up)

    with pytest.MonkeyPatch.context() as patch:
        for command in ("run", "init"):
            patch.setattr(importlib.import_module(f"sluiceway.cli.{command}"), "disconnect", lambda: None)
        patch.setenv("SLUICEWAY_PLATFORM__SERVING__PORT", "0")
        yield
    stop_serve()
