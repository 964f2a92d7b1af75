"""What a verdict would have needed to be another one: the same counts are judged again with more or fewer in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from sluiceway.core.verdict import Direction, Status, Verdict
from sluiceway.gates.statistics.proportions import Pairs
from sluiceway.rollout.evidence import ArmSeen, Observations, judge_step
from sluiceway.rollout.limits import judge_limits
from sluiceway.rollout.plan import RolloutPlan

# Where a thousand times as much would not do, nobody waits for it.
MOST = 1000
# Metrics that have pairs with an outcome behind them, and not requests.
PAIRED = ("accuracy", "accuracy_limit")


def more_needed(plan: RolloutPlan, seen: Observations, verdict: Verdict) -> int | None:
    """How many more requests (pairs, of the accuracy) make a metric pass if all shares stay as they are.

    Args:
        plan: judges.
        seen: what the verdict is about.
        verdict: one that is INCONCLUSIVE.

    Returns:
        at least 1; None where no number would do, as for a value that is itself beyond its limit.
    """
    n, name = verdict.measurement.n, verdict.measurement.name
    if n == 0:
        return verdict.threshold.n_needed if verdict.threshold else None

    def passes(total: int) -> bool:
        return _judged(plan, _scaled(seen, total / n), name).status is Status.PASS

    high = 2 * n
    while not passes(high):
        high *= 2
        if high > MOST * max(n, verdict.threshold.n_needed if verdict.threshold else 1):
            return None
    return _first(passes, max(n, high // 2), high) - n


def allowed(plan: RolloutPlan, seen: Observations, verdict: Verdict) -> int | None:
    """With how many failed requests, or wrong decisions that the champion had right, a metric would not have failed.

    Args:
        plan: judges.
        seen: what the verdict is about.
        verdict: one that is a FAIL.

    Returns:
        the largest such number, on as many requests or pairs; None where it is not a matter of a number of them.
    """
    name, limit = verdict.measurement.name, verdict.threshold.limit if verdict.threshold else math.nan
    if name == "total_errors":
        return math.floor(limit)
    if name == "error_rate_limit":
        return math.floor(limit * verdict.measurement.n)
    if name not in ("error_rate", "accuracy"):
        return None
    change = _with_errors if name == "error_rate" else _with_lost
    now = seen.steps[-1].challenger.errors if name == "error_rate" else seen.pairs_rollout.only_champion

    def fails(number: int) -> bool:
        return _judged(plan, change(seen, number), name).status is Status.FAIL

    return None if fails(0) else _first(fails, 0, now) - 1


def distance(verdict: Verdict) -> float | None:
    """How far the number that decides is from its limit, in its unit: above 0 on the good side, below on the bad one.

    Of a PASS and of what is undecided that is the bound that the limit is held against, of a FAIL the value.
    """
    m, t = verdict.measurement, verdict.threshold
    if t is None:
        return None
    bound = m.low if t.direction is Direction.AT_LEAST else m.high
    decides = bound if t.use_interval and verdict.status is not Status.FAIL else m.value
    if decides is None or not math.isfinite(decides) or not math.isfinite(t.limit):
        return None
    return decides - t.limit if t.direction is Direction.AT_LEAST else t.limit - decides


def _judged(plan: RolloutPlan, seen: Observations, name: str) -> Verdict:
    verdicts = (*judge_step(plan, seen), *judge_limits(plan, seen))
    return next(verdict for verdict in verdicts if verdict.measurement.name == name)


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest number above ``low`` of which something holds that holds of ``high``."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _scaled(seen: Observations, factor: float) -> Observations:
    step = seen.steps[-1]
    grown = replace(step, champion=_arm_scaled(step.champion, factor), challenger=_arm_scaled(step.challenger, factor))
    now = _pairs_scaled(seen.pairs_step, factor)
    return replace(seen, steps=(*seen.steps[:-1], grown), pairs_step=now)


def _arm_scaled(arm: ArmSeen, factor: float) -> ArmSeen:
    latency = tuple(round(count * factor) for count in arm.latency)
    return ArmSeen(round(arm.requests * factor), round(arm.errors * factor), latency)


def _pairs_scaled(pairs: Pairs, factor: float) -> Pairs:
    return Pairs(
        round(pairs.both * factor),
        round(pairs.only_champion * factor),
        round(pairs.only_challenger * factor),
        round(pairs.neither * factor),
    )


def _with_errors(seen: Observations, errors: int) -> Observations:
    step = seen.steps[-1]
    arm = replace(step.challenger, errors=errors)
    return replace(seen, steps=(*seen.steps[:-1], replace(step, challenger=arm)))


def _with_lost(seen: Observations, lost: int) -> Observations:
    pairs = seen.pairs_rollout
    both = pairs.both + pairs.only_champion - lost
    return replace(seen, pairs_rollout=replace(pairs, both=both, only_champion=lost))
