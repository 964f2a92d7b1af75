"""What is compared where two models scored the same request: how far apart they are, and which one was more wrong.

================  =================================================  ==========================================
kind              distance of the scores                             loss, once the outcome is known
================  =================================================  ==========================================
``binary``        difference of the probabilities                    log loss
``multiclass``    1 where the decisions differ, else the difference  log loss of "this is the class": records hold
                  of the probabilities                               the probability of the decided class alone
``regression``    difference in spreads of the champion's scores     error in the same spreads
================  =================================================  ==========================================

All are bounded, or no test of a mean would be valid: a probability counts as no smaller than
``SMALLEST_PROBABILITY``, and a difference of two regressions as no larger than ``LARGEST_IN_SPREADS``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["binary", "multiclass", "regression"]

SMALLEST_PROBABILITY = 0.01
LARGEST_IN_SPREADS = 4.0


@dataclass(frozen=True)
class Scores:
    """What the scores of two models are.

    Attributes:
        kind: of both models.
        spread: of a regression, the difference that counts as 1.
    """

    kind: Kind = "binary"
    spread: float = 1.0

    @property
    def largest_distance(self) -> float:
        """No two scores of a request are farther apart than this."""
        return LARGEST_IN_SPREADS if self.kind == "regression" else 1.0

    @property
    def largest_loss(self) -> float:
        """No model loses more than this against the other one on a request."""
        return LARGEST_IN_SPREADS if self.kind == "regression" else math.log(1 / SMALLEST_PROBABILITY - 1)


BINARY = Scores()
