"""All stores of one catalog."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from sluiceway.catalog.api_keys import ApiKeyStore
from sluiceway.catalog.breakers import BreakerStore
from sluiceway.catalog.comparisons import ComparisonStore
from sluiceway.catalog.engine import empty_catalog, open_catalog
from sluiceway.catalog.erasures import ErasureStore
from sluiceway.catalog.file_digests import FileDigestStore
from sluiceway.catalog.identity import CatalogIdentity
from sluiceway.catalog.leases import LeaseStore
from sluiceway.catalog.lost_versions import LostVersionStore
from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.pipeline import PipelineStore
from sluiceway.catalog.records import RecordStore
from sluiceway.catalog.repository import RepositoryStore
from sluiceway.catalog.rollouts import RolloutStore
from sluiceway.catalog.shadows import ShadowStore
from sluiceway.catalog.tags import TagStore
from sluiceway.catalog.traffic import TrafficStore


@dataclass(frozen=True)
class Stores:
    """The catalog's stores, on one engine, and where that engine points (replicas open their own)."""

    url: str
    api_keys: ApiKeyStore
    breakers: BreakerStore
    comparisons: ComparisonStore
    tags: TagStore
    erasures: ErasureStore
    file_digests: FileDigestStore
    identity: CatalogIdentity
    leases: LeaseStore
    lost_versions: LostVersionStore
    outcomes: OutcomeStore
    pipeline: PipelineStore
    records: RecordStore
    repository: RepositoryStore
    rollouts: RolloutStore
    shadows: ShadowStore
    traffic: TrafficStore


def open_stores(url: str) -> Stores:
    """Open a catalog, made or migrated where it has to be.

    Raises:
        BackendError: it cannot be used.
    """
    return stores_on(open_catalog(url), url)


def empty_stores() -> Stores:
    """The stores of a catalog in memory with nothing in it."""
    return stores_on(empty_catalog(), "sqlite://")


def stores_on(engine: sa.Engine, url: str) -> Stores:
    """All stores of an open catalog.

    Args:
        engine: open.
        url: where it points.
    """
    return Stores(
        url=url,
        api_keys=ApiKeyStore(engine),
        breakers=BreakerStore(engine),
        comparisons=ComparisonStore(engine),
        tags=TagStore(engine),
        erasures=ErasureStore(engine),
        file_digests=FileDigestStore(engine),
        identity=CatalogIdentity(engine),
        leases=LeaseStore(engine),
        lost_versions=LostVersionStore(engine),
        outcomes=OutcomeStore(engine),
        pipeline=PipelineStore(engine),
        records=RecordStore(engine),
        repository=RepositoryStore(engine),
        rollouts=RolloutStore(engine),
        shadows=ShadowStore(engine),
        traffic=TrafficStore(engine),
    )
