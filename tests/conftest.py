"""Fixtures that every kind of test shares: one Ray per session, one catalog per test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

# Before anything imports Ray or XGBoost: these read them once.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_TRAIN_ENABLE_STATE_TRACKING", "0")
# Two test processes whose OpenMP takes every core each wait for one another most of the time.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# How long an example takes is the machine's, and proves nothing.
hypothesis.settings.register_profile("without a deadline", deadline=None)
hypothesis.settings.load_profile("without a deadline")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def catalog(tmp_path: Path):
    """A fresh SQLite catalog."""
    from sluiceway.catalog.engine import open_catalog  # noqa: PLC0415 (unit tests of pure rooms need no SQLAlchemy)

    engine = open_catalog(f"sqlite:///{tmp_path / 'catalog.db'}")
    yield engine
    engine.dispose()


@pytest.fixture(autouse=True)
def _left_connected() -> Iterator[None]:
    """A test that ends the session's Ray fails itself, and not the tests after it."""
    before = _is_connected()
    yield
    assert not before or _is_connected(), "this test has ended the Ray that the whole session shares"


def _is_connected() -> bool:
    ray = sys.modules.get("ray")
    return ray is not None and hasattr(ray, "is_initialized") and ray.is_initialized()


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One local Ray for the whole session: 2 CPUs, a small object store, Serve behind HAProxy where it can be."""
    from sluiceway import connect_ray, disconnect  # noqa: PLC0415 (unit tests run without Ray)
    from sluiceway.config.platform import RaySection  # noqa: PLC0415

    connect_ray(RaySection(num_cpus=2, object_store_mb=200))
    yield
    disconnect()
