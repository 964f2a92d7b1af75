"""Which accuracy a recorder shows: of the arms that serve now, and of those whose outcomes came lately."""

from __future__ import annotations

from collections.abc import Mapping

from sluiceway.catalog.outcomes import OutcomeStore
from sluiceway.catalog.traffic import TrafficStore
from sluiceway.core.traffic import Arm, TrafficDocument
from sluiceway.registry import bundle
from sluiceway.serving.rolling_accuracy import RollingAccuracy
from sluiceway.serving.route import CHALLENGER, CHAMPION, SHADOW

REGRESSION = "regression"
ArmKey = tuple[str, str]


class Judging:
    """Asks the catalog now and then.

    Args:
        endpoint: whose.
        outcomes: the catalog's.
        traffic: the catalog's, for the arms that serve.
    """

    def __init__(self, endpoint: str, *, outcomes: OutcomeStore, traffic: TrafficStore) -> None:
        self._endpoint, self._traffic = endpoint, traffic
        self._shadows: tuple[str, ...] = ()
        self._accuracy = RollingAccuracy(lambda since: outcomes.judged_since(endpoint, since, shadows=self._shadows))
        self._kinds: dict[str, str] = {}  # by the bundle's digest

    def judged(self, now: float) -> Mapping[ArmKey, tuple[int, int] | None]:
        """Outcomes and right decisions by version and arm; None for a regression, where nothing is right or wrong.

        Args:
            now: UTC epoch seconds.

        Raises:
            BackendError: the catalog cannot be reached.
            ModelError: the bundle of a model that serves is damaged.
        """
        document = self._traffic.newest(self._endpoint)
        if document is None:
            return {}
        self._shadows = tuple(arm.version for arm in document.shadows)
        self._accuracy.refresh(now)
        arms = _arms(document)
        regressions = {arm.version for arm in arms.values() if self._kind(arm) == REGRESSION}
        found = dict.fromkeys(arms, (0, 0)) | dict(self._accuracy.counts())
        return {key: None if key[0] in regressions else counts for key, counts in found.items()}

    def _kind(self, arm: Arm) -> str:
        if arm.digest not in self._kinds:
            decision = bundle.read(arm.bundle.removeprefix("file://"), digest=arm.digest).decision
            self._kinds[arm.digest] = str(decision.get("kind"))
        return self._kinds[arm.digest]


def _arms(document: TrafficDocument) -> dict[ArmKey, Arm]:
    named = [(CHAMPION, document.champion)]
    named += [(CHALLENGER, arm) for arm in document.challengers] + [(SHADOW, arm) for arm in document.shadows]
    return {(arm.version, name): arm for name, arm in named}
