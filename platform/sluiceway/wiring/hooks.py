"""The hooks of the repository of tables, and Ray for those that read rows: connected only while one of these runs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sluiceway.catalog.stores import Stores
from sluiceway.config.platform import HookSection, PlatformSection
from sluiceway.core.clock import SystemClock
from sluiceway.core.doors import Hook
from sluiceway.data.hooks import Hooks, build_hooks
from sluiceway.data.quality_gate import DataQualityGate, Reader
from sluiceway.data.tables import absolute, table_uri

if TYPE_CHECKING:
    from types import ModuleType


def build_repository_hooks(platform: PlatformSection, stores: Stores) -> Hooks:
    """Everything that runs before and after changes of the repository; nothing is started here.

    Raises:
        ConfigError: a Python callable is not there.
    """
    return build_hooks(platform.hooks, gate=partial(_gate, platform=platform, stores=stores))


def _gate(section: HookSection, *, platform: PlatformSection, stores: Stores) -> Hook:
    contracts = {absolute(table_uri(name, platform.aliases)): Path(file) for name, file in section.contracts.items()}
    return DataQualityGate(
        stores.repository,
        SystemClock(),
        partial(_reader, platform),
        contracts=contracts,
        allow_missing=section.missing_contract == "allow",
    )


@contextmanager
def _reader(platform: PlatformSection) -> Iterator[Reader]:
    cluster: ModuleType = importlib.import_module("sluiceway.wiring.cluster")
    ours = not cluster.is_connected()
    cluster.connect_ray(platform.ray)
    try:
        yield cast("Reader", importlib.import_module("sluiceway.data.ray_quality_gate"))
    finally:
        if ours:
            cluster.disconnect()
