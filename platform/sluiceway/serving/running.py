"""An endpoint that runs on the Serve of the Ray that this process has joined: what moves with its traffic."""

from __future__ import annotations

from collections.abc import Collection

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import TrafficDocument
from sluiceway.serving.deploy import deploy_challenger, remove_challenger, remove_unasked
from sluiceway.serving.specs import ChallengerSpec
from sluiceway.serving.traffic import ServeTraffic


class RunningEndpoint:
    """Its challengers, and its replicas' obedience.

    Args:
        endpoint: its name.
        store: the catalog's traffic documents.
    """

    def __init__(self, endpoint: str, store: TrafficStore) -> None:
        self._endpoint, self._traffic = endpoint, ServeTraffic(endpoint, store)

    def deploy(self, spec: ChallengerSpec) -> str:
        """Deploy a challenger and wait until its model is loaded; one that runs is left alone.

        Returns:
            Name of its application.

        Raises:
            BackendError: it does not come up.
        """
        return deploy_challenger(spec)

    def remove(self, application: str) -> None:
        """Take a challenger away, without waiting."""
        remove_challenger(application)

    def remove_unasked(self, asked: Collection[str]) -> None:
        """Take away, without waiting, all its challengers that are not among these.

        Raises:
            BackendError: Serve does not answer.
        """
        remove_unasked(self._endpoint, asked=asked)

    def apply(self, document: TrafficDocument) -> None:
        """Make all replicas follow a document that is in the catalog.

        Raises:
            BackendError: one has not confirmed in time.
        """
        self._traffic.apply(document)
