"""Which of the versions that an endpoint had are regressions: their bundles say so, the records do not."""

from __future__ import annotations

from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import Arm
from sluiceway.registry import bundle

REGRESSION = "regression"


class Regressions:
    """Asks the bundles of the arms that the catalog's traffic has had, each once.

    Args:
        traffic: the catalog's.
    """

    def __init__(self, traffic: TrafficStore) -> None:
        self._traffic = traffic
        self._arms: dict[str, dict[str, Arm]] = {}
        self._kinds: dict[str, bool] = {}  # by the bundle's digest

    def __call__(self, endpoint: str, version: str) -> bool:
        """Whether a version is a regression; one whose bundle is not there any more is as the newest champion.

        Args:
            endpoint: where it served.
            version: the model version.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        arms = self._arms_of(endpoint)
        known = self._kind(arms[version]) if version in arms else None
        if known is None and "" in arms:
            known = self._kind(arms[""])
        return bool(known)

    def _arms_of(self, endpoint: str) -> dict[str, Arm]:
        if endpoint not in self._arms:
            arms: dict[str, Arm] = {}
            for document in self._traffic.history(endpoint):
                arms.setdefault("", document.champion)  # the newest one
                for arm in document.arms:
                    arms.setdefault(arm.version, arm)
            self._arms[endpoint] = arms
        return self._arms[endpoint]

    def _kind(self, arm: Arm) -> bool | None:
        if arm.digest not in self._kinds:
            try:
                decision = bundle.read(arm.bundle.removeprefix("file://"), digest=arm.digest).decision
            except ModelError:
                return None
            self._kinds[arm.digest] = decision.get("kind") == REGRESSION
        return self._kinds[arm.digest]
