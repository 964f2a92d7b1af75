"""Which accuracy a recorder shows: of the arms that serve now, and of those whose outcomes came lately."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.errors import ModelError
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry import bundle
from sluiceway.serving.rolling_accuracy import RollingAccuracy
from sluiceway.serving.route import CHALLENGER, CHAMPION, SHADOW

logger = logging.getLogger(__name__)

REGRESSION = "regression"
ArmKey = tuple[str, str]


class Judging:
    """Asks the catalog now and then.

    Args:
        endpoint: whose.
        outcomes: the catalog's.
        traffic: the catalog's, for the arms that serve and those that did.
    """

    def __init__(self, endpoint: str, *, outcomes: OutcomeStore, traffic: TrafficStore) -> None:
        self._endpoint, self._traffic = endpoint, traffic
        self._shadows: tuple[str, ...] = ()
        self._accuracy = RollingAccuracy(lambda since: outcomes.judged_since(endpoint, since, shadows=self._shadows))
        self._arms: dict[str, Arm | None] = {}  # by version, as each was last; None: none of its traffic
        self._kinds: dict[str, str] = {}  # by the bundle's digest
        self._told: set[str] = set()  # versions whose bundle cannot be read, each told once

    def judged(self, now: float) -> Mapping[ArmKey, tuple[int, int] | None]:
        """Outcomes and right decisions by version and arm.

        None for a regression, where nothing is right or wrong, and for a version whose bundle does not say what it is.

        Args:
            now: UTC epoch seconds.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        document = self._traffic.newest(self._endpoint)
        if document is None:
            return {}
        self._shadows = tuple(arm.version for arm in document.shadows)
        self._accuracy.refresh(now)
        found = dict.fromkeys(_keys(document), (0, 0)) | dict(self._accuracy.counts())
        self._arms.update({arm.version: arm for arm in document.arms})
        versions = {version for version, _ in found}
        self._look_back(versions)
        silent = {version for version in versions if self._kind(version) in (REGRESSION, None)}
        return {key: None if key[0] in silent else counts for key, counts in found.items()}

    def _look_back(self, versions: Collection[str]) -> None:
        """Find the arms of versions that served before this recorder, or between two of its looks."""
        unknown = set(versions) - self._arms.keys()
        if not unknown:
            return
        for document in self._traffic.history(self._endpoint):
            for arm in document.arms:
                if arm.version in unknown:
                    self._arms[arm.version] = arm
                    unknown.remove(arm.version)
            if not unknown:
                return
        self._arms.update(dict.fromkeys(unknown))

    def _kind(self, version: str) -> str | None:
        arm = self._arms[version]
        if arm is None:
            return None
        if arm.digest not in self._kinds:
            try:
                decision = bundle.read(arm.bundle.removeprefix("file://"), digest=arm.digest).decision
            except ModelError as error:
                if version not in self._told:
                    text = "endpoint %s: the accuracy of version %s is not known: %s"
                    logger.error(text, self._endpoint, version, error)
                self._told.add(version)
                return None
            self._kinds[arm.digest] = str(decision.get("kind"))
            self._told.discard(version)
        return self._kinds[arm.digest]


def _keys(document: TrafficDocument) -> list[ArmKey]:
    named = [(CHAMPION, document.champion)]
    named += [(CHALLENGER, arm) for arm in document.challengers] + [(SHADOW, arm) for arm in document.shadows]
    return [(arm.version, name) for name, arm in named]
