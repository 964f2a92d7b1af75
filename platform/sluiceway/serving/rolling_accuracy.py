"""How often the decisions of an endpoint's models were right, by outcomes that came lately."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from sluiceway.catalog.outcomes import JudgedPrediction

ACCURACY_SECONDS = 3600.0
BUCKET_SECONDS = 10.0
# A prediction may be written after its outcome: so far back outcomes are looked at again.
AGAIN_SECONDS = 60.0


@dataclass
class _Counts:
    known: int = 0
    right: int = 0


ArmKey = tuple[str, str]


class RollingAccuracy:
    """Counts outcomes as they come: what an archive has moved out of the catalog since stays counted.

    Args:
        read: gives the predictions whose outcome came at a time (UTC epoch seconds) or later.
        window: seconds that outcomes count for, from their arrival on.
    """

    def __init__(
        self, read: Callable[[float], Collection[JudgedPrediction]], *, window: float = ACCURACY_SECONDS
    ) -> None:
        self._read, self._window = read, window
        self._looked: float | None = None
        self._counted: dict[str, float] = {}  # request ids that may be read again, and when their outcome came
        self._buckets: dict[int, dict[ArmKey, _Counts]] = {}

    def refresh(self, now: float) -> None:
        """Count the outcomes that have come since the last time.

        Args:
            now: UTC epoch seconds.

        Raises:
            BackendError: the catalog cannot be reached.
        """
        since = now - self._window if self._looked is None else self._looked - AGAIN_SECONDS
        for one in self._read(since):
            if one.request_id in self._counted:
                continue
            self._counted[one.request_id] = one.received
            arms = self._buckets.setdefault(int(one.received // BUCKET_SECONDS), {})
            counts = arms.setdefault((one.version, one.arm), _Counts())
            counts.known += 1
            counts.right += one.right
        self._looked = now
        self._counted = {name: came for name, came in self._counted.items() if came >= now - AGAIN_SECONDS}
        oldest = (now - self._window) // BUCKET_SECONDS
        self._buckets = {when: arms for when, arms in self._buckets.items() if when >= oldest}

    def counts(self) -> Mapping[ArmKey, tuple[int, int]]:
        """Outcomes and right decisions of the window, by version and arm."""
        sums: dict[ArmKey, _Counts] = {}
        for arms in self._buckets.values():
            for key, counts in arms.items():
                whole = sums.setdefault(key, _Counts())
                whole.known += counts.known
                whole.right += counts.right
        return {key: (counts.known, counts.right) for key, counts in sums.items()}
