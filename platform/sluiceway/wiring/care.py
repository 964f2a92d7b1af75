"""What a clean-up of a table asks: the catalog, and what the registered models were trained on."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sluiceway.catalog.stores import Stores
from sluiceway.config.platform import PlatformSection
from sluiceway.core.clock import Clock
from sluiceway.core.doors import Progress, SilentProgress
from sluiceway.data.keeping import Kind, Need
from sluiceway.data.needs import NeedStores, living_copies, needs_of
from sluiceway.data.repository import Repository
from sluiceway.data.vacuum import CareDoors
from sluiceway.wiring.stores import tracking_uri

if TYPE_CHECKING:
    from sluiceway.data.ray_erase import EraseDoors


def build_care(
    uri: str, platform: PlatformSection, stores: Stores, *, clock: Clock, progress: Progress | None = None
) -> CareDoors:
    """Everybody who may need a version of a table, and where it is written down what goes.

    Args:
        uri: the table, as :func:`sluiceway.data.tables.absolute` spells it.
        platform: where the registry is.
        stores: the catalog's.
        clock: for what ends by itself.
        progress: told how far it is.
    """
    asked = NeedStores(stores.tags, stores.repository, stores.leases, stores.pipeline, clock)
    return CareDoors(
        ask=lambda since: [*needs_of(uri, asked, since=since), *_of_models(platform)],
        copies=functools.partial(living_copies, stores.repository, uri),
        catalog=stores.identity,
        lost=stores.lost_versions,
        leases=stores.leases,
        clock=clock,
        progress=progress or SilentProgress(),
    )


def build_erase(platform: PlatformSection, stores: Stores, repository: Repository, *, clock: Clock) -> EraseDoors:
    """What an erasure works with.

    Args:
        platform: where the registry is.
        stores: the catalog's.
        repository: of the catalog, with its hooks.
        clock: for what ends by itself.
    """
    return importlib.import_module("sluiceway.data.ray_erase").EraseDoors(  # type: ignore[no-any-return]
        care=lambda uri: build_care(uri, platform, stores, clock=clock),
        repository=repository,
        erasures=stores.erasures,
    )


def _of_models(platform: PlatformSection) -> Iterator[Need]:
    url = tracking_uri(platform)
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return  # nothing was ever registered
    # Seconds of MLflow that no other word about data has a use for.
    registry = importlib.import_module("sluiceway.wiring.context").build_registry(platform)
    for name in registry.names():
        for model in registry.versions(name):
            version = model.tags.get("data_version", "")
            if version.isdigit() and "data_uri" in model.tags:
                yield Need(model.tags["data_uri"], int(version), f"model {name}@{model.version}", kind=Kind.NAME)
