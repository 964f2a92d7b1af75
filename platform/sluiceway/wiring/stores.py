"""The places that a platform's settings name, and the catalog's stores; no engine but the catalog's."""

from __future__ import annotations

from pathlib import Path

from sluiceway.catalog.stores import Stores, empty_stores, open_stores
from sluiceway.config.platform import PlatformSection


def build_stores(platform: PlatformSection) -> Stores:
    """Open the catalog and its stores.

    Raises:
        BackendError: the catalog cannot be used.
    """
    return open_stores(catalog_url(platform))


def read_stores(platform: PlatformSection) -> Stores:
    """The catalog's stores for who only reads: where there is no catalog yet, none is made, and nothing is in it.

    Raises:
        BackendError: the catalog cannot be used.
    """
    url = catalog_url(platform)
    missing = url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()
    return empty_stores() if missing else open_stores(url)


def state_folder(platform: PlatformSection) -> Path:
    """The absolute folder of everything that is not given elsewhere."""
    return Path(platform.state).resolve()


def catalog_url(platform: PlatformSection) -> str:
    """The catalog's SQLAlchemy URL."""
    return platform.catalog or f"sqlite:///{state_folder(platform) / 'catalog.db'}"


def tracking_uri(platform: PlatformSection) -> str:
    """MLflow's tracking and registry URI."""
    return platform.tracking_uri or f"sqlite:///{state_folder(platform) / 'mlflow.db'}"


def history_table(platform: PlatformSection) -> str:
    """Path or URI of the table of what rollouts decided."""
    return platform.rollout_history or str(state_folder(platform) / "rollout_history")
