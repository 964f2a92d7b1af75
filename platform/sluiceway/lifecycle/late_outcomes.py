"""Outcomes of predictions that were archived before a rollout began are not lost: they are joined in the archive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sluiceway.core.clock import Clock
from sluiceway.core.errors import SluicewayError
from sluiceway.rollout.evidence import Observations, lost_outcomes
from sluiceway.rollout.plan import RolloutPlan
from sluiceway.rollout.prometheus_source import Observe
from sluiceway.rollout.state import RolloutState

logger = logging.getLogger(__name__)

# A pass over the archive may take a while; only outcomes that are nowhere ask for one again and again.
EVERY_SECONDS = 300.0


class LateOutcomesJoined:
    """Looks over the shoulder of another observer; where too many outcomes are lost, the archive is asked for them.

    That happens beside the looks, which never wait for it: until it is done, what is lost stays lost.

    Args:
        observe: sees the counts.
        join: joins outcomes with archived predictions, and takes them out of the counts.
        clock: for the time between two of them.
    """

    def __init__(self, observe: Observe, join: Callable[[], object], *, clock: Clock) -> None:
        self._observe, self._join, self._clock = observe, join, clock
        self._begun: float | None = None
        self._joining: threading.Thread | None = None

    def __call__(self, plan: RolloutPlan, state: RolloutState) -> Observations:
        """What the other observer sees."""
        seen = self._observe(plan, state)
        if any(lost_outcomes(one) for one in (seen, *seen.others)):
            self._begin()
        return seen

    def settled(self) -> None:
        """Return when nothing is being joined."""
        if self._joining is not None:
            self._joining.join()

    def _begin(self) -> None:
        now = self._clock.now().timestamp()
        if self._begun is not None and now - self._begun < EVERY_SECONDS:
            return
        if self._joining is not None and self._joining.is_alive():
            return
        self._begun = now
        # A daemon: whoever ends in the middle leaves nothing that the next one does not find.
        self._joining = threading.Thread(target=self._joined, name="late-outcomes", daemon=True)
        self._joining.start()

    def _joined(self) -> None:
        try:
            self._join()
        except SluicewayError as error:
            logger.warning("late outcomes are not joined with the archive: %s", error)
