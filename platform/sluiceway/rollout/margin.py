"""When a metric lets a step go on: each step with a share of the evidence, full weight with all of it.

The evidence adds up over the rollout. Before the last step that has a champion beside it is left, the test has to be
passed: of challengers that are worse by exactly the margin at most ``margins.alpha`` ever pass it, at whatever looks.
So no more than these are promoted without a person's word or ``on_inconclusive: continue``. The steps before need their
share of what the test plans for, and to look good on it; full weight, which has no champion beside it, needs requests
enough to show a fault that only comes with all the load.

A shadow answers nobody, so waiting costs nobody: it has to pass the whole test by itself. Its failures and times say
nothing of answers, so the steps after it begin anew; which of the two models is right is the same there, so pairs add
up over all stages. Where all requests are switched at once nothing was ever beside it: full weight has the whole test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sluiceway.core.verdict import Status
from sluiceway.gates.statistics.noninferiority import Excess, look_level, planned_events
from sluiceway.rollout.evidence import Observations
from sluiceway.rollout.plan import RolloutPlan

# A step's own requests, at least: of so many, a tenth that fails is found.
OWN_REQUESTS = 60


@dataclass(frozen=True)
class Evidence:
    """What a metric has seen.

    Attributes:
        margin: events a request more than the champion's that are still good.
        whole: of all steps with the champion beside them.
        own: of this step.
        rate: the champion's events a request.
        odds: the challenger's requests to the champion's; 0 where there is nothing but the margin.
        fewest: requests of a step's own, at least.
        with_full_weight: of the whole rollout, where full weight may add to the test; None where it may not yet.
    """

    margin: float
    whole: Excess
    own: Excess
    rate: float
    odds: float
    fewest: int = OWN_REQUESTS
    with_full_weight: Excess | None = None


@dataclass(frozen=True)
class Answer:
    """Whether a step may go on.

    Attributes:
        status: PASS or INCONCLUSIVE.
        n: requests so far.
        needed: so many would do, if all further ones were good.
        high: upper bound of the difference.
        reason: why not, or "".
    """

    status: Status
    n: int
    needed: int
    high: float
    reason: str = ""


def compared_steps(plan: RolloutPlan) -> int:
    """How many steps have a champion beside the challenger that answers."""
    return sum(0 < step.weight < 1 for step in plan.steps)


def judge_margin(plan: RolloutPlan, seen: Observations, found: Evidence) -> Answer:
    """Judge what a metric has seen by the step that it is in."""
    alpha, whole, own = plan.margins.alpha, found.whole, found.own
    planned = planned_events(found.rate, found.margin, found.odds, alpha=alpha)
    high = whole.high(look_level(whole.events, planned, alpha))
    before = whole.requests - own.requests if found.with_full_weight is None else whole.requests
    n = before + own.requests
    if found.with_full_weight is not None and high > found.margin:
        # Nobody has asked the test to be passed before full weight: a person, or on_inconclusive, went on.
        everything = found.with_full_weight
        high = min(high, everything.high(look_level(everything.events, planned, alpha)))
    at_once = before + found.fewest
    ends = seen.steps[-1].shadow or sum(not step.shadow for step in seen.steps) >= compared_steps(plan)
    if high <= found.margin:
        needed = at_once
    elif ends:
        requests = planned / (found.rate + found.margin)
        needed = max(at_once, n + 1, math.ceil(high * n / found.margin if math.isfinite(high) else requests))
    else:
        share = planned / (found.rate + found.margin) / compared_steps(plan)
        needed = max(at_once, before + math.ceil(share))
    if n < needed:
        spans = ends and high > found.margin and own.requests >= found.fewest and math.isfinite(high)
        return Answer(Status.INCONCLUSIVE, n, needed, high, "the interval spans the margin" if spans else "too few")
    if own.value > found.margin:
        return Answer(Status.INCONCLUSIVE, n, needed, high, "in this step it is worse by more than the margin")
    return Answer(Status.PASS, n, needed, high)
