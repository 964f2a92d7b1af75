"""What was counted for the metrics that are means; all of it only grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sluiceway.core.moments import NOTHING, Moments


@dataclass(frozen=True)
class PairedMoments:
    """Of a number that each pair has: in the present step, and in the whole rollout."""

    step: Moments = NOTHING
    rollout: Moments = NOTHING


@dataclass(frozen=True)
class ValuesSeen:
    """What the answers of both arms were worth, by step.

    Attributes:
        low: smaller values were counted as this.
        high: larger values were counted as this.
        champion: its values of each step.
        challenger: its values of each step.
        clipped: how many values were beyond the bounds.
    """

    low: float
    high: float
    champion: tuple[Moments, ...] = ()
    challenger: tuple[Moments, ...] = ()
    clipped: int = 0

    def steps(self) -> Iterator[tuple[Moments, Moments]]:
        """(champion's, challenger's) of each step."""
        return zip(self.champion, self.challenger, strict=True)
