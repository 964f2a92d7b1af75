"""What a person tells a rollout that is under way."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Order(enum.StrEnum):
    """What is asked for.

    ``ADVANCE`` ends the present step well, though its evidence may be missing; ``PROMOTE`` goes to the end at once.
    Neither goes past a metric that has failed.
    """

    PAUSE = "pause"
    RESUME = "resume"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True)
class Command:
    """One order to one rollout.

    Attributes:
        sequence: from 1, in the order in which they came.
        order: what is asked for.
        who: asked for it.
        reason: why, for the journal; may be "".
        created: UTC epoch seconds.
    """

    sequence: int
    order: Order
    who: str
    reason: str
    created: float

    @property
    def told(self) -> str:
        """For the journal, e.g. ``by ann: not today``."""
        return f"by {self.who}" + (f": {self.reason}" if self.reason else "")
