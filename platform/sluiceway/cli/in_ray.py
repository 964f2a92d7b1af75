"""Ray for the words that need it, and for no other: it takes seconds to import."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sluiceway.config.platform import PlatformSection

if TYPE_CHECKING:
    from types import ModuleType


@contextmanager
def in_ray(module: str, platform: PlatformSection, *, catalog: str | None = None) -> Iterator[ModuleType]:
    """A module that speaks Ray, while this process is connected.

    Args:
        module: its full name.
        platform: where the cluster is.
        catalog: the catalog's URL where the cluster's nodes are going to need it.

    Raises:
        BackendError: the cluster is not reachable.
    """
    cluster = importlib.import_module("sluiceway.wiring.cluster")
    cluster.connect_ray(platform.ray, catalog=catalog)
    try:
        yield importlib.import_module(module)
    finally:
        cluster.disconnect()
